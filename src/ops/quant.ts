// Quantized values: to and from them, and the ops that compute on them.

import { intAttribute } from "../graph/graph.ts";
import { broadcast, type Shape } from "../graph/shape.ts";
import { DTYPE_CODES } from "../onnx/dtype-codes.ts";
import { convShape } from "./conv.ts";
import { matmulShape } from "./matmul.ts";
import { concatShape } from "./movement.ts";
import type { OpDef, ShapeContext } from "./op.ts";
import { defineOp, NO_RULE, perInput, perOutput, typed } from "./rules.ts";

/** Through the rounding a straight-through estimate would flow; there is no rule for it yet. */
const gradient = NO_RULE;

const quantizeLinear = defineOp("QuantizeLinear", {
  shape: (c) => {
    const code = intAttribute(c.node, "output_dtype", 0);
    const zeroPoint = c.input(2)?.dtype;
    const dtype = zeroPoint ?? (code === 0 ? "uint8" : DTYPE_CODES.get(code));
    return [typed(dtype, c.input(0)?.shape)];
  },
  cost: perInput(2),
  gradient,
});

const dequantizeLinear = defineOp("DequantizeLinear", {
  shape: (c) => {
    const code = intAttribute(c.node, "output_dtype", 0);
    return [typed(code === 0 ? c.input(1)?.dtype : DTYPE_CODES.get(code), c.input(0)?.shape)];
  },
  cost: perInput(2),
  gradient,
});

const dynamicQuantizeLinear = defineOp("DynamicQuantizeLinear", {
  shape: (c) => [typed("uint8", c.input(0)?.shape), typed("float32", []), typed("uint8", [])],
  cost: perInput(3),
  gradient,
});

const qLinearMatMul = defineOp("QLinearMatMul", {
  shape: (c) => [typed(c.input(7)?.dtype, matmulShape(c.input(0)?.shape, c.input(3)?.shape))],
  cost: perOutput(2),
  gradient,
});

const matMulInteger = defineOp("MatMulInteger", {
  shape: (c) => [typed("int32", matmulShape(c.input(0)?.shape, c.input(1)?.shape))],
  cost: perOutput(2),
  gradient,
});

const convInteger = defineOp("ConvInteger", {
  shape: (c) => [typed("int32", convShape(c))],
  cost: perOutput(2),
  gradient,
});

const qLinearConv = defineOp("QLinearConv", {
  shape: (c) => [typed(c.input(7)?.dtype, convShape(c, 3))],
  cost: perOutput(2),
  gradient,
});

/** An op on quantized operands, each followed by its scale and zero point (ONNX Runtime, contributed ops). */
function qLinear(type: string, shape: (c: ShapeContext) => Shape | undefined): OpDef {
  return defineOp(type, {
    domain: "com.microsoft",
    shape: (c) => [typed(c.input(type === "QLinearConcat" ? 2 : 0)?.dtype, shape(c))],
    cost: perOutput(2),
    gradient,
  });
}

function joined(c: ShapeContext): Shape | undefined {
  const [a, b] = [c.input(0)?.shape, c.input(3)?.shape];
  return a && b && broadcast(a, b);
}

/** Scale and zero point of the result stand in front here. */
function concatenated(c: ShapeContext): Shape | undefined {
  const shapes = c.node.inputs.flatMap((_, i) => (i % 3 === 2 ? [c.input(i)?.shape] : []));
  return concatShape(shapes, intAttribute(c.node, "axis", 0));
}

function averaged(c: ShapeContext): Shape | undefined {
  const channelAt = (rank: number): number =>
    intAttribute(c.node, "channels_last", 0) === 0 ? 1 : rank - 1;
  const kept = (axis: number, rank: number): boolean => axis === 0 || axis === channelAt(rank);
  return c.input(0)?.shape?.map((dim, axis, all) => (kept(axis, all.length) ? dim : 1));
}

/** All ops of this family. */
export const quantized: readonly OpDef[] = [
  quantizeLinear,
  dequantizeLinear,
  dynamicQuantizeLinear,
  qLinearMatMul,
  matMulInteger,
  convInteger,
  qLinearConv,
  qLinear("QLinearAdd", joined),
  qLinear("QLinearMul", joined),
  qLinear("QLinearConcat", concatenated),
  qLinear("QLinearGlobalAveragePool", averaged),
  ...["QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax"].map((type) =>
    qLinear(type, (c) => c.input(0)?.shape),
  ),
];
