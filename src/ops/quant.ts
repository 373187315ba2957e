// Quantized values: to and from them, and the ops that compute on them.

import { intAttribute } from "../graph/graph.ts";
import { DTYPE_CODES } from "../onnx/dtype-codes.ts";
import { convShape } from "./conv.ts";
import { matmulShape } from "./matmul.ts";
import type { OpDef } from "./op.ts";
import { defineOp, perInput, perOutput, typed } from "./rules.ts";

/** Through the rounding a straight-through estimate would flow; there is no rule for it yet. */
const gradient = "unsupported" as const;

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
  shape: (c) => [typed(c.input(1)?.dtype, c.input(0)?.shape)],
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

/** All ops of this family. */
export const quantized: readonly OpDef[] = [
  quantizeLinear,
  dequantizeLinear,
  dynamicQuantizeLinear,
  qLinearMatMul,
  matMulInteger,
  convInteger,
  qLinearConv,
];
