// Reductions, positions of extremes, and running sums.

import { intAttribute } from "../../src/graph/graph.ts";
import {
  type Array64,
  axisOf,
  filled,
  flatten,
  forEachIndex,
  isInteger,
  sizeOf,
  stridesOf,
  wrapped,
} from "./array.ts";
import { type Call, integersOf, type Kernel, type Kernels, operand } from "./kernel.ts";

/** The array with each group of elements along some axes joined to one. */
export function reduceAlong(
  x: Array64,
  axes: readonly number[],
  join: (values: readonly number[]) => number,
  keepDims = true,
): Array64 {
  const reduced = new Set(axes.map((axis) => axisOf(axis, x.shape.length)));
  const outer = x.shape.map((dim, axis) => (reduced.has(axis) ? 1 : dim));
  const inner = x.shape.map((dim, axis) => (reduced.has(axis) ? dim : 1));
  const strides = stridesOf(x.shape);
  const values = new Float64Array(sizeOf(outer));
  forEachIndex(outer, (at, flat) => {
    const start = flatten(at, strides);
    const group: number[] = [];
    forEachIndex(inner, (index) => {
      group.push(x.values[start + flatten(index, strides)] ?? Number.NaN);
    });
    values[flat] = join(group);
  });
  const shape = keepDims ? outer : outer.filter((_, axis) => !reduced.has(axis));
  return { dtype: x.dtype, shape, values };
}

/** Sum of numbers. */
export function total(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}

/** log Σ eˣ, shifted by the greatest. */
export function logSumExp(values: readonly number[]): number {
  const top = Math.max(...values);
  if (!Number.isFinite(top)) return top;
  return top + Math.log(total(values.map((v) => Math.exp(v - top))));
}

function reduction(join: (values: readonly number[]) => number): Kernel {
  return (call) => {
    const x = operand(call, 0);
    const given = integersOf(call, 1, "axes") ?? [];
    const nothing = given.length === 0 && intAttribute(call.node, "noop_with_empty_axes", 0) !== 0;
    if (nothing) return [{ ...x, values: x.values.map((v) => join([v])) }];
    const axes = given.length === 0 ? x.shape.map((_, axis) => axis) : given;
    const keep = intAttribute(call.node, "keepdims", 1) !== 0;
    const found = reduceAlong(x, axes, join, keep);
    if (x.dtype === "bool") return [{ ...found, values: found.values.map((v) => Number(v > 0)) }];
    if (!isInteger(x.dtype)) return [found];
    return [{ ...found, values: found.values.map((v) => wrapped(x.dtype, v)) }];
  };
}

function position(better: (a: number, b: number) => boolean): Kernel {
  return (call) => {
    const x = operand(call, 0);
    const last = intAttribute(call.node, "select_last_index", 0) !== 0;
    const keep = intAttribute(call.node, "keepdims", 1) !== 0;
    const best = (values: readonly number[]): number =>
      values.reduce((held, value, i) => {
        const top = values[held] ?? 0;
        return better(value, top) || (last && value === top) ? i : held;
      }, 0);
    const axis = intAttribute(call.node, "axis", 0);
    return [{ ...reduceAlong(x, [axis], best, keep), dtype: "int64" }];
  };
}

/** A running sum or product along one axis. */
function running(start: number, join: (a: number, b: number) => number): Kernel {
  return (call) => {
    const x = operand(call, 0);
    const axis = axisOf(operand(call, 1).values[0] ?? 0, x.shape.length);
    const exclusive = intAttribute(call.node, "exclusive", 0) !== 0;
    const reverse = intAttribute(call.node, "reverse", 0) !== 0;
    const strides = stridesOf(x.shape);
    const size = x.shape[axis] ?? 0;
    const values = new Float64Array(x.values.length);
    forEachIndex(x.shape.with(axis, Math.min(size, 1)), (index) => {
      let held = start;
      for (let i = 0; i < size; i++) {
        const at = flatten(index.with(axis, reverse ? size - 1 - i : i), strides);
        const next = join(held, x.values[at] ?? Number.NaN);
        values[at] = exclusive ? held : next;
        held = next;
      }
    });
    return [{ ...x, values }];
  };
}

/** The greatest or smallest values along an axis, and where they were. */
function topK(call: Call): Array64[] {
  const x = operand(call, 0);
  const axis = axisOf(intAttribute(call.node, "axis", -1), x.shape.length);
  const k = call.inputs[1]?.values[0] ?? intAttribute(call.node, "k", 1);
  const sign = intAttribute(call.node, "largest", 1) !== 0 ? -1 : 1;
  const shape = x.shape.with(axis, k);
  const strides = stridesOf(x.shape);
  const out = stridesOf(shape);
  const values = new Float64Array(sizeOf(shape));
  const places = new Float64Array(sizeOf(shape));
  forEachIndex(x.shape.with(axis, 1), (index) => {
    const line = Array.from({ length: x.shape[axis] ?? 0 }, (_, i) => ({
      i,
      value: x.values[flatten(index.with(axis, i), strides)] ?? Number.NaN,
    }));
    line.sort((a, b) => sign * (a.value - b.value) || a.i - b.i);
    for (const [rank, { i, value }] of line.slice(0, k).entries()) {
      const at = flatten(index.with(axis, rank), out);
      values[at] = value;
      places[at] = i;
    }
  });
  return [
    { dtype: x.dtype, shape, values },
    { dtype: "int64", shape, values: places },
  ];
}

const product = (values: readonly number[]): number => values.reduce((a, b) => a * b, 1);

/** All ops of this family. */
export const reduce: Kernels = {
  ReduceSum: reduction(total),
  ReduceMean: reduction((values) => total(values) / values.length),
  ReduceSumSquare: reduction((values) => total(values.map((v) => v * v))),
  ReduceL1: reduction((values) => total(values.map(Math.abs))),
  ReduceL2: reduction((values) => Math.sqrt(total(values.map((v) => v * v)))),
  ReduceLogSum: reduction((values) => Math.log(total(values))),
  ReduceLogSumExp: reduction(logSumExp),
  ReduceMax: reduction((values) => Math.max(...values)),
  ReduceMin: reduction((values) => Math.min(...values)),
  ReduceProd: reduction(product),
  ArgMax: position((a, b) => a > b),
  ArgMin: position((a, b) => a < b),
  CumSum: running(0, (a, b) => a + b),
  CumProd: running(1, (a, b) => a * b),
  TopK: topK,
  Hardmax: (call) => {
    const x = operand(call, 0);
    const axis = axisOf(intAttribute(call.node, "axis", call.opset < 13 ? 1 : -1), x.shape.length);
    const first = reduceAlong(x, [axis], (values) => values.indexOf(Math.max(...values)));
    const strides = stridesOf(first.shape);
    const values = filled(x.dtype, x.shape, () => 0).values;
    forEachIndex(x.shape, (index, flat) => {
      const best = first.values[flatten(index.with(axis, 0), strides)];
      values[flat] = Number(index[axis] === best);
    });
    return [{ ...x, values }];
  },
};
