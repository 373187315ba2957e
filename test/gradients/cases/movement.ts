// Cases of ops that move, view or join elements.

import type { Random } from "../../../src/base/random.ts";
import { int, ints, string } from "../../../src/graph/graph.ts";
import { float32, int64 } from "../../../src/graph/tensor.ts";
import {
  between,
  type CaseInput,
  constant,
  fed,
  type Generator,
  type Generators,
  oneOf,
  shapeOf,
  turn,
  x,
} from "../case.ts";

/** A list of integers as an initializer. */
function list(values: readonly number[]): CaseInput {
  return constant(int64([values.length], values));
}

/** The same as a graph input, which no rule can read. */
function fedList(values: readonly number[]): CaseInput {
  return fed(int64([values.length], values));
}

const tile: Generator = (random, variant) => {
  const rank = between(random, 1, 4);
  const repeats = Array.from({ length: rank }, () => between(random, 1, 3));
  const given = variant % 3 === 0 ? fedList : list;
  const form = `rank ${rank}${given === list ? "" : ", fed"}`;
  return { op: "Tile", form, inputs: [x(shapeOf(random, rank, 3)), given(repeats)] };
};

const reshape: Generator = (random, variant) => {
  const [a = 1, b = 1, c = 1] = shapeOf(random, 3);
  const { form, target } = turn(variant, [
    { form: "joined", target: [a * b, c] },
    { form: "one dim left open", target: [a, -1] },
    { form: "zero copies", target: [0, 0, -1] },
    { form: "flat", target: [-1] },
    { form: "ones", target: [1, a, 1, b * c] },
  ]);
  return { op: "Reshape", form, inputs: [x([a, b, c]), list(target)] };
};

const flatten: Generator = (random, variant) => {
  const axis = (variant % 7) - 3;
  return {
    op: "Flatten",
    form: `axis ${axis}`,
    inputs: [x(shapeOf(random, 3))],
    attributes: { axis: int(axis) },
  };
};

const squeeze: Generator = (random, variant) => {
  const [a = 1, b = 1] = shapeOf(random, 2).map((dim) => dim + 1);
  const { form, shape, axes } = turn(variant, [
    { form: "one axis", shape: [a, 1, b], axes: [1] },
    { form: "negative axis", shape: [a, b, 1], axes: [-1] },
    { form: "two axes", shape: [1, a, 1, b], axes: [0, 2] },
    { form: "all ones", shape: [1, a, 1], axes: undefined },
  ]);
  return {
    op: "Squeeze",
    form,
    inputs: axes === undefined ? [x(shape)] : [x(shape), list(axes)],
  };
};

const unsqueeze: Generator = (random, variant) => {
  const { form, axes } = turn(variant, [
    { form: "front", axes: [0] },
    { form: "back", axes: [-1] },
    { form: "around", axes: [0, 3] },
    { form: "out of order", axes: [2, 0] },
  ]);
  return { op: "Unsqueeze", form, inputs: [x(shapeOf(random, 2)), list(axes)] };
};

const transpose: Generator = (random, variant) => {
  const rank = 1 + (variant % 4);
  const perm = Array.from(random.permutation(rank));
  const given = variant % 3 !== 0;
  return {
    op: "Transpose",
    form: given ? `rank ${rank}` : "default",
    inputs: [x(shapeOf(random, rank))],
    ...(given && { attributes: { perm: ints(perm) } }),
  };
};

const expand: Generator = (random, variant) => {
  const [a = 1, b = 1, c = 1] = shapeOf(random, 3);
  const { form, from, to } = turn(variant, [
    { form: "ones", from: [a, 1], to: [a, b] },
    { form: "more axes", from: [b], to: [a, 1, b] },
    { form: "both", from: [a, 1, c], to: [2, a, b, c] },
    { form: "target smaller", from: [a, b], to: [1, 1] },
    { form: "scalar", from: [], to: [a, b] },
    { form: "same", from: [a, b], to: [a, b] },
  ]);
  return { op: "Expand", form, inputs: [x(from), list(to)] };
};

const END = 2 ** 31 - 1;

const slice: Generator = (random, variant) => {
  const shape = shapeOf(random, 3).map((dim) => dim + 3);
  const [a = 4, b = 4] = shape;
  const first = random.integer(3);
  const { form, starts, ends, axes, steps } = turn<{
    form: string;
    starts: number[];
    ends: number[];
    axes?: number[];
    steps?: number[];
  }>(variant, [
    { form: "axes left out", starts: [first, 1], ends: [first + 1, END] },
    { form: "negative bounds", starts: [-3], ends: [-1], axes: [random.integer(3)] },
    { form: "negative axis", starts: [1], ends: [END], axes: [-1] },
    { form: "step 2", starts: [first], ends: [END], axes: [0], steps: [2] },
    { form: "steps of two axes", starts: [1, 0], ends: [a, b], axes: [0, 1], steps: [2, 3] },
    { form: "out of order", starts: [1, first], ends: [3, END], axes: [2, 0], steps: [1, 2] },
    { form: "beyond the end", starts: [0], ends: [100], axes: [1] },
    { form: "one element", starts: [b - 1], ends: [b], axes: [1] },
    { form: "backwards", starts: [-1], ends: [-END], axes: [first], steps: [-1] },
    { form: "backwards by 2", starts: [a], ends: [0], axes: [0], steps: [-2] },
    { form: "nothing", starts: [2], ends: [2], axes: [0] },
  ]);
  // Bounds that come with the data are known at run time alone.
  const given = variant % 5 === 4 ? fedList : list;
  const rest = [...(axes ? [given(axes)] : []), ...(steps ? [given(steps)] : [])];
  const label = given === list ? form : `${form}, fed`;
  return { op: "Slice", form: label, inputs: [x(shape), given(starts), given(ends), ...rest] };
};

const concat: Generator = (random, variant) => {
  const rank = between(random, 1, 4);
  const count = 1 + (variant % 4);
  const axis = random.integer(rank);
  const shape = shapeOf(random, rank, 4);
  return {
    op: "Concat",
    form: `${count} operands, axis ${variant % 2 ? "negative" : "positive"}`,
    inputs: Array.from({ length: count }, () => x(shape.with(axis, between(random, 1, 3)))),
    attributes: { axis: int(variant % 2 ? axis - rank : axis) },
  };
};

const split: Generator = (random, variant) => {
  const rank = between(random, 1, 3);
  const axis = random.integer(rank);
  const outputs = 1 + (variant % 3);
  const equal = variant % 2 === 0;
  const sizes = Array.from({ length: outputs }, () => (equal ? 2 : between(random, 1, 4)));
  const size = sizes.reduce((a, b) => a + b, 0);
  const unused = variant % 5 === 4 && outputs > 1;
  const given = !equal || variant % 4 === 0;
  return {
    op: "Split",
    form: `${outputs} ${equal ? "equal" : "uneven"} parts${given ? "" : ", not given"}${unused ? ", one unused" : ""}`,
    inputs: [x(shapeOf(random, rank, 4).with(axis, size)), ...(given ? [list(sizes)] : [])],
    attributes: {
      axis: int(variant % 2 ? axis - rank : axis),
      ...(!given && { num_outputs: int(outputs) }),
    },
    outputs,
    ...(unused && { reads: [random.integer(outputs)] }),
  };
};

function widths(random: Random, rank: number, low: number): number[] {
  return Array.from({ length: 2 * rank }, () => between(random, low, 2));
}

const pad: Generator = (random, variant) => {
  const rank = between(random, 1, 3);
  const shape = shapeOf(random, rank, 3).map((dim) => dim + 2);
  const modes = ["reflect", "edge", "wrap"] as const;
  const form = turn(variant, [
    "added",
    "cut",
    "one axis",
    "with a value",
    "fed",
    ...modes,
  ] as const);
  if (form === "fed") {
    return { op: "Pad", form, inputs: [x(shape), fedList(widths(random, rank, -1))] };
  }
  const mode = modes.find((one) => one === form);
  if (mode !== undefined) {
    // No wider than what there is to mirror.
    const around = Array.from({ length: 2 * rank }, () => random.integer(3));
    const given = variant % 16 < 8 ? list : fedList;
    return {
      op: "Pad",
      form: mode,
      inputs: [x(shape), given(around)],
      attributes: { mode: string(mode) },
    };
  }
  const value = constant(float32([], [1.5]));
  const inputs =
    form === "one axis"
      ? [list([oneOf(random, [1, -1, 2]), 1]), value, list([-1])]
      : [list(widths(random, rank, form === "cut" ? -1 : 0)), ...(form === "added" ? [] : [value])];
  return { op: "Pad", form, inputs: [x(shape), ...inputs] };
};

const trilu: Generator = (random, variant) => {
  const k = between(random, -2, 2);
  const given = variant % 3 !== 0;
  return {
    op: "Trilu",
    form: `${variant % 2 ? "upper" : "lower"}${given ? ", k" : ""}`,
    inputs: [x(shapeOf(random, 2 + (variant % 2))), ...(given ? [constant(int64([], [k]))] : [])],
    attributes: { upper: int(variant % 2) },
  };
};

const depthToSpace: Generator = (random, variant) => {
  const mode = turn(variant, ["DCR", "CRD"] as const);
  const block = between(random, 1, 3);
  const [n, c, h, w] = [between(random, 1, 2), between(random, 1, 2), 2, between(random, 1, 3)];
  return {
    op: "DepthToSpace",
    form: mode,
    inputs: [x([n, c * block * block, h, w])],
    attributes: { blocksize: int(block), mode: string(mode) },
  };
};

const spaceToDepth: Generator = (random, variant) => {
  const block = 1 + (variant % 3);
  const [n, c, h, w] = [between(random, 1, 2), between(random, 1, 3), 2, between(random, 1, 3)];
  return {
    op: "SpaceToDepth",
    form: `block ${block}`,
    inputs: [x([n, c, h * block, w * block])],
    attributes: { blocksize: int(block) },
  };
};

/** All of this family. */
export const movement: Generators = {
  Reshape: reshape,
  Flatten: flatten,
  Squeeze: squeeze,
  Unsqueeze: unsqueeze,
  Transpose: transpose,
  Expand: expand,
  Slice: slice,
  Concat: concat,
  Split: split,
  Pad: pad,
  Tile: tile,
  Trilu: trilu,
  DepthToSpace: depthToSpace,
  SpaceToDepth: spaceToDepth,
};
