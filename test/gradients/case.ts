// One case of the gradient suite: an op, what it is given, and what is differentiated.

import type { Random } from "../../src/base/random.ts";
import type { TypedBuilder } from "../../src/canonical/typed-builder.ts";
import type { Attribute, ValueName } from "../../src/graph/graph.ts";
import type { Tensor } from "../../src/graph/tensor.ts";

/** Draws one float; domains keep away from where a function has a kink or is not defined. */
export type Domain = (random: Random) => number;

/** What a node gets at one place. */
export type CaseInput =
  /** A float graph input with drawn numbers; differentiated unless `fixed`. */
  | {
      readonly kind: "float";
      readonly shape: readonly number[];
      readonly domain: Domain;
      readonly fixed: boolean;
      /** Whether the sizes are known wherever sizes of activations are not. */
      readonly weight?: true;
    }
  /** An initializer, which rules may read. */
  | { readonly kind: "constant"; readonly tensor: Tensor }
  /** A graph input that is not differentiated and that rules cannot read, such as indices. */
  | { readonly kind: "fed"; readonly tensor: Tensor }
  | { readonly kind: "omitted" };

/** A case. */
export interface GradientCase {
  readonly op: string;
  /** "" or left out: the standard domain. */
  readonly domain?: string;
  /** Which form of the op it is, in a few words: forms are counted. */
  readonly form: string;
  /** Version of the operator set; drawn if left out. */
  readonly opset?: number;
  /** The first operator set that has this form, where not every one has it that has the op. */
  readonly since?: number;
  readonly inputs: readonly CaseInput[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
  /** Number of outputs; 1 if left out. */
  readonly outputs?: number;
  /** Outputs that the loss reads; all float ones if left out. */
  readonly reads?: readonly number[];
  /** The runtime has no kernel for this form; what the op is taken apart into is run alone. */
  readonly noKernel?: true;
  /** Builds the forward in place of one node, for ops with bodies; returns the outputs. */
  readonly build?: (builder: TypedBuilder, inputs: readonly ValueName[]) => readonly ValueName[];
}

/** Draws a case of an op; `variant` counts up from 0, so that forms can take turns. */
export type Generator = (random: Random, variant: number) => GradientCase;

/** Generators by op; those of other domains as `domain/type`. */
export type Generators = Readonly<Record<string, Generator>>;

/** A float input that is differentiated. */
export function x(shape: readonly number[], domain: Domain = normal): CaseInput {
  return { kind: "float", shape, domain, fixed: false };
}

/** A float input that is differentiated and whose sizes a model always knows. */
export function weight(shape: readonly number[], domain: Domain = normal): CaseInput {
  return { kind: "float", shape, domain, fixed: false, weight: true };
}

/** An initializer. */
export function constant(tensor: Tensor): CaseInput {
  return { kind: "constant", tensor };
}

/** A graph input that is not differentiated. */
export function fed(tensor: Tensor): CaseInput {
  return { kind: "fed", tensor };
}

/** An argument left out. */
export const omitted: CaseInput = { kind: "omitted" };

/** Standard normal. */
export const normal: Domain = (random) => random.normal();
/** At least 0.5. */
export const positive: Domain = (random) => 0.5 + Math.abs(random.normal());
/** Uniform in an interval. */
export function within(low: number, high: number): Domain {
  return (random) => low + random.uniform() * (high - low);
}
/** Normal, but at least 0.1 away from each of the given numbers. */
export function awayFrom(...kinks: readonly number[]): Domain {
  return (random) => {
    for (;;) {
      const value = 1.5 * random.normal();
      if (kinks.every((kink) => Math.abs(value - kink) > 0.1)) return value;
    }
  };
}
/**
 * Numbers that are all different, by at least 0.02: nothing ties in a maximum, and no difference crosses to
 * another one. Good for up to 400 of them.
 */
export function distinct(): Domain {
  const taken = new Set<number>();
  return (random) => {
    for (;;) {
      const place = random.integer(1600) - 800;
      if (taken.has(place)) continue;
      taken.add(place);
      return (place + 0.5 * random.uniform()) * 0.04;
    }
  };
}

/** One of a list. */
export function oneOf<T>(random: Random, list: readonly [T, ...T[]]): T {
  return list[random.integer(list.length)] ?? list[0];
}

/** A whole number from `low` to `high`. */
export function between(random: Random, low: number, high: number): number {
  return low + random.integer(high - low + 1);
}

/** A shape of a rank, of dims from 1 to `most`. */
export function shapeOf(random: Random, rank: number, most = 5): number[] {
  return Array.from({ length: rank }, () => between(random, 1, most));
}

/** The item of a list whose turn it is. */
export function turn<T>(variant: number, list: readonly [T, ...T[]]): T {
  return list[variant % list.length] ?? list[0];
}

/** By what the table of ops and the generators know the op of a case. */
export function keyOf(one: Pick<GradientCase, "op" | "domain">): string {
  return one.domain === undefined || one.domain === "" ? one.op : `${one.domain}/${one.op}`;
}
