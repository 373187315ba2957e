// Control flow. The bodies are graphs in the attributes; what they give is read from their outputs, which
// shape inference has typed before it asks here. Nothing of a branch or an iteration is executed.

import { intsAttribute, type Node, subgraphs } from "../graph/graph.ts";
import { type Dim, normalizeAxis, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import { either } from "../graph/value-type.ts";
import type { OpDef, ShapeContext, ShapeRule } from "./op.ts";
import { defineOp, typed } from "./rules.ts";

const ifShape: ShapeRule = ({ node }) => {
  const [one, other] = subgraphs(node);
  return node.outputs.map((_, i) => either(one?.outputs[i], other?.outputs[i]));
};

/** Carried values after any number of iterations, none included; then stacks of as many results. */
const loopShape: ShapeRule = (c) => {
  const [body] = subgraphs(c.node);
  const carried = c.node.inputs.length - 2;
  return c.node.outputs.map((_, i) => {
    // The first output of the body is the condition.
    const result = body?.outputs[i + 1];
    if (i < carried) return either(c.input(i + 2), result);
    if (result === undefined || result.container !== undefined) return undefined;
    return typed(result.dtype, result.shape && [UNKNOWN_DIM, ...result.shape.map(fixed)]);
  });
};

/** A symbol inside a loop may stand for another size in each iteration. */
function fixed(dim: Dim): Dim {
  return typeof dim === "number" ? dim : UNKNOWN_DIM;
}

/** How the inputs of a Scan divide: states first, then what is cut into slices along an axis each. */
export interface ScanParts {
  readonly states: number;
  /** Inputs in front of the states: the lengths in a batch, which the old form has. */
  readonly first: number;
  /** Axes that no iteration sees: the batch of the old form. */
  readonly batchAxes: number;
  /** The axis along which what the body takes as input `i` is cut. */
  readonly axisOf: (i: number) => number;
}

/** The parts of a Scan, or undefined for one that is broken. Before operator set 9 it had a batch axis. */
export function scanParts(node: Node, opset: number): ScanParts | undefined {
  const attribute = node.attributes.get("num_scan_inputs");
  if (attribute?.kind !== "int") return undefined;
  const old = opset < 9;
  const first = old ? 1 : 0;
  const states = node.inputs.length - first - Number(attribute.value);
  if (!(states >= 0 && states <= node.inputs.length - first)) return undefined;
  const axes = intsAttribute(node, "scan_input_axes");
  const axisOf = (i: number): number => (old ? 1 : (axes?.[i - states] ?? 0));
  return { states, first, batchAxes: first, axisOf };
}

const scanShape: ShapeRule = (c) => {
  const [body] = subgraphs(c.node);
  const parts = scanParts(c.node, c.opset);
  if (body === undefined || parts === undefined) return [];
  const axes = intsAttribute(c.node, "scan_output_axes");
  const cut = c.input(c.node.inputs.length - 1)?.shape;
  const batch = parts.batchAxes === 0 ? [] : cut?.slice(0, parts.batchAxes);
  const steps = stepsOf(c, parts);
  return c.node.outputs.map((_, i) => {
    // A state keeps its shape from step to step (ONNX Scan-9).
    if (i < parts.states) return c.input(i + parts.first);
    const result = body.outputs[i];
    if (result === undefined || batch === undefined) return undefined;
    const shape = stacked(result.shape, axes?.[i - parts.states], steps);
    return typed(result.dtype, shape && [...batch, ...shape]);
  });
};

function stepsOf(c: ShapeContext, parts: ScanParts): Dim {
  for (let i = parts.states; i + parts.first < c.node.inputs.length; i++) {
    const shape = c.input(i + parts.first)?.shape;
    const axis = shape && normalizeAxis(parts.axisOf(i), shape.length);
    const dim = axis === undefined ? undefined : shape?.[axis];
    if (dim !== undefined && dim !== UNKNOWN_DIM) return dim;
  }
  return UNKNOWN_DIM;
}

function stacked(shape: Shape | undefined, axis = 0, steps: Dim): Shape | undefined {
  const at = shape && normalizeAxis(axis, shape.length + 1);
  return shape === undefined || at === undefined
    ? undefined
    : shape.map(fixed).toSpliced(at, 0, steps);
}

/** The cost of what a body does, how often, is not known from the node alone. */
function control(type: string, shape: ShapeRule): OpDef {
  return defineOp(type, {
    shape,
    containers: true,
    cost: () => undefined,
    gradient: "bodies",
  });
}

/** All ops of this family. */
export const controls: readonly OpDef[] = [
  control("If", ifShape),
  control("Loop", loopShape),
  control("Scan", scanShape),
];
