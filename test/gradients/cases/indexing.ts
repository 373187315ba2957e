// Cases of ops that choose elements by index, or write to them.

import type { Random } from "../../../src/base/random.ts";
import { int, string } from "../../../src/graph/graph.ts";
import { int64, tensor } from "../../../src/graph/tensor.ts";
import {
  between,
  type CaseInput,
  constant,
  distinct,
  fed,
  type Generator,
  type Generators,
  shapeOf,
  turn,
  x,
} from "../case.ts";

/** Indices into an axis, from either end. */
function indices(random: Random, shape: readonly number[], size: number): CaseInput {
  const count = shape.reduce((a, b) => a * b, 1);
  const draw = (): number => random.integer(2 * size) - size;
  return fed(int64(shape, Array.from({ length: count }, draw)));
}

const gather: Generator = (random, variant) => {
  const rank = between(random, 1, 3);
  const shape = shapeOf(random, rank);
  const axis = random.integer(rank);
  const size = shape[axis] ?? 1;
  const attributes = { axis: int(variant % 2 ? axis - rank : axis) };
  const form = turn(variant, [
    "scalar",
    "list",
    "table",
    "known",
    "known list",
    "many rows",
  ] as const);
  if (form === "known") {
    const at = constant(int64([], [random.integer(2 * size) - size]));
    return { op: "Gather", form, inputs: [x(shape), at], attributes };
  }
  if (form === "known list") {
    return { op: "Gather", form, inputs: [x(shape), constant(int64([1], [size - 1]))], attributes };
  }
  if (form === "many rows") {
    const inputs = [
      x(shape.with(axis, 800).map((dim, i) => (i === axis ? dim : 1))),
      indices(random, [2, 2], 800),
    ];
    return { op: "Gather", form, inputs, attributes };
  }
  const wanted = { scalar: [], list: [4], table: [2, 3] }[form];
  return { op: "Gather", form, inputs: [x(shape), indices(random, wanted, size)], attributes };
};

const gatherElements: Generator = (random, variant) => {
  const shape = shapeOf(random, 1 + (variant % 3));
  const axis = random.integer(shape.length);
  const wanted = shape.map((dim, i) =>
    i === axis ? between(random, 1, 5) : between(random, 1, dim),
  );
  return {
    op: "GatherElements",
    form: `rank ${shape.length}`,
    inputs: [x(shape), indices(random, wanted, shape[axis] ?? 1)],
    attributes: { axis: int(variant % 2 ? axis - shape.length : axis) },
  };
};

/** Tuples of indices into the first axes behind `batch` of them. */
function tuples(
  random: Random,
  shape: readonly number[],
  { lead, batch, depth }: { lead: readonly number[]; batch: number; depth: number },
): CaseInput {
  const count = lead.reduce((a, b) => a * b, 1);
  const sizes = shape.slice(batch, batch + depth);
  const values = Array.from({ length: count }, () =>
    sizes.map((size) => random.integer(2 * size) - size),
  );
  return fed(int64([...lead, depth], values.flat()));
}

const gatherNd: Generator = (random, variant) => {
  const shape = shapeOf(random, 3, 4);
  const [a = 1, b = 1] = shape;
  const { form, lead, batch, depth } = turn(variant, [
    { form: "rows", lead: [4], batch: 0, depth: 1 },
    { form: "elements", lead: [5], batch: 0, depth: 3 },
    { form: "table", lead: [2, 3], batch: 0, depth: 2 },
    { form: "batch", lead: [a, 3], batch: 1, depth: 1 },
    { form: "batch of two axes", lead: [a, b, 2], batch: 2, depth: 1 },
    { form: "batch alone", lead: [a], batch: 1, depth: 2 },
  ]);
  return {
    op: "GatherND",
    form,
    inputs: [x(shape), tuples(random, shape, { lead, batch, depth })],
    attributes: { batch_dims: int(batch) },
  };
};

/** Different places along an axis for each of the other positions. */
function places(random: Random, wanted: readonly number[], axis: number, size: number): CaseInput {
  const count = wanted.reduce((a, b) => a * b, 1);
  const along = wanted[axis] ?? 1;
  const inner = wanted.slice(axis + 1).reduce((a, b) => a * b, 1);
  const orders = new Map<string, readonly number[]>();
  const values = Array.from({ length: count }, (_, flat) => {
    const key = `${Math.floor(flat / (inner * along))} ${flat % inner}`;
    const order = orders.get(key) ?? Array.from(random.permutation(size));
    orders.set(key, order);
    return order[Math.floor(flat / inner) % along] ?? 0;
  });
  return fed(int64(wanted, values));
}

const scatterElements: Generator = (random, variant) => {
  const shape = shapeOf(random, 1 + (variant % 3));
  const axis = random.integer(shape.length);
  const size = shape[axis] ?? 1;
  const adds = variant % 2 === 1;
  const wanted = shape.map((dim, i) => between(random, 1, i === axis ? size : dim));
  const at = adds ? indices(random, wanted, size) : places(random, wanted, axis, size);
  return {
    op: "ScatterElements",
    form: adds ? "add" : "write",
    inputs: [x(shape), at, x(wanted)],
    attributes: { axis: int(axis), ...(adds && { reduction: string("add") }) },
  };
};

const scatterNd: Generator = (random, variant) => {
  const shape = shapeOf(random, 3, 4).map((dim) => dim + 1);
  const depth = 1 + (variant % 3);
  const adds = variant % 2 === 1;
  const count = 2;
  // Where it adds, the runtime loses additions of repeated indices; those of one test do not repeat.
  const rows = Array.from({ length: count }, (_, i) =>
    shape.slice(0, depth).map((size, axis) => (axis === 0 ? i : random.integer(size))),
  );
  return {
    op: "ScatterND",
    form: `${adds ? "add" : "write"}, depth ${depth}`,
    inputs: [x(shape), fed(int64([count, depth], rows.flat())), x([count, ...shape.slice(depth)])],
    ...(adds && { attributes: { reduction: string("add") } }),
  };
};

const topK: Generator = (random, variant) => {
  const shape = shapeOf(random, 1 + (variant % 3)).map((dim) => dim + 1);
  const axis = random.integer(shape.length);
  const k = constant(int64([1], [between(random, 1, shape[axis] ?? 1)]));
  const largest = variant % 2;
  const attributes = { axis: int(axis), largest: int(largest) };
  return {
    op: "TopK",
    form: largest ? "largest" : "smallest",
    inputs: [x(shape, distinct()), k],
    outputs: 2,
    reads: [0],
    attributes,
  };
};

const compress: Generator = (random, variant) => {
  const shape = shapeOf(random, 2);
  const flat = variant % 2 === 0;
  const axis = random.integer(2);
  const length = flat ? shape.reduce((a, b) => a * b, 1) : (shape[axis] ?? 1);
  const bits = Uint8Array.from({ length: Math.max(1, length - random.integer(2)) }, () =>
    random.integer(2),
  );
  bits[0] = 1;
  return {
    op: "Compress",
    form: flat ? "flat" : "an axis",
    inputs: [x(shape), fed(tensor("bool", [bits.length], bits))],
    ...(!flat && { attributes: { axis: int(axis) } }),
  };
};

const reverseSequence: Generator = (random, variant) => {
  const [time = 1, batch = 1, width = 1] = shapeOf(random, 3);
  const lengths = Array.from({ length: batch }, () => between(random, 1, time));
  const timeFirst = variant % 2 === 0;
  return {
    op: "ReverseSequence",
    form: timeFirst ? "time first" : "batch first",
    inputs: [
      x(timeFirst ? [time, batch, width] : [batch, time, width]),
      fed(int64([batch], lengths)),
    ],
    attributes: { time_axis: int(timeFirst ? 0 : 1), batch_axis: int(timeFirst ? 1 : 0) },
  };
};

const EQUATIONS: readonly [Equation, ...Equation[]] = [
  { equation: "ij,jk->ik", shapes: ["ij", "jk"] },
  { equation: "bij,bjk->bik", shapes: ["bij", "bjk"] },
  { equation: "bhid,bhjd->bhij", shapes: ["bhid", "bhjd"] },
  { equation: "ij->ji", shapes: ["ij"] },
  { equation: "ij->i", shapes: ["ij"] },
  { equation: "ij->", shapes: ["ij"] },
  { equation: "i,j->ij", shapes: ["i", "j"] },
  { equation: "ij,ij->i", shapes: ["ij", "ij"] },
  { equation: "ii->i", shapes: ["ii"] },
  { equation: "ii", shapes: ["ii"] },
  { equation: "iij->ij", shapes: ["iij"] },
  { equation: "ij,jk,kl->il", shapes: ["ij", "jk", "kl"] },
  { equation: "...ij,...jk->...ik", shapes: ["abij", "abjk"] },
  { equation: "...i->...", shapes: ["abi"] },
  { equation: "i...,i...->...", shapes: ["iab", "iab"] },
  { equation: "ij, jk", shapes: ["ij", "jk"] },
];

interface Equation {
  readonly equation: string;
  readonly shapes: readonly string[];
}

const einsum: Generator = (random, variant) => {
  const { equation, shapes } = turn(variant, EQUATIONS);
  const sizes = new Map<string, number>();
  const sizeOf = (letter: string): number => {
    const size = sizes.get(letter) ?? between(random, 1, 4);
    sizes.set(letter, size);
    return size;
  };
  return {
    op: "Einsum",
    form: equation,
    inputs: shapes.map((letters) => x([...letters].map(sizeOf))),
    attributes: { equation: string(equation) },
  };
};

/** All of this family. */
export const indexing: Generators = {
  Gather: gather,
  GatherElements: gatherElements,
  GatherND: gatherNd,
  ScatterElements: scatterElements,
  ScatterND: scatterNd,
  TopK: topK,
  Compress: compress,
  ReverseSequence: reverseSequence,
  Einsum: einsum,
};
