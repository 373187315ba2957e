// Merges: the nodes at which paths come together, written out or fused into another op.

import type { Node, ValueName } from "../../graph/graph.ts";
import { typeOf } from "../../graph/query.ts";
import { sameShape } from "../../graph/shape.ts";
import type { Flow } from "./flow.ts";

/** One operand of a merge. */
export interface Operand {
  readonly value: ValueName;
  /** Its position among the inputs of the node that takes it. */
  readonly position: number;
  readonly sign: 1 | -1;
  /** Transforms between the value and the sum that are fused into the merging node itself. */
  readonly fusedTransforms: number;
}

/** A merge with at least two activation operands. */
export interface Fusion {
  readonly form: "additive" | "concat";
  readonly node: Node;
  /** The nodes of an associative sum, this one last. */
  readonly nodes: readonly Node[];
  readonly output: ValueName;
  readonly operands: readonly Operand[];
}

const ADDITIVE = new Set(["Add", "Sum", "Sub"]);
/** Fused forms: which inputs are summed. Source: ONNX Runtime, contrib operators. */
const SUMMED_INPUTS: ReadonlyMap<string, readonly [number, number]> = new Map([
  ["SkipLayerNormalization", [0, 1]],
  ["SkipSimplifiedLayerNormalization", [0, 1]],
  ["QLinearAdd", [0, 3]],
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

function fusionOf(flow: Flow, node: Node): Fusion | undefined {
  const [output = ""] = node.outputs;
  if (node.op === "Concat" || node.op === "QLinearConcat") {
    return { form: "concat", node, nodes: [node], output, operands: plainOperands(flow, node) };
  }
  if (isSum(node)) {
    if (absorbedBy(flow, node) !== undefined) return undefined;
    const nodes: Node[] = [];
    const operands = sumOperands(flow, node, nodes);
    return { form: "additive", node, nodes, output, operands };
  }
  if (node.op === "FusedConv" && (node.inputs[3] ?? "") !== "") {
    // Conv, sum and activation in one node: input 3 is what is added to the convolution.
    const operands = plainOperands(flow, node)
      .filter(({ position }) => position === 0 || position === 3)
      .map((one) => ({ ...one, fusedTransforms: one.position === 0 ? 1 : 0 }));
    return { form: "additive", node, nodes: [node], output, operands };
  }
  return undefined;
}

function isSum(node: Node): boolean {
  return ADDITIVE.has(node.op) || SUMMED_INPUTS.has(node.op);
}

/** The activation operands; of a node that does more than to sum, those that it sums. */
function plainOperands(flow: Flow, node: Node): Operand[] {
  const summed = SUMMED_INPUTS.get(node.op);
  return node.inputs
    .map((value, position): Operand => ({ value, position, sign: 1, fusedTransforms: 0 }))
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

/** The sum that an Add of two activations is part of, if it is read by that sum alone, rounded or not. */
function absorbedBy(flow: Flow, node: Node): Node | undefined {
  const [output = ""] = node.outputs;
  if (!ADDITIVE.has(node.op) || flow.activationInputs(node).length < 2) return undefined;
  const user = flow.onlyReader(output);
  if (user === undefined || !isSum(user)) return undefined;
  const operands = plainOperands(flow, user).map(({ value }) => flow.unrounded(value));
  if (operands.length < 2 || !operands.includes(output)) return undefined;
  const [a, b] = [output, user.outputs[0] ?? ""].map((name) => typeOf(flow.graph, name)?.shape);
  return sameShape(a, b) || a === undefined || b === undefined ? user : undefined;
}
