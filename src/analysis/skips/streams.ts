// Sums in which each of several streams has a weight of its own: DenseFormer, attention over the layers before,
// value residuals.

import { floatAttribute, type Node, type ValueName } from "../../graph/graph.ts";
import { describe, type Match } from "./describe.ts";
import type { Flow } from "./flow.ts";
import { type Fusion, fusionOf, type Operand } from "./fusion.ts";
import { bestPerSource, type Finder, matchOf, productOf } from "./match.ts";
import type { Found } from "./skip.ts";
import { grows, shrinks, wordOf } from "./vocabulary.ts";

const MULTI_STREAM = { kind: "multi-stream" } as const;

const SCALING = new Set(["Mul", "Div"]);
const PRODUCTS = new Set(["FusedMatMul", "Gemm", "FusedGemm"]);
/** Ops that give a part of a list of weights. */
const PARTS = new Set([
  "Gather",
  "Slice",
  "Split",
  "Squeeze",
  "Unsqueeze",
  "Reshape",
  "Identity",
  "Cast",
]);

const COMPUTED = { on: "shortcut", shape: undefined } as const;

/** An operand that is a stream times a weight. */
interface Weighed {
  readonly operand: Operand;
  readonly stream: ValueName;
  readonly weight: "constant" | "computed";
  /** Where the weight comes from, if from a node. */
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
  const streamOf = new Map(
    streams.map(({ operand, stream, weight }) => [
      operand,
      weight === "computed" ? stream : operand.value,
    ]),
  );
  const operands = fusion.operands.map((one) => ({
    ...one,
    value: streamOf.get(one) ?? one.value,
  }));
  const sum: Fusion = { ...fusion, operands };
  const matches = operands.flatMap((operand, i) => {
    const given = fusion.operands[i];
    return given !== undefined && streamOf.has(given) ? (matchOf(flow, sum, operand) ?? []) : [];
  });
  const constant = streams.every(({ weight }) => weight === "constant");
  const all = streams.length === fusion.operands.length;
  const several =
    matches.length > 1 ||
    fusion.weighed === true ||
    (all && constant && matches.some((match) => passesBlock(flow, match))) ||
    (all && shareSoftmax(streams));
  // Sums over scales, as in BiFPN, have weights too.
  if (!several || matches.some((match) => changesScale(flow, match))) return [];
  return bestPerSource(flow, matches).map((match) => {
    const found = describe(flow, match, MULTI_STREAM);
    // A weight that is computed is a number for each position.
    return found.gamma.length > 0 ? found : { ...found, gamma: [COMPUTED] };
  });
};

function weighedOf(flow: Flow, fusion: Fusion, operand: Operand): Weighed | undefined {
  const { value } = operand;
  if (fusion.weighed === true)
    return { operand, stream: value, weight: "constant", from: undefined };
  const constant = constantWeight(flow, value);
  if (constant !== undefined) return { ...constant, operand, weight: "constant" };
  const factors = productOf(flow, value) ?? [];
  for (const [weight = "", stream = ""] of [factors, factors.toReversed()]) {
    if (!isOneForAllChannels(flow, weight, stream)) continue;
    const from = flow.producer(flow.shortcut(weight, false).at(-1)?.value ?? "");
    return { operand, stream, weight: "computed", from };
  }
  return undefined;
}

/** The stream that is multiplied by a constant number for this sum alone, and not before its paths part. */
function constantWeight(
  flow: Flow,
  value: ValueName,
): Pick<Weighed, "stream" | "from"> | undefined {
  const steps = flow.shortcut(value, false);
  for (const [i, step] of steps.entries()) {
    const node = step.nodes[i - 1];
    if (node !== undefined && SCALING.has(wordOf(node)) && flow.scalesByOne(node)) {
      return { stream: step.value, from: softmaxBehind(flow, node) };
    }
    if (flow.forks(step.value)) return undefined;
  }
  // The runtime puts the factor into the product with a matrix.
  const stream = steps.at(-1)?.value ?? "";
  const end = flow.producer(stream);
  const scales =
    end !== undefined && PRODUCTS.has(wordOf(end)) && floatAttribute(end, "alpha", 1) !== 1;
  return scales ? { stream, from: undefined } : undefined;
}

/** The softmax of weights of which a constant factor is one, computed before the first run. */
function softmaxBehind(flow: Flow, node: Node): Node | undefined {
  let name = node.inputs.find((input) => !flow.activations.has(input)) ?? "";
  for (;;) {
    const made = flow.graph.folded?.get(name);
    if (made === undefined || wordOf(made) === "Softmax") return made;
    if (!PARTS.has(made.op)) return undefined;
    name = made.inputs[0] ?? "";
  }
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

/** Whether a picture gets smaller or larger on the main path. */
function changesScale(flow: Flow, { step, branches }: Match): boolean {
  const nodes = branches.flatMap((branch) => flow.between(step.value, branch.value));
  return nodes.some((node) => shrinks(node) || grows(node));
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

/**
 * Weighed sums of streams that a later one takes up all: the first of a network that adds up everything so far
 * has two operands, as a scaled residual has.
 */
export function markGrowing(
  flow: Flow,
  skips: readonly Found[],
  fusions: readonly Fusion[],
): readonly Found[] {
  if (!skips.some((skip) => skip.kind === "multi-stream")) return skips;
  const kinds = new Map(skips.map((skip) => [skip.merge, skip.kind]));
  const sums = fusions
    .filter((fusion) => fusion.form === "additive" && kinds.has(fusion.node.name))
    .map((fusion) => ({ name: fusion.node.name, ...streamsOf(flow, fusion) }));
  const whole = sums.filter(({ name }) => kinds.get(name) === "multi-stream");
  const first = sums.filter(
    ({ name, streams, weighed }) =>
      weighed &&
      kinds.get(name) === "identity" &&
      whole.some((sum) => isPart(streams, sum.streams)),
  );
  if (first.length === 0) return skips;
  const names = new Set(first.map(({ name }) => name));
  return skips.map((skip) => (names.has(skip.merge) ? { ...skip, kind: "multi-stream" } : skip));
}

/** The streams of a sum without their weights, and whether any has one. */
function streamsOf(
  flow: Flow,
  fusion: Fusion,
): { streams: ReadonlySet<ValueName>; weighed: boolean } {
  const found = fusion.operands.map((operand) => weighedOf(flow, fusion, operand)?.stream);
  const streams = fusion.operands.map(({ value }, i) => flow.unrounded(found[i] ?? value));
  return { streams: new Set(streams), weighed: found.some((stream) => stream !== undefined) };
}

function isPart(part: ReadonlySet<ValueName>, whole: ReadonlySet<ValueName>): boolean {
  return part.size < whole.size && [...part].every((stream) => whole.has(stream));
}
