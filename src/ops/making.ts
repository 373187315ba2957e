// Ops that make tensors out of shapes, constants and chance. Nothing flows back through them.

import { type Attribute, intAttribute } from "../graph/graph.ts";
import { type Dim, normalizeAxis, UNKNOWN_DIM } from "../graph/shape.ts";
import { DTYPE_CODES } from "../onnx/dtype-codes.ts";
import type { OpDef, ShapeRule } from "./op.ts";
import { defineOp, dimsOf, free, integers, typed } from "./rules.ts";

function making(type: string, shape: ShapeRule): OpDef {
  return defineOp(type, { shape, cost: free, gradient: "zero" });
}

const oneHot = making("OneHot", (c) => {
  const indices = c.input(0)?.shape;
  const depth: Dim = integers(c.constant(1))?.[0] ?? UNKNOWN_DIM;
  if (indices === undefined) return [typed(c.input(2)?.dtype, undefined)];
  const rank = indices.length + 1;
  const axis = normalizeAxis(intAttribute(c.node, "axis", -1), rank) ?? indices.length;
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

/** All ops of this family. */
export const makings: readonly OpDef[] = [
  ...[oneHot, shapeOp, size, constantOfShape, constant, range, nonZero, eyeLike],
  ...["RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"].map(random),
  ...[random("Bernoulli"), multinomial],
];
