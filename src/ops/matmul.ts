// Matrix products.

import { float, floatAttribute, int, intAttribute, type ValueName } from "../graph/graph.ts";
import { broadcast, type Dim, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import { scalar } from "../graph/tensor.ts";
import { knownShape, shapeConstant, transpose, unbroadcast } from "./construct.ts";
import type { GradientContext, OpDef, ShapeContext } from "./op.ts";
import { costOf, defineOp, typed } from "./rules.ts";

/** The shape of a product of matrices, with leading axes broadcast. */
export function matmulShape(a: Shape | undefined, b: Shape | undefined): Shape | undefined {
  if (a === undefined || b === undefined || a.length === 0 || b.length === 0) return undefined;
  const batch = broadcast(a.slice(0, -2), b.slice(0, -2));
  if (batch === undefined) return undefined;
  const rows = a.length > 1 ? [a[a.length - 2] ?? UNKNOWN_DIM] : [];
  const columns = b.length > 1 ? [b[b.length - 1] ?? UNKNOWN_DIM] : [];
  return [...batch, ...rows, ...columns];
}

/** Swaps the last two axes. */
function swapLast(context: GradientContext, x: ValueName): ValueName {
  const rank = knownShape(context, x, context.node).length;
  const perm = Array.from({ length: rank }, (_, i) => i);
  perm.splice(rank - 2, 2, rank - 1, rank - 2);
  return transpose(context, x, perm);
}

const matmul = defineOp("MatMul", {
  shape: (c) => [typed(c.input(0)?.dtype, matmulShape(c.input(0)?.shape, c.input(1)?.shape))],
  cost: costOf((_node, [a], [y]) => product(y?.shape, a?.shape?.at(-1))),
  saves: { inputs: [0, 1], outputs: [] },
  gradient: (context, [dy]) => {
    if (dy === undefined) return [];
    const [a = "", b = ""] = context.node.inputs;
    const [row, column] = [a, b].map((x) => knownShape(context, x, context.node).length === 1);
    // A vector is a row on the left and a column on the right; its axis of 1 is not in the product.
    const left = row ? at(context, "Unsqueeze", a, 0) : a;
    const right = column ? at(context, "Unsqueeze", b, 1) : b;
    const wide = column ? at(context, "Unsqueeze", dy, -1) : dy;
    const whole = row ? at(context, "Unsqueeze", wide, -2) : wide;
    const da = context.wants(0)
      ? unbroadcast(
          context,
          context.emit("MatMul", [whole, swapLast(context, right)]),
          left,
          context.node,
        )
      : undefined;
    const db = context.wants(1) ? rightGradient(context, { left, right, dy: whole }) : undefined;
    return [
      row && da !== undefined ? at(context, "Squeeze", da, 0) : da,
      column && db !== undefined ? at(context, "Squeeze", db, 1) : db,
    ];
  },
});

/**
 * aᵀ·dy, summed over leading axes. Where all rows of `left` meet one matrix they are one long matrix, and the sum
 * is inside of one product: with a product for each example and a ReduceSum, the step of an encoder took 1.13 times
 * the processor time (docs/design/training-speed.md).
 */
function rightGradient(
  context: GradientContext,
  { left, right, dy }: { left: ValueName; right: ValueName; dy: ValueName },
): ValueName {
  const [a, b] = [left, right].map((x) => knownShape(context, x, context.node));
  const width = a?.at(-1);
  const units = b?.at(-1);
  const isOneMatrix = b?.length === 2 && a !== undefined && a.length > 2;
  if (!isOneMatrix || !isPositive(width) || !isPositive(units)) {
    const each = context.emit("MatMul", [swapLast(context, left), dy]);
    return unbroadcast(context, each, right, context.node);
  }
  const rows = (x: ValueName, size: number): ValueName =>
    context.emit("Reshape", [x, shapeConstant(context, [-1, size])]);
  return context.emit("Gemm", [rows(left, width), rows(dy, units)], {
    attributes: { transA: int(1) },
  });
}

function isPositive(dim: Dim | undefined): dim is number {
  return typeof dim === "number" && dim > 0;
}

/** Adds or drops an axis of 1. */
function at(
  context: GradientContext,
  op: "Unsqueeze" | "Squeeze",
  x: ValueName,
  axis: number,
): ValueName {
  return context.emit(op, [x, shapeConstant(context, [axis])]);
}

function product(shape: Shape | undefined, inner: Dim | undefined): number | undefined {
  if (typeof inner !== "number") return undefined;
  let count = 2 * inner;
  for (const dim of shape ?? [UNKNOWN_DIM]) {
    if (typeof dim !== "number") return undefined;
    count *= dim;
  }
  return count;
}

/** The shape of a product of two matrices, either of them transposed. */
export function gemmShape(c: ShapeContext, weightAt = 1): Shape | undefined {
  const a = c.input(0)?.shape;
  const b = c.input(weightAt)?.shape;
  if (a?.length !== 2 || b?.length !== 2) return undefined;
  const rows = a[intAttribute(c.node, "transA", 0) === 0 ? 0 : 1] ?? UNKNOWN_DIM;
  const columns = b[intAttribute(c.node, "transB", 0) === 0 ? 1 : 0] ?? UNKNOWN_DIM;
  return [rows, columns];
}

const gemm = defineOp("Gemm", {
  shape: (c) => [typed(c.input(0)?.dtype, gemmShape(c))],
  cost: costOf((node, [a], [y]) =>
    product(y?.shape, a?.shape?.[intAttribute(node, "transA", 0) === 0 ? 1 : 0]),
  ),
  saves: { inputs: [0, 1], outputs: [] },
  gradient: (context, [dy]) => {
    if (dy === undefined) return [undefined, undefined, undefined];
    const { node } = context;
    const [a = "", b = "", bias = ""] = node.inputs;
    const alpha = floatAttribute(node, "alpha", 1);
    const transA = intAttribute(node, "transA", 0) !== 0;
    const transB = intAttribute(node, "transB", 0) !== 0;
    const gemmOf = (x: ValueName, tx: boolean, y: ValueName, ty: boolean): ValueName =>
      context.emit("Gemm", [x, y], {
        attributes: {
          alpha: float(alpha),
          transA: int(tx ? 1 : 0),
          transB: int(ty ? 1 : 0),
        },
      });
    // y = A'B' with A' = Aᵀ if transA: dA' = dy B'ᵀ, dB' = A'ᵀ dy, each transposed back.
    const da = transA ? () => gemmOf(b, transB, dy, true) : () => gemmOf(dy, false, b, !transB);
    const db = transB ? () => gemmOf(dy, true, a, transA) : () => gemmOf(a, !transA, dy, false);
    return [
      context.wants(0) ? da() : undefined,
      context.wants(1) ? db() : undefined,
      bias !== "" && context.wants(2) ? gemmBias(context, dy, bias) : undefined,
    ];
  },
});

function gemmBias(context: GradientContext, dy: ValueName, bias: ValueName): ValueName {
  const summed = unbroadcast(context, dy, bias, context.node);
  const beta = floatAttribute(context.node, "beta", 1);
  return beta === 1 ? summed : context.emit("Mul", [summed, context.constant(scalar(beta))]);
}

/** All ops of this family. */
export const matmuls: readonly OpDef[] = [matmul, gemm];
