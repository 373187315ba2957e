// Control flow. The bodies are graphs in the attributes; what they give is read from their outputs, which
// shape inference has typed before it asks here. Nothing of a branch or an iteration is executed.

import { intsAttribute, type Node, subgraphs, type ValueType } from "../graph/graph.ts";
import { type Dim, normalizeAxis, type Shape, sameDim, UNKNOWN_DIM } from "../graph/shape.ts";
import type { OpDef, ShapeContext, ShapeRule } from "./op.ts";
import { defineOp, typed } from "./rules.ts";

/** What is true of a value that may be either of two. */
export function either(a: ValueType | undefined, b: ValueType | undefined): ValueType | undefined {
  if (a === undefined || b === undefined || a.dtype !== b.dtype) return undefined;
  if (a.shape === undefined || a.shape.length !== b.shape?.length) return typed(a.dtype, undefined);
  const other = b.shape;
  return typed(
    a.dtype,
    a.shape.map((dim, axis) => (sameDim(dim, other[axis] ?? UNKNOWN_DIM) ? dim : UNKNOWN_DIM)),
  );
}

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
    return result && typed(result.dtype, result.shape && [UNKNOWN_DIM, ...result.shape.map(fixed)]);
  });
};

/** A symbol inside a loop may stand for another size in each iteration. */
function fixed(dim: Dim): Dim {
  return typeof dim === "number" ? dim : UNKNOWN_DIM;
}

/** How the inputs of a Scan divide: states first, then what is cut into slices along an axis each. */
export interface ScanParts {
  readonly states: number;
  readonly axisOf: (i: number) => number;
}

/** The parts of a Scan, or undefined for one that is broken or of the old form with a batch axis. */
export function scanParts(node: Node, opset: number): ScanParts | undefined {
  const attribute = node.attributes.get("num_scan_inputs");
  if (attribute?.kind !== "int" || opset < 9) return undefined;
  const states = node.inputs.length - Number(attribute.value);
  const axes = intsAttribute(node, "scan_input_axes");
  return states < 0 ? undefined : { states, axisOf: (i) => axes?.[i - states] ?? 0 };
}

const scanShape: ShapeRule = (c) => {
  const [body] = subgraphs(c.node);
  const parts = scanParts(c.node, c.opset);
  if (body === undefined || parts === undefined) return [];
  const steps = stepsOf(c, parts);
  const axes = intsAttribute(c.node, "scan_output_axes");
  return c.node.outputs.map((_, i) => {
    // A state keeps its shape from step to step (ONNX Scan-9).
    if (i < parts.states) return c.input(i);
    const result = body.outputs[i];
    return result && typed(result.dtype, stacked(result.shape, axes?.[i - parts.states], steps));
  });
};

function stepsOf(c: ShapeContext, parts: ScanParts): Dim {
  for (let i = parts.states; i < c.node.inputs.length; i++) {
    const shape = c.input(i)?.shape;
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
  return defineOp(type, { shape, cost: () => undefined, gradient: "unsupported" });
}

/** All ops of this family. */
export const controls: readonly OpDef[] = [
  control("If", ifShape),
  control("Loop", loopShape),
  control("Scan", scanShape),
];
