// Whether the candidate's answers are spread as stable's are: which classes win, or over the deciles of stable's values.
// It informs and decides nothing: a version that is better may well answer otherwise.

import { mix32 } from "../base/random.ts";
import { binOf, decileBounds, type Stability, stabilityOf } from "../observe/drift.ts";
import type { Tensors } from "../runtime/runner.ts";
import { classOf, elementOf, type OutputKind, outputKind } from "../serve/winner.ts";
import { KeySample } from "./judge/keys.ts";
import type { Arm } from "./judge/types.ts";

/** Outputs that are looked at; further ones are not. */
const OUTPUTS_MAX = 4;
/** Classes that are told apart; whichever come later count as one. */
const CLASSES_MAX = 256;
/** Values of stable from which the deciles are made, once. They are not counted. */
const LEARN = 256;
/** Bins that are shown: those that differ most. */
const SHOWN = 8;
const SEED = 0x0d21f7;

/** A bin with its counts. */
export interface DriftBin {
  /** A class, or a range of values. */
  readonly name: string;
  readonly stable: number;
  readonly candidate: number;
}

/** How one output is spread. */
export interface DriftReading extends Stability {
  readonly output: string;
  readonly kind: OutputKind;
  /** Answers that were sampled. */
  readonly stable: number;
  readonly candidate: number;
  /** Those that differ most, the first one most. */
  readonly bins: readonly DriftBin[];
}

type Row = readonly [name: number, stable: number, candidate: number];

/** One output as it is kept. */
export interface SavedOutput {
  readonly name: string;
  readonly kind: OutputKind;
  /** Values from which the deciles are still to be made. */
  readonly learnt: readonly number[];
  readonly bounds: readonly number[];
  readonly rows: readonly Row[];
}

/** Everything that is known. Plain JSON; which clients have been counted is forgotten with the process. */
export interface SavedDrift {
  readonly drawn: number;
  readonly outputs: readonly SavedOutput[];
}

/** An answer of the split. */
export interface SplitAnswer {
  readonly arm: Arm;
  /** Chance of the candidate when it was routed. */
  readonly share: number;
  /** Hash of its sticky key. */
  readonly key?: number | undefined;
  readonly outputs: Tensors;
}

/** Compares what two versions answer. */
export class OutputDrift {
  readonly #outputs = new Map<string, Output>();
  readonly #clients = { stable: new KeySample(), candidate: new KeySample() };
  #drawn: number;

  constructor(saved: SavedDrift = { drawn: 0, outputs: [] }) {
    this.#drawn = saved.drawn;
    for (const one of saved.outputs) this.#outputs.set(one.name, new Output(one.kind, one));
  }

  /**
   * Takes an answer of a client. At each moment as many of both versions are sampled, so that what is asked at noon
   * and at night tells the same of both though the share has grown in between; of one client one answer counts.
   */
  take({ arm, share, key, outputs }: SplitAnswer): void {
    const place = this.#draw();
    if (arm === "stable") this.#each(outputs, (output, tensor) => output.learn(tensor, place));
    const chance = arm === "stable" ? share / (1 - share) : (1 - share) / share;
    if (!(chance > 0) || this.#draw() >= chance) return;
    if (key !== undefined && !this.#clients[arm].first(key)) return;
    this.#each(outputs, (output, tensor) => output.count(arm, tensor, place));
  }

  /** Takes stable's answer and that of a copy to the same question. */
  takePair(answers: { readonly stable: Tensors; readonly candidate: Tensors }): void {
    const place = this.#draw();
    for (const arm of ["stable", "candidate"] as const) {
      this.#each(answers[arm], (output, tensor) => output.count(arm, tensor, place));
    }
  }

  /** How each output is spread. */
  readings(): DriftReading[] {
    return [...this.#outputs].map(([name, output]) => output.reading(name));
  }

  saved(): SavedDrift {
    const outputs = [...this.#outputs].map(([name, output]) => output.saved(name));
    return { drawn: this.#drawn, outputs };
  }

  #draw(): number {
    return mix32(SEED, this.#drawn++) / 2 ** 32;
  }

  #each(outputs: Tensors, then: (output: Output, tensor: OneTensor) => void): void {
    for (const [name, tensor] of outputs) {
      let output = this.#outputs.get(name);
      if (output === undefined) {
        const kind = this.#outputs.size < OUTPUTS_MAX ? outputKind(tensor) : undefined;
        if (kind === undefined) continue;
        output = new Output(kind);
        this.#outputs.set(name, output);
      }
      then(output, tensor);
    }
  }
}

type OneTensor = NonNullable<ReturnType<Tensors["get"]>>;

/** Of values that are no numbers, and of classes beyond those that are told apart. */
const OTHERS = -1;

/** The counts of one output. */
class Output {
  readonly #kind: OutputKind;
  #learnt: number[];
  /** Upper bounds of the bins of values; empty until they are made. */
  #bounds: readonly number[];
  /** By class, or by number of the bin. */
  readonly #counts: Map<number, { stable: number; candidate: number }>;

  constructor(kind: OutputKind, saved: Omit<SavedOutput, "name" | "kind"> = NOTHING) {
    this.#kind = kind;
    this.#learnt = [...saved.learnt];
    this.#bounds = saved.bounds;
    this.#counts = new Map(
      saved.rows.map(([name, stable, candidate]) => [name, { stable, candidate }]),
    );
  }

  saved(name: string): SavedOutput {
    return {
      name,
      kind: this.#kind,
      learnt: this.#learnt,
      bounds: this.#bounds,
      rows: [...this.#counts].map(([bin, { stable, candidate }]): Row => [bin, stable, candidate]),
    };
  }

  /** Takes a value of stable for the deciles, until there are enough. */
  learn(tensor: OneTensor, place: number): void {
    if (this.#kind !== "value" || this.#bounds.length > 0) return;
    const value = this.#at(tensor, place);
    if (value === undefined || !Number.isFinite(value)) return;
    this.#learnt.push(value);
    if (this.#learnt.length < LEARN) return;
    this.#bounds = decileBounds(this.#learnt);
    this.#learnt = [];
  }

  /** Counts an answer. */
  count(arm: Arm, tensor: OneTensor, place: number): void {
    const value = this.#at(tensor, place);
    if (value === undefined) return;
    if (this.#kind === "class") this.#add(arm, value);
    else if (this.#bounds.length > 0) {
      this.#add(arm, Number.isNaN(value) ? OTHERS : binOf(value, this.#bounds));
    }
  }

  reading(output: string): DriftReading {
    const rows = [...this.#counts];
    const of = (arm: Arm): number[] => rows.map(([, counts]) => counts[arm]);
    const [stable, candidate] = [sum(of("stable")), sum(of("candidate"))];
    const part = (count: number, all: number): number => (all === 0 ? 0 : count / all);
    const bins = rows
      .map(([bin, counts]) => {
        const off = part(counts.stable, stable) - part(counts.candidate, candidate);
        return { off: Math.abs(off), bin: { name: this.#nameOf(bin), ...counts } };
      })
      .sort((a, b) => b.off - a.off)
      .slice(0, SHOWN)
      .map(({ bin }) => bin);
    const stability = stabilityOf(of("stable"), of("candidate"));
    return { output, kind: this.#kind, stable, candidate, ...stability, bins };
  }

  /** The class of a row, or an element, at a place from 0 to 1. An answer is one event, however many rows it has. */
  #at(tensor: OneTensor, place: number): number | undefined {
    if (outputKind(tensor) !== this.#kind) return undefined;
    const count = this.#kind === "class" ? (tensor.shape[0] ?? 0) : sizeOf(tensor);
    if (count === 0) return undefined;
    const at = Math.floor(place * count);
    return this.#kind === "class" ? classOf(tensor, at) : elementOf(tensor, at);
  }

  #add(arm: Arm, bin: number): void {
    const full = this.#counts.size >= CLASSES_MAX && !this.#counts.has(bin);
    const name = full ? OTHERS : bin;
    const counts = this.#counts.get(name) ?? { stable: 0, candidate: 0 };
    counts[arm]++;
    this.#counts.set(name, counts);
  }

  #nameOf(bin: number): string {
    if (this.#kind === "class") return bin === OTHERS ? "others" : `${bin}`;
    if (bin === OTHERS) return "not a number";
    const bound = this.#bounds[bin];
    return bound === undefined ? `> ${short(this.#bounds.at(-1))}` : `≤ ${short(bound)}`;
  }
}

const NOTHING = { learnt: [], bounds: [], rows: [] };

function sizeOf({ shape }: OneTensor): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

function sum(counts: readonly number[]): number {
  return counts.reduce((all, one) => all + one, 0);
}

function short(value: number | undefined): string {
  return value === undefined ? "" : `${Number(value.toPrecision(4))}`;
}
