// Merges: the nodes at which paths come together, written out or fused into another op.

import type { Node, ValueName } from "../../graph/graph.ts";
import { typeOf } from "../../graph/query.ts";
import type { Shape } from "../../graph/shape.ts";
import type { Flow } from "./flow.ts";
import { wordOf } from "./vocabulary.ts";

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
  ["FusedConv", [0, 3]],
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
  const word = wordOf(node);
  if (word === "Concat") {
    return { form: "concat", node, nodes: [node], output, operands: plainOperands(flow, node) };
  }
  if (word === "FusedConv" && (node.inputs[3] ?? "") !== "") {
    // Conv, sum and activation in one node: input 3 is what is added to the convolution.
    const nodes: Node[] = [];
    const operands = sumOperands(flow, node, nodes).map((one) =>
      one.value === node.inputs[0] && one.position === 0 ? { ...one, fusedTransforms: 1 } : one,
    );
    return { form: "additive", node, nodes, output, operands };
  }
  if (isSum(node)) {
    if (absorbedBy(flow, node) !== undefined) return undefined;
    const nodes: Node[] = [];
    const operands = sumOperands(flow, node, nodes);
    return { form: "additive", node, nodes, output, operands };
  }
  return undefined;
}

/** Whether a node adds up activations. */
export function isSum(node: Node): boolean {
  const word = wordOf(node);
  if (word === "FusedConv") return (node.inputs[3] ?? "") !== "";
  return ADDITIVE.has(word) || SUMMED_INPUTS.has(word);
}

/** The activation operands; of a node that does more than to sum, those that it sums. */
function plainOperands(flow: Flow, node: Node): Operand[] {
  const summed = SUMMED_INPUTS.get(wordOf(node));
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
  if (!ADDITIVE.has(wordOf(node)) || flow.activationInputs(node).length < 2) return undefined;
  const user = flow.onlyReader(output);
  if (user === undefined || !isSum(user)) return undefined;
  const operands = plainOperands(flow, user).map(({ value }) => flow.unrounded(value));
  if (operands.length < 2 || !operands.includes(output)) return undefined;
  const [a, b] = [output, user.outputs[0] ?? ""].map((name) => typeOf(flow.graph, name)?.shape);
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
