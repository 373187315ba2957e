// What several layers have in common: sizes along two axes, ranks, and vectors over channels.

import type { ValueName } from "../../graph/graph.ts";
import { formatShape, type Shape } from "../../graph/shape.ts";
import { int64 } from "../../graph/tensor.ts";
import type { Net } from "../net.ts";

/** A size along both axes of an image, or `[height, width]`. */
export type Size = number | readonly [number, number];

/** A size along each of `axes` axes. */
export function sizes(size: number | readonly number[], axes: number): readonly number[] {
  return typeof size === "number" ? Array.from({ length: axes }, () => size) : size;
}

/**
 * A whole size along each of `axes` axes, none below `least`. With `ends`, one for both ends of each axis
 * will do as well.
 */
export function wholeSizes(
  net: Net,
  what: string,
  size: number | readonly number[],
  { axes, least = 1, ends = false }: { axes: number; least?: number; ends?: boolean },
): readonly number[] {
  const given = typeof size === "number" ? sizes(size, axes) : size;
  const counts = ends ? [axes, 2 * axes] : [axes];
  const whole =
    Array.isArray(given) && given.every((one) => Number.isSafeInteger(one) && one >= least);
  if (whole && counts.includes(given.length)) return given;
  return net.fail(
    "nn/option",
    `${what} is ${JSON.stringify(size) ?? String(size)}`,
    `Give a whole number from ${least}, or a list of ${counts.join(" or ")} of them.`,
  );
}

/** The shape of a value that must have one of these ranks; `form` says which, such as `[N,C,H,W]`. */
export function ranked(
  net: Net,
  x: ValueName,
  want: { what: string; form: string; ranks: readonly number[]; fix: string },
): Shape {
  const shape = net.shape(x);
  if (want.ranks.includes(shape.length)) return shape;
  const text = `${want.what} takes ${want.form}, it got ${formatShape(shape)}`;
  return net.fail("nn/rank", text, want.fix);
}

/** A list of integers as the input of a node, such as the target of a Reshape. */
export function integerList(net: Net, values: readonly number[]): ValueName {
  return net.constant(int64([values.length], values), "sizes");
}

/** A vector over channels as a tensor that broadcasts against `[N, C, …]`. */
export function overChannels(net: Net, vector: ValueName, rank: number): ValueName {
  const trailing = Array.from({ length: rank - 2 }, () => 1);
  if (trailing.length === 0) return vector;
  return net.emit("Reshape", [vector, integerList(net, [-1, ...trailing])]);
}

/** Ends the building where a count that must be whole and positive is not. */
export function positive(net: Net, what: string, value: number): void {
  if (Number.isSafeInteger(value) && value > 0) return;
  net.fail("nn/option", `${what} is ${value}`, "Give a whole number above zero.");
}
