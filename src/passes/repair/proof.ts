// Whether a graph that was freed does for every batch what the file does for its own: shapes are followed with the
// old batch and with one that no network has, and no node may take examples out of the batch or put them together.

import { mergeDiagnostics } from "../../analysis/merges.ts";
import { everyNode, placeOf, type Standing } from "../../analysis/standing.ts";
import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import { intAttribute, intsAttribute } from "../../graph/graph.ts";
import { typeOf } from "../../graph/query.ts";
import {
  type Dim,
  elementCount,
  normalizeAxis,
  type Shape,
  UNKNOWN_DIM,
} from "../../graph/shape.ts";
import { numbersOf } from "../../graph/tensor.ts";
import { verify } from "../../ops/verify.ts";
import type { Sizes } from "./examples.ts";
import { unfolded } from "./freeing.ts";
import { losesBatch, mixesExamples } from "./mixing.ts";
import { ExampleOrder } from "./order.ts";

/** Why the freed graph may not do for every batch what the old one did for its own. */
export function whyUnproven(
  before: Graph,
  after: Graph,
  { batch, symbol, other: otherBatch }: Sizes,
): string | undefined {
  const old = unfolded(before);
  const same = unfolded(after, new Map([[symbol, batch]]));
  const other = unfolded(after, new Map([[symbol, otherBatch]]));
  const [contradiction] = [
    ...mergeDiagnostics(other),
    ...verify(other).filter(({ severity }) => severity === "error"),
  ];
  if (contradiction !== undefined) {
    return `with batch ${otherBatch}, ${contradiction.where}: ${contradiction.text}`;
  }
  for (const { name } of before.outputs) {
    const [was, is, scaled] = [old, same, other].map((graph) => typeOf(graph, name)?.shape);
    if (was === undefined || !known(is) || !known(scaled))
      return `the shape of output ${name} cannot be followed${beyond(other)}`;
    if (
      !was.every((dim, axis) => dim === is[axis] || typeof dim === "string") ||
      was.length !== is.length
    )
      return `output ${name} would have another shape`;
    const free = is.map((dim, axis): Dim => (axis === 0 && dim === batch ? otherBatch : dim));
    if (free.some((dim, axis) => dim !== scaled[axis]) || is[0] !== batch)
      return `the first axis of output ${name} is not the batch`;
  }
  const order = new ExampleOrder(otherBatch);
  for (const at of everyNode(other)) {
    const whole = order.visit(at.node, (name) => typeOf(at.graph, name)?.shape);
    const where = `${placeOf(at)} (${at.node.op})`;
    if (refuses(at, otherBatch)) return `${where} has room for one batch size alone`;
    if (!whole || losesBatch(at, otherBatch) || mixesExamples(at, otherBatch))
      return `${where} takes some examples of the batch, or mixes them`;
  }
  return undefined;
}

/** The first node behind which a shape is not known. */
function beyond(graph: Graph): string {
  for (const at of everyNode(graph)) {
    const isKnown = (name: ValueName): boolean =>
      name === "" || known(typeOf(at.graph, name)?.shape);
    const { inputs, outputs } = at.node;
    if (inputs.every(isKnown) && !outputs.every(isKnown))
      return ` behind ${placeOf(at)} (${at.node.op})`;
  }
  return "";
}

/** Other axes may stay symbols: lengths of sequences. */
function known(shape: Shape | undefined): shape is Shape {
  return shape?.every((dim) => dim !== UNKNOWN_DIM) ?? false;
}

/** What shape rules let pass, and the runtime does not. */
function refuses({ graph, node }: Standing, otherBatch: number): boolean {
  const [x, y] = [node.inputs[0], node.outputs[0]].map((name) => typeOf(graph, name ?? "")?.shape);
  if (node.domain !== "") return false;
  switch (node.op) {
    case "Reshape":
      return elementCount(x) !== elementCount(y);
    case "Squeeze": {
      const given = intsAttribute(node, "axes") ?? constantAxes(graph, node);
      return given?.some((axis) => x?.[normalizeAxis(axis, x.length) ?? 0] !== 1) ?? false;
    }
    case "Conv":
    case "ConvTranspose":
      // A weight that the caller feeds is no example.
      return graph.inputs.some(
        ({ name, shape }) => name === node.inputs[1] && shape?.[0] === otherBatch,
      );
    case "RNN":
    case "LSTM":
    case "GRU":
      if (!lengthsFit(graph, node, 4, otherBatch)) return true;
      return node.inputs
        .slice(5, 7)
        .some((name) => !statesFit(node, x, typeOf(graph, name)?.shape));
    case "Attention":
      return !lengthsFit(graph, node, 6, otherBatch);
    case "TensorScatter":
      return !lengthsFit(graph, node, 2, otherBatch);
    case "ReverseSequence":
      return !lengthsFit(graph, node, 1, otherBatch);
    case "Gemm":
      return !stretchesTo(typeOf(graph, node.inputs[2] ?? "")?.shape, y);
    default:
      return false;
  }
}

/** An operand that has a number for each example. */
function lengthsFit(graph: Graph, node: Node, i: number, otherBatch: number): boolean {
  const shape = typeOf(graph, node.inputs[i] ?? "")?.shape;
  return shape === undefined || typeof shape[0] !== "number" || shape[0] === otherBatch;
}

/** Initial states of a recurrent layer have the batch on the axis before the last. */
function statesFit(node: Node, x: Shape | undefined, states: Shape | undefined): boolean {
  const axis = intAttribute(node, "layout", 0) === 0 ? 1 : 0;
  return states === undefined || x === undefined || states[axis] === x[axis];
}

function stretchesTo(small: Shape | undefined, large: Shape | undefined): boolean {
  if (small === undefined || large === undefined) return true;
  return small.every((dim, i) => {
    const other = large[i + large.length - small.length];
    return dim === 1 || typeof dim !== "number" || typeof other !== "number" || dim === other;
  });
}

function constantAxes(graph: Graph, node: Node): number[] | undefined {
  const ref = graph.initializers.get(node.inputs[1] ?? "");
  return ref === undefined ? undefined : numbersOf(ref);
}
