// What a skip is like once it is found: its kind, its block, the order of norm and activation.

import type { Node, ValueName } from "../../graph/graph.ts";
import { gammasOf, projectionOf } from "./attributes.ts";
import { clips } from "./clipping.ts";
import type { Flow, ShortcutStep } from "./flow.ts";
import type { Fusion, Operand } from "./fusion.ts";
import { roundedNorms } from "./rounded-norm.ts";
import type { BlockKind, Found, SkipKind } from "./skip.ts";
import { grows, isActivation, isMove, isNorm, shrinks, wordOf } from "./vocabulary.ts";

/** Products with a matrix of weights, as in sequence models. */
const MULTIPLYING = new Set([
  ...["MatMul", "Gemm", "Linear", "FusedGemm", "FusedMatMul", "MatMulNBits"],
  ...["MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"],
]);

/** A shortcut, the operand that it ends in, and the operands that transform. */
export interface Match {
  readonly fusion: Fusion;
  readonly operand: Operand;
  readonly step: ShortcutStep;
  /** Most transforms from the source to any other operand. */
  readonly span: number;
  readonly branches: readonly Operand[];
}

/** The row of a match; kind and block may be given where the finder knows better. */
export function describe(
  flow: Flow,
  match: Match,
  known: { kind?: SkipKind; block?: BlockKind } = {},
): Found {
  const { fusion, operand, step, branches } = match;
  const main = mainPath(flow, match);
  const encoderDecoder = shrinksThenGrows(main);
  return {
    kind: known.kind ?? kindOf(match),
    source: step.value,
    type: flow.typeOf(step.value),
    merge: fusion.node.name,
    mergeOutput: fusion.output,
    operand: operand.position,
    span: match.span,
    sign: step.marks.has("negated") ? flip(operand.sign) : operand.sign,
    gamma: gammasOf(flow, match),
    projection: projectionOf(flow, match),
    normOnShortcut: step.marks.has("norm"),
    encoderDecoder,
    block: known.block ?? blockOf(flow, match, { main, encoderDecoder, branches }),
    ...orderOf(flow, match, main),
    shortcut: step.nodes.toReversed().map((node) => node.name),
    main: main.map((node) => node.name),
  };
}

function flip(sign: 1 | -1): 1 | -1 {
  return sign === 1 ? -1 : 1;
}

/** The nodes between source and merge that are not the shortcut's own. */
function mainPath(flow: Flow, { step, branches }: Match): Node[] {
  const own = new Set(step.nodes);
  const nodes = new Set<Node>();
  for (const branch of branches) {
    for (const node of flow.between(step.value, branch.value)) if (!own.has(node)) nodes.add(node);
  }
  return [...nodes].sort((a, b) => flow.positionOf(a) - flow.positionOf(b));
}

function kindOf({ fusion, operand, step }: Match): SkipKind {
  if (fusion.form === "concat") return "concat";
  if (step.transforms + operand.fusedTransforms > 0) return "projection";
  if (step.marks.has("resampled")) return "resampled";
  if (step.marks.has("padded")) return "padded";
  if (step.marks.has("pooled")) return "pooled";
  return "identity";
}

/** Down and up again on the main path: an encoder and its decoder lie between. */
function shrinksThenGrows(main: readonly Node[]): boolean {
  const down = main.findIndex(shrinks);
  return down >= 0 && main.slice(down + 1).some(grows);
}

function blockOf(
  flow: Flow,
  { fusion, step }: Match,
  seen: { main: readonly Node[]; encoderDecoder: boolean; branches: readonly Operand[] },
): BlockKind {
  if (seen.encoderDecoder) return "unet";
  if (fusion.form === "concat") return step.marks.has("sliced") ? "partial" : "concat";
  const attends = seen.main.some((node) => isAttention(flow, node));
  const multiplies = seen.main.some((node) => MULTIPLYING.has(wordOf(node)));
  const convolves = seen.main.some((node) => node.op.includes("Conv"));
  const sequence = multiplies && !convolves;
  if (seen.branches.length > 1 && (attends || sequence)) return "parallel";
  if (attends) return "attention";
  const activates = seen.main.some((node) => flow.activates(node));
  return sequence && activates ? "mlp" : "additive";
}

/** Ops that multiply activations with activations where both operands are such. */
const PRODUCTS = new Set(["MatMul", "FusedMatMul", "Gemm", "FusedGemm", "Einsum"]);

/** Activations multiplied with activations behind a softmax, or one node that is all of it. */
function isAttention(flow: Flow, node: Node): boolean {
  if (node.op.includes("Attention")) return true;
  const product = PRODUCTS.has(wordOf(node)) && flow.activationInputs(node).length > 1;
  return product && node.inputs.some((name) => isSoftmax(flow, name));
}

/** Whether a value is a softmax, moved or masked at most. */
function isSoftmax(flow: Flow, name: ValueName): boolean {
  let value = name;
  for (;;) {
    const node = flow.producer(flow.shortcut(value, false).at(-1)?.value ?? "");
    if (node === undefined) return false;
    if (wordOf(node) === "Softmax") return true;
    // What is masked altogether has no softmax: PyTorch puts 0 in the place of what is no number.
    const [kept = "", ...more] = wordOf(node) === "Where" ? flow.activationInputs(node) : [];
    if (kept === "" || more.length > 0) return false;
    value = kept;
  }
}

function orderOf(
  flow: Flow,
  { fusion, branches }: Match,
  main: readonly Node[],
): Pick<Found, "activation" | "norm"> {
  const first = main.find((node) => !isPlain(flow, node));
  const last = branches.map((branch) => lastLayer(flow, branch.value)).find(Boolean);
  const after = readerOf(flow, fusion.output);
  const fused = fusion.node.op.endsWith("LayerNormalization");
  const [firstNorm, lastNorm] = [normOf(flow, first), normOf(flow, last)];
  const preNorm = firstNorm !== undefined;
  const postNorm = fused || (after === undefined ? isNormed(flow, fusion.output) : isNorm(after));
  const innerEnd = lastNorm !== undefined && lastNorm !== firstNorm;
  const pre = first !== undefined && (preNorm || isActivation(first));
  // An activation that is fused with the layer behind the sum is that layer's.
  const activated = after !== undefined && (isActivation(after) || clips(flow, after));
  const post = flow.activates(fusion.node) || activated;
  return {
    activation: post ? "post" : pre ? "pre" : "none",
    // The norm behind the last block of a pre-norm network does not make that block a post-norm one.
    norm: preNorm ? (innerEnd ? "sandwich" : "pre") : postNorm ? "post" : "none",
  };
}

/** The norm that a node is, or is a part of where it is written out; told by its last node. */
function normOf(flow: Flow, node: Node | undefined): Node | undefined {
  if (node === undefined || isNorm(node)) return node;
  return roundedNorms(flow).get(node);
}

/** Whether a value is taken up by the nodes of one norm only that is written out with rounding. */
function isNormed(flow: Flow, name: ValueName): boolean {
  let readers = flow.usesOf(name);
  while (readers.length === 1 && readers[0] !== undefined && isMove(readers[0].node)) {
    readers = flow.usesOf(readers[0].node.outputs[0] ?? "");
  }
  const norms = new Set(readers.map(({ node }) => roundedNorms(flow).get(node)));
  return norms.size === 1 && !norms.has(undefined);
}

/** The last node of a branch that does more than to move, scale or round. */
function lastLayer(flow: Flow, name: ValueName): Node | undefined {
  let node = flow.producer(name);
  while (node !== undefined && isPlain(flow, node)) {
    node = flow.producer(flow.activationInputs(node)[0] ?? "");
  }
  return node;
}

/** Moves or scales only; a normalisation by running statistics counts as a norm here. */
function isPlain(flow: Flow, node: Node): boolean {
  return flow.role(node) === "transparent" && !isNorm(node);
}

/** The node that alone takes a value up: the runtime moves and leaves out what only moves elements. */
function readerOf(flow: Flow, name: ValueName): Node | undefined {
  let value = name;
  for (;;) {
    const reader = flow.onlyReader(value);
    if (reader === undefined || !isMove(reader) || clips(flow, reader)) return reader;
    value = reader.outputs[0] ?? "";
  }
}
