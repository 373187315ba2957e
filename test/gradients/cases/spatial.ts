// Cases of resampling.

import type { Random } from "../../../src/base/random.ts";
import { type Attribute, float, ints, string } from "../../../src/graph/graph.ts";
import { float32, int64 } from "../../../src/graph/tensor.ts";
import {
  between,
  constant,
  type Generator,
  type Generators,
  type GradientCase,
  omitted,
  oneOf,
  shapeOf,
  turn,
  x,
} from "../case.ts";

const MODES = ["nearest", "linear", "cubic"] as const;
const TRANSFORMATIONS = [
  "half_pixel",
  "asymmetric",
  "align_corners",
  "pytorch_half_pixel",
  "half_pixel_symmetric",
] as const;
const ROUNDINGS = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"] as const;

/** By sizes or by scales, up or down, along the last one or two axes. */
function resize(random: Random, variant: number): GradientCase {
  const mode = turn(variant, MODES);
  const transformation = turn(Math.floor(variant / MODES.length), TRANSFORMATIONS);
  const way = turn(variant + Math.floor(variant / 15), [
    "scales",
    "sizes",
    "twice",
    "axes",
  ] as const);
  const [h, w] = [between(random, 2, 4), between(random, 2, 4)];
  // The runtime's cubic works on images alone.
  const shape = [between(random, 1, 2), between(random, 1, 2), h, w];
  const attributes: Record<string, Attribute> = {
    mode: string(mode),
    coordinate_transformation_mode: string(transformation),
  };
  if (mode === "nearest") attributes["nearest_mode"] = string(oneOf(random, ROUNDINGS));
  if (mode === "cubic" && variant % 2) attributes["cubic_coeff_a"] = float(-0.5);
  const form = `${mode}, ${transformation}, ${way}`;
  const [tall, wide] = [between(random, 1, 6), between(random, 1, 6)];
  const base = { op: "Resize", form, attributes };
  if (way === "sizes") {
    const sizes = constant(int64([4], [shape[0] ?? 1, shape[1] ?? 1, tall, wide]));
    return { ...base, inputs: [x(shape), omitted, omitted, sizes] };
  }
  if (way === "axes") {
    attributes["axes"] = ints([3, 2]);
    const sizes = constant(int64([2], [wide, tall]));
    return { ...base, inputs: [x(shape), omitted, omitted, sizes] };
  }
  const scales = way === "twice" ? [1, 1, 2, 2] : [1, 1, oneOf(random, [1.5, 2.5, 0.75]), 2];
  return { ...base, inputs: [x(shape), omitted, constant(float32([4], scales))] };
}

const centerCropPad: Generator = (random, variant) => {
  const shape = shapeOf(random, 3);
  const some = variant % 2 === 1;
  const axes = some ? [0, 2] : [0, 1, 2];
  const wanted = axes.map(() => between(random, 1, 6));
  return {
    op: "CenterCropPad",
    form: some ? "some axes" : "all axes",
    inputs: [x(shape), constant(int64([wanted.length], wanted))],
    ...(some && { attributes: { axes: ints([0, -1]) } }),
  };
};

/** Patches with gaps, overlaps, holes and borders, of pictures with one or two axes. */
const col2Im: Generator = (random, variant) => {
  const axes = turn(variant, [2, 1] as const);
  const numbers = (low: number, high: number): number[] =>
    Array.from({ length: axes }, () => between(random, low, high));
  const [kernel, strides] = [numbers(1, 3), numbers(1, 2)];
  // With holes and another number of axes than two, ONNX Runtime 1.30 to 1.32 gives other numbers than the standard.
  const dilations = axes === 2 ? numbers(1, 2) : [1];
  const pads = [...numbers(0, 1), ...numbers(0, 1)];
  const picture = numbers(5, 7);
  const places = picture.map((size, i) => {
    const reach = (dilations[i] ?? 1) * ((kernel[i] ?? 1) - 1) + 1;
    const room = size + (pads[i] ?? 0) + (pads[i + axes] ?? 0) - reach;
    return Math.floor(room / (strides[i] ?? 1)) + 1;
  });
  const product = (sizes: readonly number[]): number => sizes.reduce((a, b) => a * b, 1);
  const shape = [between(random, 1, 2), between(random, 1, 2) * product(kernel), product(places)];
  return {
    op: "Col2Im",
    form: `${axes} axes`,
    attributes: { strides: ints(strides), dilations: ints(dilations), pads: ints(pads) },
    inputs: [x(shape), constant(int64([axes], picture)), constant(int64([axes], kernel))],
  };
};

/** All of this family. */
export const spatial: Generators = {
  CenterCropPad: centerCropPad,
  Col2Im: col2Im,
  Resize: resize,
};
