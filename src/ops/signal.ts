// Fourier transforms, and the windows and filters that are used with them. Complex numbers are pairs in
// the last axis.

import { intAttribute } from "../graph/graph.ts";
import { type Dim, normalizeAxis, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import { DTYPE_CODES } from "../onnx/dtype-codes.ts";
import type { OpDef, ShapeContext } from "./op.ts";
import { defineOp, free, integers, perOutput, typed } from "./rules.ts";

/** A size that an input gives as a scalar; `otherwise` where the input is left out. */
function sizeFrom(c: ShapeContext, i: number, otherwise: Dim): Dim {
  if ((c.node.inputs[i] ?? "") === "") return otherwise;
  const given = integers(c.constant(i));
  return given?.length === 1 ? (given[0] ?? UNKNOWN_DIM) : UNKNOWN_DIM;
}

/** Frequencies of a real signal of this length that are not the conjugate of another. */
function half(length: Dim): Dim {
  return typeof length === "number" ? Math.floor(length / 2) + 1 : UNKNOWN_DIM;
}

/** From half the frequencies to twice as many samples, the first and last counted once. */
function whole(frequencies: Dim): Dim {
  return typeof frequencies === "number" ? 2 * (frequencies - 1) : UNKNOWN_DIM;
}

/** Which axis is an input since operator set 20, and was an attribute before. */
function transformedShape(c: ShapeContext): Shape | undefined {
  const x = c.input(0)?.shape;
  if (x === undefined || x.length < 2) return undefined;
  const onesided = intAttribute(c.node, "onesided", 0) !== 0;
  const inverse = intAttribute(c.node, "inverse", 0) !== 0;
  const parts = onesided && inverse ? 1 : 2;
  const unchanged = !onesided && (c.node.inputs[1] ?? "") === "";
  if (unchanged) return [...x.slice(0, -1), parts];
  const given = c.opset < 20 ? intAttribute(c.node, "axis", 1) : sizeFrom(c, 2, -2);
  if (typeof given !== "number") return [...x.slice(0, -1).map(() => UNKNOWN_DIM), parts];
  const axis = normalizeAxis(given, x.length);
  if (axis === undefined || axis === x.length - 1) return undefined;
  const own = x[axis] ?? UNKNOWN_DIM;
  const length = sizeFrom(c, 1, onesided && inverse ? whole(own) : own);
  const size = onesided && !inverse ? half(length) : length;
  return [...x.slice(0, -1).with(axis, size), parts];
}

const dft = defineOp("DFT", {
  shape: (c) => [typed(c.input(0)?.dtype, transformedShape(c))],
  cost: perOutput(20),
  gradient: { because: "the rules of complex spectra are not written" },
});

/** Frames along a signal `[batch, length, 1 or 2]`, each transformed: `[batch, frames, frequencies, 2]`. */
const stft = defineOp("STFT", {
  shape: (c) => {
    const [batch = UNKNOWN_DIM, length = UNKNOWN_DIM] = c.input(0)?.shape ?? [];
    const step = sizeFrom(c, 1, UNKNOWN_DIM);
    const windowed = (c.node.inputs[2] ?? "") !== "";
    const window = windowed ? (c.input(2)?.shape?.[0] ?? UNKNOWN_DIM) : length;
    const frame = sizeFrom(c, 3, window);
    const frequencies = intAttribute(c.node, "onesided", 1) !== 0 ? half(frame) : frame;
    return [typed(c.input(0)?.dtype, [batch, frames(length, frame, step), frequencies, 2])];
  },
  cost: perOutput(20),
  gradient: { because: "the rules of complex spectra are not written" },
});

function frames(length: Dim, frame: Dim, step: Dim): Dim {
  if (typeof length !== "number" || typeof frame !== "number") return UNKNOWN_DIM;
  if (typeof step !== "number" || step <= 0 || length < frame) return UNKNOWN_DIM;
  return Math.floor((length - frame) / step) + 1;
}

function making(type: string, shape: (c: ShapeContext) => Shape): OpDef {
  return defineOp(type, {
    shape: (c) => [typed(DTYPE_CODES.get(intAttribute(c.node, "output_datatype", 1)), shape(c))],
    cost: free,
    gradient: "zero",
  });
}

/** A filter for each band over half the frequencies. */
const melWeights = making("MelWeightMatrix", (c) => [
  half(sizeFrom(c, 1, UNKNOWN_DIM)),
  sizeFrom(c, 0, UNKNOWN_DIM),
]);

/** All ops of this family. */
export const signals: readonly OpDef[] = [
  dft,
  stft,
  melWeights,
  ...["HannWindow", "HammingWindow", "BlackmanWindow"].map((type) =>
    making(type, (c) => [sizeFrom(c, 0, UNKNOWN_DIM)]),
  ),
];
