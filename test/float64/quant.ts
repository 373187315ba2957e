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

/** A · Wᵀ of weights of a few bits: `[N, blocks, bytes]`, a scale and a zero point a block. */
function matMulNBits(call: Call): Array64[] {
  const [a, packed, scales] = [operand(call, 0), operand(call, 1), operand(call, 2)];
  const [, , , zeros, , bias] = call.inputs;
  const attribute = (name: string, usual: number): number => intAttribute(call.node, name, usual);
  const [columns, rows, bits, block] = [
    attribute("K", 0),
    attribute("N", 0),
    attribute("bits", 4),
    attribute("block_size", 32),
  ];
  const blocks = Math.ceil(columns / block);
  const perByte = 8 / bits;
  const digit = (bytes: Float64Array, first: number, at: number): number =>
    Math.floor((bytes[first + Math.floor(at / perByte)] ?? NaN) / 2 ** (bits * (at % perByte))) %
    2 ** bits;
  const zeroOf = (n: number, b: number): number => {
    if (zeros === undefined) return 2 ** (bits - 1);
    if (zeros.dtype !== "uint8") return zeros.values[n * blocks + b] ?? NaN;
    return digit(zeros.values, n * Math.ceil(blocks / perByte), b);
  };
  const weight = (n: number, k: number): number => {
    const b = Math.floor(k / block);
    const first = ((n * blocks + b) * block) / perByte;
    return (
      (digit(packed.values, first, k % block) - zeroOf(n, b)) *
      (scales.values[n * blocks + b] ?? NaN)
    );
  };
  return [
    filled(a.dtype, [...a.shape.slice(0, -1), rows], (flat) => {
      const [m, n] = [Math.floor(flat / rows), flat % rows];
      let sum = bias?.values[n] ?? 0;
      for (let k = 0; k < columns; k++) sum += (a.values[m * columns + k] ?? NaN) * weight(n, k);
      return sum;
    }),
  ];
}

/** All ops of this family. */
export const quant: Kernels = {
  QuantizeLinear: quantize,
  DequantizeLinear: dequantize,
  "com.microsoft/MatMulNBits": matMulNBits,
};
