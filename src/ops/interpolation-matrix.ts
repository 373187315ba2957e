// The weights with which Resize takes the pixels of one axis, as a matrix that the graph computes: for sizes
// that are known at run time only. The same numbers as `weightsOf` (ONNX Resize-19), by the same steps in
// float32 as ONNX Runtime takes, so that the nearest pixel is the same one.

import type { Node, ValueName } from "../graph/graph.ts";
import { int64, scalarOf } from "../graph/tensor.ts";
import { castTo, countingAlong, noGradient, reduce, sizesOf } from "./construct.ts";
import type { Modes } from "./interpolation.ts";
import type { Emitter } from "./op.ts";

/** One axis of a Resize from `x` to `y`. */
export interface ResizedAxis {
  readonly axis: number;
  readonly x: ValueName;
  readonly y: ValueName;
  /** Of output to input, where it is given: a number, or float32 `[1]`. */
  readonly scale: number | ValueName | undefined;
}

/**
 * The weights, float32 `[output, input]`.
 *
 * @throws SkipwayError for ways of mapping that have no such form.
 */
export function weightMatrix(e: Emitter, node: Node, modes: Modes, axis: ResizedAxis): ValueName {
  if (modes.antialias) throw unknownSizes(node, axis, "with antialiasing");
  const input = floatSize(e, axis.x, axis.axis);
  const at = placesOf(e, node, modes, axis, input);
  if (modes.mode === "nearest") return picked(e, rounded(e, modes.rounding, at), axis, input);
  const floor = e.emit("Floor", [at]);
  const share = e.emit("Sub", [at, floor]);
  const taps = modes.mode === "cubic" ? [-1, 0, 1, 2] : [0, 1];
  const parts = taps.map((tap) => {
    const place = e.emit("Add", [floor, number(e, tap)]);
    const distance = e.emit("Abs", [e.emit("Sub", [share, number(e, tap)])]);
    const weight =
      modes.mode === "cubic"
        ? cubic(e, distance, modes.cubic)
        : e.emit("Sub", [number(e, 1), distance]);
    const kept = modes.excludeOutside ? e.emit("Mul", [weight, inside(e, place, input)]) : weight;
    return e.emit("Mul", [picked(e, place, axis, input), kept]);
  });
  const matrix = e.emit("Sum", parts);
  if (!modes.excludeOutside) return matrix;
  return e.emit("Div", [matrix, reduce(e, "ReduceSum", matrix, [1], true)]);
}

function unknownSizes(node: Node, { axis }: ResizedAxis, how: string): Error {
  return noGradient(node, `the sizes along axis ${axis} must be known ${how}`);
}

function number(e: Emitter, value: number): ValueName {
  return e.constant(scalarOf("float32", value), "number");
}

/** The size of an axis, float32 `[1]`. */
function floatSize(e: Emitter, x: ValueName, axis: number): ValueName {
  return castTo(e, sizesOf(e, x, [axis]), "float32");
}

/** Where output pixels lie among those of the input, float32 `[output, 1]`. */
function placesOf(
  e: Emitter,
  node: Node,
  { places }: Modes,
  resized: ResizedAxis,
  input: ValueName,
): ValueName {
  const { axis, y, scale } = resized;
  const column = e.constant(int64([2], [-1, 1]), "shape");
  const counted = e.emit("Reshape", [castTo(e, countingAlong(e, y, axis), "float32"), column]);
  const output = floatSize(e, y, axis);
  const one = number(e, 1);
  const ratio = (): ValueName => {
    if (typeof scale === "number") return number(e, scale);
    return scale ?? e.emit("Div", [output, input]);
  };
  const centred = (): ValueName => {
    const half = number(e, 0.5);
    return e.emit("Sub", [e.emit("Div", [e.emit("Add", [counted, half]), ratio()]), half]);
  };
  switch (places) {
    case "half_pixel":
      return centred();
    case "asymmetric":
      return e.emit("Div", [counted, ratio()]);
    case "pytorch_half_pixel":
      return e.emit("Where", [e.emit("Greater", [output, one]), centred(), number(e, 0)]);
    case "align_corners": {
      const gaps = e.emit("Max", [e.emit("Sub", [output, one]), one]);
      return e.emit("Div", [e.emit("Mul", [counted, e.emit("Sub", [input, one])]), gaps]);
    }
    default:
      throw unknownSizes(node, resized, `for pixels placed by ${places}`);
  }
}

function rounded(e: Emitter, rounding: string, at: ValueName): ValueName {
  const half = number(e, 0.5);
  switch (rounding) {
    case "floor":
      return e.emit("Floor", [at]);
    case "ceil":
      return e.emit("Ceil", [at]);
    case "round_prefer_ceil":
      return e.emit("Floor", [e.emit("Add", [at, half])]);
    default:
      return e.emit("Ceil", [e.emit("Sub", [at, half])]);
  }
}

/** Ones at the pixels named, the first or last one where they lie outside: float32 `[output, input]`. */
function picked(
  e: Emitter,
  place: ValueName,
  { x, axis }: ResizedAxis,
  input: ValueName,
): ValueName {
  const last = e.emit("Sub", [input, number(e, 1)]);
  const clamped = e.emit("Max", [e.emit("Min", [place, last]), number(e, 0)]);
  const pixels = castTo(e, countingAlong(e, x, axis), "float32");
  return castTo(e, e.emit("Equal", [clamped, pixels]), "float32");
}

/** 1 where a pixel is one of the input, else 0. */
function inside(e: Emitter, place: ValueName, input: ValueName): ValueName {
  const starts = e.emit("GreaterOrEqual", [place, number(e, 0)]);
  return castTo(e, e.emit("And", [starts, e.emit("Less", [place, input])]), "float32");
}

/** Keys' kernel, as in `interpolation.ts`. */
function cubic(e: Emitter, d: ValueName, a: number): ValueName {
  const polynomial = (...coefficients: readonly number[]): ValueName =>
    coefficients
      .slice(1)
      .reduce(
        (sum, one) => e.emit("Add", [e.emit("Mul", [sum, d]), number(e, one)]),
        number(e, coefficients[0] ?? 0),
      );
  const near = polynomial(a + 2, -(a + 3), 0, 1);
  const far = polynomial(a, -5 * a, 8 * a, -4 * a);
  return e.emit("Where", [e.emit("LessOrEqual", [d, number(e, 1)]), near, far]);
}
