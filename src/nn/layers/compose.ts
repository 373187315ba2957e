// Layers made of layers: one after another, and side by side with a merge at the end.

import { repairOf } from "../../analysis/merges.ts";
import { int, type ValueName } from "../../graph/graph.ts";
import { broadcast, type Dim, formatShape, normalizeAxis, type Shape } from "../../graph/shape.ts";
import { type Layer, layer } from "../layer.ts";
import type { Net } from "../net.ts";
import { integerList } from "./shared.ts";

/**
 * Layers one after another. It has no name: its layers are called as if they stood where it stands.
 *
 * @example
 * nn.sequential(nn.conv(16, 3), nn.relu(), nn.globalPool(), nn.dense(10))
 */
export function sequential(...layers: readonly Layer[]): Layer {
  return layer("", (net, x) => layers.reduce((value, next) => net.inside(next, value), x));
}

/** Hands on what it gets: the skip of `nn.add(nn.identity(), branch)`. Keeps the shape. */
export function identity(): Layer {
  return layer("identity", (_net, x) => x);
}

/**
 * The sum of branches that all see the same value; sizes of 1 are spread over larger ones.
 *
 * @throws SkipwayError `input` when shapes do not fit; the diagnostic names both and the repair.
 * @example
 * nn.add(nn.identity(), nn.sequential(nn.conv(16, 3), nn.relu(), nn.conv(16, 3)))
 */
export function add(...branches: readonly Layer[]): Layer {
  return layer("add", (net, x) => {
    const values = branches.map((branch) => net.inside(branch, x));
    return sumOf(net, values);
  });
}

function sumOf(net: Net, values: readonly ValueName[]): ValueName {
  const [first = net.fail("nn/branches", "there is nothing to add", "Give at least one branch.")] =
    values;
  if (values.length === 1) return first;
  let joined = net.shape(first);
  for (const value of values.slice(1)) {
    const shape = broadcast(joined, net.shape(value));
    if (shape === undefined) return mismatch(net, [first, value], [joined, net.shape(value)]);
    joined = shape;
  }
  return net.emit(values.length === 2 ? "Add" : "Sum", values, { name: "merge" });
}

/**
 * What branches make of the same value, joined along an axis.
 *
 * @throws SkipwayError `input` when other axes differ; the diagnostic names both shapes and the repair.
 * @example
 * nn.concat(1, nn.identity(), nn.conv(32, 3)) // channels of both
 */
export function concat(axis: number, ...branches: readonly Layer[]): Layer {
  return layer("concat", (net, x) => {
    const values = branches.map((branch) => net.inside(branch, x));
    if (!Number.isInteger(axis)) {
      net.fail("nn/axis", `the axis is ${String(axis)}`, "Give its number first, 1 for channels.");
    }
    return joinOf(net, axis, values);
  });
}

function joinOf(net: Net, axis: number, values: readonly ValueName[]): ValueName {
  const [first = net.fail("nn/branches", "there is nothing to join", "Give at least one branch.")] =
    values;
  if (values.length === 1) return first;
  const shape = net.shape(first);
  const along = axisOf(net, axis, shape);
  for (const value of values.slice(1)) {
    const other = net.shape(value);
    const fits =
      other.length === shape.length &&
      other.every((dim, i) => i === along || !contradict(dim, shape[i]));
    if (!fits) return mismatch(net, [first, value], [shape, other], along);
  }
  return net.emit("Concat", values, { name: "merge", attributes: { axis: int(axis) } });
}

function contradict(a: Dim, b: Dim | undefined): boolean {
  return typeof a === "number" && typeof b === "number" && a !== b;
}

function mismatch(
  net: Net,
  [first, value]: readonly [ValueName, ValueName],
  [a, b]: readonly [Shape, Shape],
  concatAxis?: number,
): never {
  const text = `one branch makes "${first}" ${formatShape(a)}, another makes "${value}" ${formatShape(b)}`;
  return net.fail("shape/mismatch", text, repairOf(a, b, concatAxis));
}

function axisOf(net: Net, axis: number, shape: Shape): number {
  const found = normalizeAxis(axis, shape.length);
  if (found !== undefined) return found;
  const text = `there is no axis ${axis} in ${formatShape(shape)}`;
  return net.fail("nn/axis", text, `Choose an axis from 0 to ${shape.length - 1}.`);
}

/**
 * Parts of a value along an axis, each through a branch of its own, joined again along the same axis.
 * `parts` is the number of equal parts, or their sizes.
 *
 * @example
 * nn.split(2, 1, nn.identity(), nn.conv(8, 3)) // half of the channels passes by
 */
export function split(
  parts: number | readonly number[],
  axis: number,
  ...branches: readonly Layer[]
): Layer {
  return layer("split", (net, x) => {
    const shape = net.shape(x);
    const along = axisOf(net, axis, shape);
    const size = net.size(x, along);
    const lengths =
      typeof parts === "number" ? Array.from({ length: parts }, () => size / parts) : parts;
    const total = lengths.reduce((a, b) => a + b, 0);
    if (total !== size || lengths.some((one) => !Number.isInteger(one) || one < 1)) {
      const text = `axis ${along} of ${formatShape(shape)} does not split into ${parts} parts`;
      net.fail("nn/split", text, `Give whole sizes that add up to ${size}.`);
    }
    if (lengths.length !== branches.length) {
      const text = `there are ${lengths.length} parts and ${branches.length} branches`;
      net.fail("nn/branches", text, "Give a branch for each part; nn.identity() passes one by.");
    }
    const pieces = net.emitAll("Split", [x, integerList(net, lengths)], {
      outputCount: lengths.length,
      attributes: { axis: int(along) },
    });
    const values = branches.map((branch, i) => net.inside(branch, pieces[i] ?? x));
    return joinOf(net, along, values);
  });
}
