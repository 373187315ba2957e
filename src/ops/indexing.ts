// Ops that choose elements by index, and those that make tensors out of shapes and constants.

import { type Attribute, intAttribute, stringAttribute, type ValueName } from "../graph/graph.ts";
import { broadcast, type Dim, normalizeAxis, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import { DTYPE_CODES } from "../onnx/dtype-codes.ts";
import type { GradientContext, OpDef, ShapeContext, ShapeRule } from "./op.ts";
import { defineOp, dimsOf, free, integers, NO_RULE, perOutput, typed } from "./rules.ts";

function selecting(type: string, shape: ShapeRule): OpDef {
  return defineOp(type, { shape, cost: perOutput(0), gradient: NO_RULE });
}

function making(type: string, shape: ShapeRule): OpDef {
  return defineOp(type, { shape, cost: free, gradient: "zero" });
}

function axisOf(c: ShapeContext, rank: number, fallback = 0): number | undefined {
  return normalizeAxis(intAttribute(c.node, "axis", fallback), rank);
}

const gather = selecting("Gather", (c) => {
  const x = c.input(0)?.shape;
  const indices = c.input(1)?.shape;
  const axis = x && axisOf(c, x.length);
  if (x === undefined || indices === undefined || axis === undefined) {
    return [typed(c.input(0)?.dtype, undefined)];
  }
  return [typed(c.input(0)?.dtype, [...x.slice(0, axis), ...indices, ...x.slice(axis + 1)])];
});

const gatherElements = selecting("GatherElements", (c) => [
  typed(c.input(0)?.dtype, c.input(1)?.shape),
]);

const gatherNd = selecting("GatherND", (c) => {
  const x = c.input(0)?.shape;
  const indices = c.input(1)?.shape;
  const depth = indices?.at(-1);
  const batch = intAttribute(c.node, "batch_dims", 0);
  if (x === undefined || indices === undefined || typeof depth !== "number") {
    return [typed(c.input(0)?.dtype, undefined)];
  }
  return [typed(c.input(0)?.dtype, [...indices.slice(0, -1), ...x.slice(batch + depth)])];
});

const oneHot = making("OneHot", (c) => {
  const indices = c.input(0)?.shape;
  const depth: Dim = integers(c.constant(1))?.[0] ?? UNKNOWN_DIM;
  if (indices === undefined) return [typed(c.input(2)?.dtype, undefined)];
  const axis = axisOf(c, indices.length + 1, -1) ?? indices.length;
  return [typed(c.input(2)?.dtype, indices.toSpliced(axis, 0, depth))];
});

const shapeOp = making("Shape", (c) => {
  const rank = c.input(0)?.shape?.length;
  if (rank === undefined) return [typed("int64", [UNKNOWN_DIM])];
  const all = Array.from({ length: rank }, (_, i) => i);
  const kept = all.slice(intAttribute(c.node, "start", 0), intAttribute(c.node, "end"));
  return [typed("int64", [kept.length])];
});

const size = making("Size", () => [typed("int64", [])]);

const constantOfShape = making("ConstantOfShape", (c) => {
  const value = c.node.attributes.get("value");
  const dtype = value?.kind === "tensor" ? value.value.dtype : "float32";
  return [typed(dtype, dimsOf(c, 0))];
});

const constant = making("Constant", (c) => {
  const [kind, attribute] = [...c.node.attributes][0] ?? [];
  if (attribute?.kind === "tensor") return [typed(attribute.value.dtype, attribute.value.shape)];
  switch (kind) {
    case "value_float":
      return [typed("float32", [])];
    case "value_int":
      return [typed("int64", [])];
    case "value_string":
      return [typed("string", [])];
    case "value_floats":
      return [typed("float32", [length(attribute)])];
    case "value_ints":
      return [typed("int64", [length(attribute)])];
    case "value_strings":
      return [typed("string", [length(attribute)])];
    default:
      return [undefined];
  }
});

function length(attribute: Attribute | undefined): Dim {
  const listed = attribute !== undefined && "value" in attribute && Array.isArray(attribute.value);
  return listed ? attribute.value.length : UNKNOWN_DIM;
}

const range = making("Range", (c) => {
  const [start, limit, delta] = [0, 1, 2].map(
    (i) => integers(c.constant(i))?.[0] ?? c.entries(i)?.[0],
  );
  return [typed(c.input(0)?.dtype, [countOf(start, limit, delta)])];
});

/** 0, 1, … up to a size that is a symbol are as many as the symbol says. */
function countOf(start: Dim | undefined, limit: Dim | undefined, delta: Dim | undefined): Dim {
  if (start === 0 && delta === 1 && typeof limit === "string") return limit;
  const numbers = typeof start === "number" && typeof limit === "number";
  if (!numbers || typeof delta !== "number" || delta === 0) return UNKNOWN_DIM;
  return Math.max(0, Math.ceil((limit - start) / delta));
}

/** Of a scalar, versions of the runtime and of the standard give a first dim of 0 or of 1. */
const nonZero = making("NonZero", (c) => {
  const rank = c.input(0)?.shape?.length ?? 0;
  return [typed("int64", [rank === 0 ? UNKNOWN_DIM : rank, UNKNOWN_DIM])];
});

const eyeLike = making("EyeLike", (c) => {
  const code = intAttribute(c.node, "dtype");
  const dtype = code === undefined ? c.input(0)?.dtype : DTYPE_CODES.get(code);
  return [typed(dtype, c.input(0)?.shape)];
});

const random = (type: string): OpDef =>
  making(type, (c) => {
    const code = intAttribute(c.node, "dtype");
    const like = type.endsWith("Like") || type === "Bernoulli";
    const shape = c.node.attributes.get("shape");
    const dims = shape?.kind === "ints" ? shape.value.map(Number) : undefined;
    const dtype =
      code === undefined ? (like ? c.input(0)?.dtype : "float32") : DTYPE_CODES.get(code);
    return [typed(dtype, like ? c.input(0)?.shape : dims)];
  });

/** Class numbers drawn from each row of scores (int32 where nothing else is asked for). */
const multinomial = making("Multinomial", (c) => {
  const dtype = DTYPE_CODES.get(intAttribute(c.node, "dtype", 6));
  const rows = c.input(0)?.shape?.[0] ?? UNKNOWN_DIM;
  return [typed(dtype, [rows, intAttribute(c.node, "sample_size", 1)])];
});

const scatterElements = selecting("ScatterElements", (c) => [c.input(0)]);
const scatterNd = selecting("ScatterND", (c) => [c.input(0)]);

const topK = selecting("TopK", (c) => {
  const x = c.input(0)?.shape;
  const axis = x && axisOf(c, x.length, -1);
  const k: Dim = intAttribute(c.node, "k") ?? integers(c.constant(1))?.[0] ?? UNKNOWN_DIM;
  const shape = x && axis !== undefined ? x.with(axis, k) : undefined;
  return [typed(c.input(0)?.dtype, shape), typed("int64", shape)];
});

const compress = selecting("Compress", (c) => {
  const x = c.input(0)?.shape;
  const along = intAttribute(c.node, "axis");
  const axis = x && along !== undefined ? normalizeAxis(along, x.length) : undefined;
  if (along === undefined) return [typed(c.input(0)?.dtype, [UNKNOWN_DIM])];
  return [
    typed(c.input(0)?.dtype, x && axis !== undefined ? x.with(axis, UNKNOWN_DIM) : undefined),
  ];
});

/** The different elements, or slices along an axis; how many there are only the data tells. */
const unique = selecting("Unique", (c) => {
  const x = c.input(0)?.shape;
  const along = intAttribute(c.node, "axis");
  const axis = x && along !== undefined ? normalizeAxis(along, x.length) : undefined;
  const sliced = x && axis !== undefined ? x.with(axis, UNKNOWN_DIM) : undefined;
  const list = typed("int64", [UNKNOWN_DIM]);
  return [
    typed(c.input(0)?.dtype, along === undefined ? [UNKNOWN_DIM] : sliced),
    ...[list, list, list],
  ];
});

/** Sums along an axis; its gradient is the same sum from the other end. */
const cumSum = defineOp("CumSum", {
  shape: (c) => [c.input(0)],
  cost: perOutput(1),
  gradient: (context, [dy]) => (dy === undefined ? [] : [cumSumGradient(context, dy), undefined]),
});

function cumSumGradient(context: GradientContext, dy: ValueName): ValueName {
  const { node } = context;
  const reverse = intAttribute(node, "reverse", 0) === 0 ? 1 : 0;
  const attributes = new Map(node.attributes).set("reverse", { kind: "int", value: reverse });
  return context.emit("CumSum", [dy, node.inputs[1] ?? ""], { attributes });
}

const einsum = selecting("Einsum", (c) => [typed(c.input(0)?.dtype, einsumShape(c))]);

/** Dims by their letters, after the axes of ellipses; undefined for an equation that does not fit. */
function einsumShape(c: ShapeContext): Shape | undefined {
  const equation = stringAttribute(c.node, "equation", "").replaceAll(" ", "");
  const [left = "", right = implicitResult(equation)] = equation.split("->");
  const dims = new Map<string, Dim>();
  let covered: Shape | undefined = [];
  for (const [i, term] of left.split(",").entries()) {
    const parts = dividedBy(term, c.input(i)?.shape);
    if (parts === undefined) return undefined;
    covered = parts.covered && covered && broadcast(covered, parts.covered);
    for (const [letter, dim] of parts.named) {
      // A size of 1 broadcasts against the others of its letter.
      if (typeof dim === "number" ? dim !== 1 || !dims.has(letter) : !dims.has(letter)) {
        dims.set(letter, dim);
      }
    }
  }
  const dimsFor = (letters: string): Dim[] =>
    [...letters].map((letter) => dims.get(letter) ?? UNKNOWN_DIM);
  const [head = "", tail] = right.split("...");
  if (tail === undefined) return dimsFor(head);
  return covered && [...dimsFor(head), ...covered, ...dimsFor(tail)];
}

/** The dims of an operand by the letters of its term, and those that its ellipsis covers. */
function dividedBy(
  term: string,
  shape: Shape | undefined,
): { named: [string, Dim][]; covered: Shape | undefined } | undefined {
  const [before = "", after] = term.split("...");
  const letters = [...before, ...(after ?? "")];
  if (shape === undefined) {
    const named = letters.map((letter): [string, Dim] => [letter, UNKNOWN_DIM]);
    return { named, covered: after === undefined ? [] : undefined };
  }
  const hidden = shape.length - letters.length;
  if (after === undefined ? hidden !== 0 : hidden < 0) return undefined;
  const seen = [...shape.slice(0, before.length), ...shape.slice(before.length + hidden)];
  const named = letters.map((letter, i): [string, Dim] => [letter, seen[i] ?? UNKNOWN_DIM]);
  return { named, covered: shape.slice(before.length, before.length + hidden) };
}

/** A result that is not written: what ellipses cover, then each letter that stands once, in order. */
function implicitResult(equation: string): string {
  const counts = new Map<string, number>();
  for (const letter of equation.replaceAll(/[.,]/g, "")) {
    counts.set(letter, (counts.get(letter) ?? 0) + 1);
  }
  const once = [...counts].filter(([, count]) => count === 1).map(([letter]) => letter);
  return `${equation.includes("...") ? "..." : ""}${once.sort().join("")}`;
}

/** All ops of this family. */
export const indexings: readonly OpDef[] = [
  gather,
  gatherElements,
  gatherNd,
  oneHot,
  shapeOp,
  size,
  constantOfShape,
  constant,
  range,
  nonZero,
  eyeLike,
  ...["RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"].map(random),
  random("Bernoulli"),
  multinomial,
  unique,
  scatterElements,
  scatterNd,
  topK,
  compress,
  cumSum,
  ...["CumProd", "ReverseSequence", "TensorScatter", "Scatter"].map((type) =>
    selecting(type, (c) => [c.input(0)]),
  ),
  einsum,
];
