// Merges: the nodes at which paths come together, written out or fused into another op.

import type { Node, ValueName } from "../../graph/graph.ts";
import type { Shape } from "../../graph/shape.ts";
import type { Flow } from "./flow.ts";
import { stackedParts, stackSumOf } from "./stack.ts";
import { fusedActivation, wordOf } from "./vocabulary.ts";

/** One operand of a merge. */
export interface Operand {
  readonly value: ValueName;
  /** Its position among the inputs of the node that takes it. */
  readonly position: number;
  readonly sign: 1 | -1;
  /** Transforms between the value and the sum that are fused into the merging node itself. */
  readonly fusedTransforms: number;
  /** Whether the merging node multiplies it before it adds, by a matrix or channel by channel. */
  readonly multiplied?: true;
}

/** A merge with at least two activation operands. */
export interface Fusion {
  /** A choice takes one operand here and the other there. */
  readonly form: "additive" | "concat" | "choice";
  readonly node: Node;
  /** The nodes of an associative sum, this one last. */
  readonly nodes: readonly Node[];
  readonly output: ValueName;
  readonly operands: readonly Operand[];
  /** Whether the operands are parts of a stack with a weight for each. */
  readonly weighed?: boolean;
}

/** Ops that add up. */
export const ADDITIVE: ReadonlySet<string> = new Set(["Add", "Sum", "Sub"]);
/** Fused forms: which inputs are summed. Source: ONNX Runtime, contrib operators. */
const SUMMED_INPUTS: ReadonlyMap<string, readonly [number, number]> = new Map([
  ["SkipLayerNormalization", [0, 1]],
  ["SkipSimplifiedLayerNormalization", [0, 1]],
]);
/** Layers that add an operand to their own result, and its position. Source: ONNX Gemm-13, and as above. */
const ADDENDS: ReadonlyMap<string, number> = new Map([
  ["FusedConv", 3],
  ["Gemm", 2],
  ["FusedGemm", 2],
]);

/** Every merge of a graph, sums flattened: an Add read only by an Add of the same shape joins it. */
export function fusionsOf(flow: Flow): Fusion[] {
  const found: Fusion[] = [];
  for (const node of flow.graph.nodes) {
    const fusion = fusionOf(flow, node);
    if (fusion !== undefined && fusion.operands.length > 1) found.push(fusion);
  }
  return found;
}

/** The merge that a node is, if it is one and ends its sum. */
export function fusionOf(flow: Flow, node: Node): Fusion | undefined {
  const [output = ""] = node.outputs;
  const word = wordOf(node);
  if (word === "Concat") {
    const sum = stackedSum(flow, node);
    if (sum !== undefined) return sum;
    // A stack that grows: its parts are parts of the one that is summed.
    const reader = flow.onlyReader(output);
    if (reader !== undefined && wordOf(reader) === "Concat" && isPartOf(flow, node, reader)) {
      return undefined;
    }
    const operands = plainOperands(flow, node);
    return { form: "concat", node, nodes: [node], output, operands };
  }
  if (word === "Where") {
    return { form: "choice", node, nodes: [node], output, operands: plainOperands(flow, node) };
  }
  if (!isSum(flow, node) || absorbedBy(flow, node) !== undefined) return undefined;
  const nodes: Node[] = [];
  const operands = sumOperands(flow, node, nodes);
  return { form: "additive", node, nodes, output, operands };
}

/** Operands that are laid side by side along an axis of their own and then summed over it. */
function stackedSum(flow: Flow, node: Node): Fusion | undefined {
  const sum = stackSumOf(flow, node);
  if (sum === undefined) return undefined;
  const operands = (stackedParts(flow, node) ?? [])
    .map((value, position): Operand => ({ value, position, sign: 1, fusedTransforms: 0 }))
    .filter(({ value }) => flow.activations.has(value));
  const { nodes, output, weighed } = sum;
  return { form: "additive", node, nodes, output, operands, weighed };
}

/** Whether a stack lies in a larger one that is summed. */
function isPartOf(flow: Flow, node: Node, larger: Node): boolean {
  const parts = stackedParts(flow, node) ?? [];
  const all = new Set(stackedParts(flow, larger));
  return (
    parts.length > 0 &&
    parts.every((part) => all.has(part)) &&
    stackedSum(flow, larger) !== undefined
  );
}

/** Whether a node adds up activations. */
export function isSum(flow: Flow, node: Node): boolean {
  const word = wordOf(node);
  const addend = ADDENDS.get(word);
  if (addend !== undefined) return flow.activations.has(node.inputs[addend] ?? "");
  return ADDITIVE.has(word) || word === "Mean" || SUMMED_INPUTS.has(word);
}

/** The activation operands; of a node that does more than to sum, those that it sums. */
function plainOperands(flow: Flow, node: Node): Operand[] {
  const summed = SUMMED_INPUTS.get(wordOf(node));
  const addend = ADDENDS.get(wordOf(node));
  return node.inputs
    .map((value, position): Operand => {
      const plain = addend === undefined || position === addend || flow.scalesChannels(node);
      const operand = { value, position, sign: 1 as const, fusedTransforms: plain ? 0 : 1 };
      const added = addend === undefined || position === addend;
      return added ? operand : { ...operand, multiplied: true };
    })
    .filter(({ value }) => flow.activations.has(value))
    .filter(({ position }) => summed === undefined || summed.includes(position));
}

function sumOperands(flow: Flow, node: Node, nodes: Node[]): Operand[] {
  const operands: Operand[] = [];
  for (const operand of plainOperands(flow, node)) {
    const sign = node.op === "Sub" && operand.position === 1 ? -1 : 1;
    const inner = flow.producer(flow.unrounded(operand.value));
    if (inner !== undefined && absorbedBy(flow, inner) === node) {
      const parts = sumOperands(flow, inner, nodes);
      operands.push(...parts.map((part) => ({ ...part, sign: product(part.sign, sign) })));
    } else {
      operands.push({ ...operand, sign });
    }
  }
  nodes.push(node);
  return operands;
}

function product(a: 1 | -1, b: 1 | -1): 1 | -1 {
  return a === b ? 1 : -1;
}

/** The sum that a sum of two activations is part of, if it is read by that sum alone, rounded or not. */
function absorbedBy(flow: Flow, node: Node): Node | undefined {
  const [output = ""] = node.outputs;
  // A layer with a sum inside is one, unless an activation follows the sum.
  const layer = ADDENDS.has(wordOf(node)) && fusedActivation(node) === undefined;
  const sums = ADDITIVE.has(wordOf(node)) || (layer && isSum(flow, node));
  if (!sums || flow.activationInputs(node).length < 2) return undefined;
  const user = flow.onlyReader(output);
  if (user === undefined || !isSum(flow, user)) return undefined;
  const operands = plainOperands(flow, user);
  const addend = ADDENDS.get(wordOf(user));
  const summed = operands.filter(({ position }) => addend === undefined || position === addend);
  const takes = summed.some(({ value }) => flow.unrounded(value) === output);
  if (operands.length < 2 || !takes) return undefined;
  const [a, b] = [output, user.outputs[0] ?? ""].map((name) => flow.typeOf(name)?.shape);
  return mayBeSame(a, b) ? user : undefined;
}

/** Whether nothing that is known of two shapes says that they differ. */
function mayBeSame(a: Shape | undefined, b: Shape | undefined): boolean {
  if (a === undefined || b === undefined) return true;
  if (a.length !== b.length) return false;
  return a.every((dim, axis) => {
    const other = b[axis];
    return typeof dim !== "number" || typeof other !== "number" || dim === other;
  });
}
