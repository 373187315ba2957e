// Pooling, by its definition.

import { intAttribute, intsAttribute } from "../../src/graph/graph.ts";
import { type Array64, flatten, forEachIndex, sizeOf, stridesOf } from "./array.ts";
import { type Call, type Kernel, type Kernels, operand } from "./kernel.ts";
import { reduceAlong, total } from "./reduce.ts";
import { inside, tapPlace, type Window, windowOf } from "./window.ts";

function windowOfPool(call: Call, spatial: readonly number[]): Window {
  return windowOf(call.node, intsAttribute(call.node, "kernel_shape") ?? [], spatial);
}

/** Visits each output of a pooling: its flat place, and the flat places of the input that it covers. */
function forEachWindow(
  x: Array64,
  window: Window,
  visit: (flat: number, covered: readonly number[], at: readonly number[]) => void,
): readonly number[] {
  const [batch = 0, channels = 0, ...spatial] = x.shape;
  const shape = [batch, channels, ...window.output];
  const space = stridesOf(x.shape).slice(2);
  const plane = sizeOf(spatial);
  forEachIndex(shape, (index, flat) => {
    const [n = 0, c = 0, ...at] = index;
    const covered: number[] = [];
    forEachIndex(window.kernel, (tap) => {
      const place = tapPlace(window, at, tap);
      if (inside(place, spatial)) covered.push((n * channels + c) * plane + flatten(place, space));
    });
    visit(flat, covered, at);
  });
  return shape;
}

function maxPool(call: Call): Array64[] {
  const x = operand(call, 0);
  const spatial = x.shape.slice(2);
  const window = windowOfPool(call, spatial);
  const columns = intAttribute(call.node, "storage_order", 0) !== 0;
  const found: number[] = [];
  const shape = forEachWindow(x, window, (_flat, covered) => {
    found.push(
      covered.reduce(
        (best, at) => ((x.values[at] ?? 0) > (x.values[best] ?? 0) ? at : best),
        covered[0] ?? 0,
      ),
    );
  });
  const indices = columns ? found.map((flat) => columnMajor(flat, x.shape)) : found;
  const values = Float64Array.from(found, (at) => x.values[at] ?? Number.NaN);
  return [
    { dtype: x.dtype, shape, values },
    { dtype: "int64", shape, values: Float64Array.from(indices) },
  ];
}

/** The flat place with the spatial axes counted first axis fastest (storage_order 1). */
function columnMajor(flat: number, shape: readonly number[]): number {
  const spatial = shape.slice(2);
  const plane = sizeOf(spatial);
  const strides = stridesOf(spatial);
  let rest = flat % plane;
  let place = 0;
  let step = 1;
  const index = strides.map((stride) => {
    const at = Math.floor(rest / stride);
    rest %= stride;
    return at;
  });
  for (const [axis, at] of index.entries()) {
    place += at * step;
    step *= spatial[axis] ?? 1;
  }
  return flat - (flat % plane) + place;
}

/** How many taps of a window lie in the input or its declared padding, but not beyond it (ceil_mode). */
function padded(window: Window, at: readonly number[], spatial: readonly number[]): number {
  let count = 0;
  forEachIndex(window.kernel, (tap) => {
    const place = tapPlace(window, at, tap);
    const within = place.every((p, axis) => p < (spatial[axis] ?? 0) + (window.after[axis] ?? 0));
    if (within) count++;
  });
  return count;
}

function averagePool(call: Call): Array64[] {
  const x = operand(call, 0);
  const spatial = x.shape.slice(2);
  const window = windowOfPool(call, spatial);
  const includePad = intAttribute(call.node, "count_include_pad", 0) !== 0;
  const means: number[] = [];
  const shape = forEachWindow(x, window, (_flat, covered, at) => {
    const count = includePad ? padded(window, at, spatial) : covered.length;
    means.push(total(covered.map((i) => x.values[i] ?? Number.NaN)) / count);
  });
  return [{ dtype: x.dtype, shape, values: Float64Array.from(means) }];
}

function lpPool(call: Call): Array64[] {
  const x = operand(call, 0);
  const p = intAttribute(call.node, "p", 2);
  const found: number[] = [];
  const shape = forEachWindow(x, windowOfPool(call, x.shape.slice(2)), (_flat, covered) => {
    found.push(total(covered.map((i) => Math.abs(x.values[i] ?? Number.NaN) ** p)) ** (1 / p));
  });
  return [{ dtype: x.dtype, shape, values: Float64Array.from(found) }];
}

function over(join: (values: readonly number[], call: Call) => number): Kernel {
  return (call) => {
    const x = operand(call, 0);
    const axes = x.shape.map((_, axis) => axis).slice(2);
    return [reduceAlong(x, axes, (values) => join(values, call))];
  };
}

/** All ops of this family. */
export const pool: Kernels = {
  MaxPool: maxPool,
  AveragePool: averagePool,
  LpPool: lpPool,
  GlobalAveragePool: over((values) => total(values) / values.length),
  GlobalMaxPool: over((values) => Math.max(...values)),
  GlobalLpPool: over((values, call) => {
    const p = intAttribute(call.node, "p", 2);
    return total(values.map((v) => Math.abs(v) ** p)) ** (1 / p);
  }),
};
