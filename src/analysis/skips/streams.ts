// Sums in which each of several streams has a weight of its own: DenseFormer, attention over the layers before,
// value residuals.

import { floatAttribute, type Node, type ValueName } from "../../graph/graph.ts";
import { describe, type Match } from "./describe.ts";
import type { Flow } from "./flow.ts";
import { type Fusion, fusionOf, type Operand } from "./fusion.ts";
import { bestPerSource, type Finder, matchOf, productOf } from "./match.ts";
import { wordOf } from "./vocabulary.ts";

const MULTI_STREAM = { kind: "multi-stream" } as const;

const COMPUTED = { on: "shortcut", shape: undefined } as const;

/** An operand that is a stream times a weight. */
interface Weighed {
  readonly operand: Operand;
  /** The stream, where the weight is computed; else the operand, from which a constant weight leads on. */
  readonly stream: ValueName;
  readonly weight: "constant" | "computed";
  /** Where a computed weight comes from. */
  readonly from: Node | undefined;
}

/**
 * Sums in which streams have weights of their own, one number for all channels, and which are more than a
 * scaled residual: they have several such shortcuts, or all operands have weights and they take up what lies before
 * a sum that closes a block (Pagliardini et al. 2024, DenseFormer, equation 2; Zhou et al. 2024, 2410.17897,
 * equation 5) or share one softmax (Kimi Team 2026, 2603.15031, equation 2). One skip for each source.
 */
export const weighedStreams: Finder = (flow, fusion) => {
  if (fusion.form !== "additive") return [];
  const streams = fusion.operands.flatMap((operand) => weighedOf(flow, fusion, operand) ?? []);
  if (streams.length === 0) return [];
  // What the weights are computed from is no path to the sum.
  const sum: Fusion = {
    ...fusion,
    operands: fusion.operands.map((operand) => {
      const stream = streams.find((one) => one.operand === operand)?.stream ?? operand.value;
      return { ...operand, value: stream };
    }),
  };
  const weighed = new Set(streams.map(({ operand }) => operand));
  const matches = sum.operands.flatMap((operand, i) => {
    const given = fusion.operands[i];
    return given !== undefined && weighed.has(given) ? (matchOf(flow, sum, operand) ?? []) : [];
  });
  const constant = streams.every(({ weight }) => weight === "constant");
  const all = streams.length === fusion.operands.length;
  const several =
    matches.length > 1 ||
    fusion.weighed === true ||
    (all && constant && matches.some((match) => passesBlock(flow, match))) ||
    (all && shareSoftmax(streams));
  if (!several) return [];
  return bestPerSource(flow, matches).map((match) => {
    const found = describe(flow, match, MULTI_STREAM);
    // A weight that is computed is a number for each position.
    return found.gamma.length > 0 ? found : { ...found, gamma: [COMPUTED] };
  });
};

function weighedOf(flow: Flow, fusion: Fusion, operand: Operand): Weighed | undefined {
  const constant = { operand, stream: operand.value, weight: "constant", from: undefined } as const;
  if (fusion.weighed === true) return constant;
  const steps = flow.shortcut(operand.value, false);
  const nodes = steps.at(-1)?.nodes ?? [];
  if (nodes.some((node) => wordOf(node) === "Mul" && flow.scalesByOne(node))) return constant;
  const end = flow.producer(steps.at(-1)?.value ?? "");
  // The runtime puts the factor into the product with a matrix.
  if (end !== undefined && floatAttribute(end, "alpha", 1) !== 1) return constant;
  const factors = productOf(flow, operand.value) ?? [];
  for (const [weight = "", stream = ""] of [factors, factors.toReversed()]) {
    if (!isOneForAllChannels(flow, weight, stream)) continue;
    const from = flow.producer(flow.shortcut(weight, false).at(-1)?.value ?? "");
    return { operand, stream, weight: "computed", from };
  }
  return undefined;
}

/** Whether a weight is one number for all channels of a value: 1 on the last axis, and in pictures on axis 1. */
function isOneForAllChannels(flow: Flow, weight: ValueName, value: ValueName): boolean {
  const [a, b] = [weight, value].map((name) => flow.typeOf(name)?.shape);
  if (a === undefined || b === undefined || b.at(-1) === 1) return false;
  const picture = b.length === 4;
  return (a.length === 0 || a.at(-1) === 1) && (!picture || a.length < 3 || a.at(-3) === 1);
}

function shareSoftmax(streams: readonly Weighed[]): boolean {
  const [first] = streams;
  if (first?.from === undefined || wordOf(first.from) !== "Softmax") return false;
  return streams.every(({ from }) => from === first.from);
}

/** Whether a sum that closes a block lies on the main path, or is one of the streams. */
function passesBlock(flow: Flow, { fusion, step, branches }: Match): boolean {
  const before = branches.flatMap((branch) => flow.between(step.value, branch.value));
  return before.some((node) => {
    const inner = wordOf(node) === "Concat" ? undefined : fusionOf(flow, node);
    if (inner === undefined || inner.form !== "additive" || inner.node === fusion.node)
      return false;
    return inner.operands.some((operand) => matchOf(flow, inner, operand) !== undefined);
  });
}
