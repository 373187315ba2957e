// Quantization: real numbers to integers of a few bits and back.

import type { DType } from "../../src/graph/dtype.ts";
import { intAttribute } from "../../src/graph/graph.ts";
import { DTYPE_CODES } from "../../src/onnx/dtype-codes.ts";
import {
  type Array64,
  axisOf,
  filled,
  flatten,
  forEachIndex,
  rangeOf,
  stridesOf,
} from "./array.ts";
import { type Call, type Kernels, operand } from "./kernel.ts";
import { roundHalfEven } from "./scalar.ts";

/** Rounded to whole numbers and kept within an integer type. */
function saturated(dtype: DType, value: number): number {
  const [low, high] = rangeOf(dtype);
  return Math.min(Math.max(roundHalfEven(value), low), high);
}

/** A scale or zero point for each element of x: one for all, one a slice, or one a block. */
function spreadParameter(call: Call, x: Array64, parameter: Array64): Float64Array {
  if (parameter.values.length === 1) return x.values.map(() => parameter.values[0] ?? Number.NaN);
  const axis = axisOf(intAttribute(call.node, "axis", 1), x.shape.length);
  const block = intAttribute(call.node, "block_size", 0);
  const strides = stridesOf(parameter.shape);
  const values = new Float64Array(x.values.length);
  forEachIndex(x.shape, (index, flat) => {
    const at = index[axis] ?? 0;
    const place = block === 0 ? at : flatten(index.with(axis, Math.floor(at / block)), strides);
    values[flat] = parameter.values[place] ?? Number.NaN;
  });
  return values;
}

function parameters(call: Call, x: Array64): readonly [Float64Array, Float64Array] {
  const zero = call.inputs[2];
  const scale = spreadParameter(call, x, operand(call, 1));
  const none = new Float64Array(x.values.length);
  return [scale, zero === undefined ? none : spreadParameter(call, x, zero)];
}

function quantize(call: Call): Array64[] {
  const x = operand(call, 0);
  const named = DTYPE_CODES.get(intAttribute(call.node, "output_dtype", 0));
  const dtype = call.inputs[2]?.dtype ?? named ?? "uint8";
  const [scale, zero] = parameters(call, x);
  // Rounded first, then moved by the zero point (the specification of QuantizeLinear).
  return [
    filled(dtype, x.shape, (i) => {
      const steps = roundHalfEven((x.values[i] ?? 0) / (scale[i] ?? 1));
      return saturated(dtype, steps + (zero[i] ?? 0));
    }),
  ];
}

function dequantize(call: Call): Array64[] {
  const x = operand(call, 0);
  const [scale, zero] = parameters(call, x);
  const { dtype } = operand(call, 1);
  return [filled(dtype, x.shape, (i) => ((x.values[i] ?? 0) - (zero[i] ?? 0)) * (scale[i] ?? 1))];
}

/** All ops of this family. */
export const quant: Kernels = { QuantizeLinear: quantize, DequantizeLinear: dequantize };
