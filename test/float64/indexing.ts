// Ops that choose elements by indices, or write to them.

import { intAttribute, stringAttribute } from "../../src/graph/graph.ts";
import {
  type Array64,
  array,
  axisOf,
  filled,
  flatten,
  forEachIndex,
  sizeOf,
  stridesOf,
} from "./array.ts";
import { type Call, type Kernel, type Kernels, operand } from "./kernel.ts";

function place(index: number, size: number): number {
  const at = index < 0 ? index + size : index;
  if (at < 0 || at >= size) throw new Error(`index ${index} of ${size}`);
  return at;
}

function gather(call: Call): Array64[] {
  const [x, indices] = [operand(call, 0), operand(call, 1)];
  const axis = axisOf(intAttribute(call.node, "axis", 0), x.shape.length);
  const size = x.shape[axis] ?? 0;
  const shape = [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)];
  const strides = stridesOf(x.shape);
  const inner = stridesOf(indices.shape);
  const values = new Float64Array(sizeOf(shape));
  forEachIndex(shape, (index, flat) => {
    const chosen = indices.values[flatten(index.slice(axis, axis + inner.length), inner)] ?? 0;
    const from = [
      ...index.slice(0, axis),
      place(chosen, size),
      ...index.slice(axis + inner.length),
    ];
    values[flat] = x.values[flatten(from, strides)] ?? Number.NaN;
  });
  return [{ dtype: x.dtype, shape, values }];
}

function gatherElements(call: Call): Array64[] {
  const [x, indices] = [operand(call, 0), operand(call, 1)];
  const axis = axisOf(intAttribute(call.node, "axis", 0), x.shape.length);
  const strides = stridesOf(x.shape);
  const values = new Float64Array(indices.values.length);
  forEachIndex(indices.shape, (index, flat) => {
    const at = place(indices.values[flat] ?? 0, x.shape[axis] ?? 0);
    values[flat] = x.values[flatten(index.with(axis, at), strides)] ?? Number.NaN;
  });
  return [{ dtype: x.dtype, shape: indices.shape, values }];
}

/** Visits each tuple of a list of indices: the flat place in x that it names, and which tuple it is. */
function forEachTuple(
  x: Array64,
  indices: Array64,
  batchDims: number,
  visit: (start: number, tuple: number) => void,
): void {
  const width = indices.shape.at(-1) ?? 1;
  const outer = indices.shape.slice(0, -1);
  const strides = stridesOf(x.shape);
  forEachIndex(outer, (index, tuple) => {
    const named = Array.from({ length: width }, (_, i) =>
      place(indices.values[tuple * width + i] ?? 0, x.shape[batchDims + i] ?? 0),
    );
    visit(
      flatten([...index.slice(0, batchDims), ...named], strides.slice(0, batchDims + width)),
      tuple,
    );
  });
}

function gatherNd(call: Call): Array64[] {
  const [x, indices] = [operand(call, 0), operand(call, 1)];
  const batch = intAttribute(call.node, "batch_dims", 0);
  const rest = x.shape.slice(batch + (indices.shape.at(-1) ?? 1));
  const block = sizeOf(rest);
  const shape = [...indices.shape.slice(0, -1), ...rest];
  const values = new Float64Array(sizeOf(shape));
  forEachTuple(x, indices, batch, (start, tuple) => {
    values.set(x.values.subarray(start, start + block), tuple * block);
  });
  return [{ dtype: x.dtype, shape, values }];
}

const JOIN: Readonly<Record<string, (old: number, next: number) => number>> = {
  none: (_old, next) => next,
  add: (old, next) => old + next,
  mul: (old, next) => old * next,
  max: Math.max,
  min: Math.min,
};

function joinOf(call: Call): (old: number, next: number) => number {
  const name = stringAttribute(call.node, "reduction", "none");
  const join = JOIN[name];
  if (join === undefined) throw new Error(`no reduction ${name}`);
  return join;
}

function scatterElements(call: Call): Array64[] {
  const [x, indices, updates] = [operand(call, 0), operand(call, 1), operand(call, 2)];
  const axis = axisOf(intAttribute(call.node, "axis", 0), x.shape.length);
  const join = joinOf(call);
  const strides = stridesOf(x.shape);
  const values = Float64Array.from(x.values);
  forEachIndex(indices.shape, (index, flat) => {
    const at = place(indices.values[flat] ?? 0, x.shape[axis] ?? 0);
    const to = flatten(index.with(axis, at), strides);
    values[to] = join(values[to] ?? 0, updates.values[flat] ?? Number.NaN);
  });
  return [{ ...x, values }];
}

function scatterNd(call: Call): Array64[] {
  const [x, indices, updates] = [operand(call, 0), operand(call, 1), operand(call, 2)];
  const join = joinOf(call);
  const block = sizeOf(x.shape.slice(indices.shape.at(-1) ?? 1));
  const values = Float64Array.from(x.values);
  forEachTuple(x, indices, 0, (start, tuple) => {
    for (let i = 0; i < block; i++) {
      values[start + i] = join(
        values[start + i] ?? 0,
        updates.values[tuple * block + i] ?? Number.NaN,
      );
    }
  });
  return [{ ...x, values }];
}

/** Out-of-range indices give a line of off values. */
function oneHot(call: Call): Array64[] {
  const [indices, range] = [operand(call, 0), operand(call, 2)];
  const depth = operand(call, 1).values[0] ?? 0;
  const [off = 0, on = 1] = range.values;
  const rank = indices.shape.length + 1;
  const axis = axisOf(intAttribute(call.node, "axis", -1), rank);
  const shape = indices.shape.toSpliced(axis, 0, depth);
  const strides = stridesOf(indices.shape);
  const values = new Float64Array(sizeOf(shape));
  forEachIndex(shape, (index, flat) => {
    const chosen = indices.values[flatten(index.toSpliced(axis, 1), strides)] ?? 0;
    values[flat] = (chosen < 0 ? chosen + depth : chosen) === index[axis] ? on : off;
  });
  return [{ dtype: range.dtype, shape, values }];
}

function nonZero(call: Call): Array64[] {
  const x = operand(call, 0);
  const found: number[][] = [];
  forEachIndex(x.shape, (index, flat) => {
    if (x.values[flat] !== 0) found.push([...index]);
  });
  const shape = [x.shape.length, found.length];
  return [
    filled("int64", shape, (i) => found[i % found.length]?.[Math.floor(i / found.length)] ?? 0),
  ];
}

const compress: Kernel = (call) => {
  const [x, condition] = [operand(call, 0), operand(call, 1)];
  const kept = Array.from(condition.values).flatMap((c, i) => (c !== 0 ? [i] : []));
  const axis = intAttribute(call.node, "axis");
  if (axis === undefined) {
    return [
      array(
        x.dtype,
        [kept.length],
        kept.map((i) => x.values[i] ?? Number.NaN),
      ),
    ];
  }
  const at = axisOf(axis, x.shape.length);
  const shape = x.shape.with(at, kept.length);
  const strides = stridesOf(x.shape);
  const values = new Float64Array(sizeOf(shape));
  forEachIndex(shape, (index, flat) => {
    const from = index.with(at, kept[index[at] ?? 0] ?? 0);
    values[flat] = x.values[flatten(from, strides)] ?? Number.NaN;
  });
  return [{ dtype: x.dtype, shape, values }];
};

/** The first part of each sequence turned around. */
function reverseSequence(call: Call): Array64[] {
  const [x, lengths] = [operand(call, 0), operand(call, 1)];
  const time = intAttribute(call.node, "time_axis", 0);
  const batch = intAttribute(call.node, "batch_axis", 1);
  const strides = stridesOf(x.shape);
  const values = new Float64Array(x.values.length);
  forEachIndex(x.shape, (index, flat) => {
    const length = lengths.values[index[batch] ?? 0] ?? 0;
    const t = index[time] ?? 0;
    const from = index.with(time, t < length ? length - 1 - t : t);
    values[flat] = x.values[flatten(from, strides)] ?? Number.NaN;
  });
  return [{ ...x, values }];
}

/** All ops of this family. */
export const indexing: Kernels = {
  Gather: gather,
  GatherElements: gatherElements,
  GatherND: gatherNd,
  Scatter: scatterElements,
  ScatterElements: scatterElements,
  ScatterND: scatterNd,
  OneHot: oneHot,
  NonZero: nonZero,
  Compress: compress,
  ReverseSequence: reverseSequence,
};
