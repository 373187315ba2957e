// Cases of pooling: ranks, strides, dilations, pads on either side, ceil_mode, auto_pad.

import type { Random } from "../../../src/base/random.ts";
import { type Attribute, int, ints, string } from "../../../src/graph/graph.ts";
import {
  awayFrom,
  between,
  type Domain,
  distinct,
  type Generator,
  type Generators,
  normal,
  shapeOf,
  turn,
  x,
} from "../case.ts";

const FORMS = [
  "plain",
  "apart",
  "overlapping",
  "padded",
  "uneven",
  "ceil",
  "dilations",
  "auto_pad",
] as const;

function draw(random: Random, count: number, low: number, high: number): number[] {
  return Array.from({ length: count }, () => between(random, low, high));
}

/** The window of a form; pads are less wide than the kernel, as the runtime demands. */
function windowOf(
  random: Random,
  form: (typeof FORMS)[number],
  rank: number,
): Record<string, Attribute> {
  const kernel = draw(random, rank, 2, 3);
  const attributes: Record<string, Attribute> = { kernel_shape: ints(kernel) };
  if (form === "apart") attributes["strides"] = ints(kernel);
  if (form === "overlapping" || form === "ceil")
    attributes["strides"] = ints(kernel.map((k) => k - 1));
  if (form === "uneven") {
    attributes["strides"] = ints(draw(random, rank, 1, 3));
    attributes["pads"] = ints(draw(random, 2 * rank, 0, 1));
  }
  if (form === "padded") attributes["pads"] = ints(draw(random, 2 * rank, 1, 1));
  if (form === "ceil") attributes["ceil_mode"] = int(1);
  if (form === "dilations") attributes["dilations"] = ints(draw(random, rank, 1, 2));
  if (form === "auto_pad") {
    attributes["auto_pad"] = string(turn(random.integer(3), ["SAME_UPPER", "SAME_LOWER", "VALID"]));
    attributes["strides"] = ints(draw(random, rank, 1, 2));
  }
  return attributes;
}

function pooling(
  op: string,
  domain: () => Domain,
  more: (variant: number) => Readonly<Record<string, Attribute>> = () => ({}),
): Generator {
  return (random, variant) => {
    const form = turn(variant, FORMS);
    const rank = turn(Math.floor(variant / FORMS.length), [2, 1, 2, 3] as const);
    const spatial = draw(random, rank, 5, rank === 3 ? 5 : 7);
    const extra = more(Math.floor(variant / FORMS.length));
    const names = Object.keys(extra);
    return {
      op,
      form: `${rank}-D ${form}${names.length > 0 ? `, ${names.join(", ")}` : ""}`,
      inputs: [x([between(random, 1, 2), between(random, 1, 2), ...spatial], domain())],
      attributes: { ...windowOf(random, form, rank), ...extra },
    };
  };
}

/** Over all pixels of a channel. */
function global(op: string, domain: () => Domain, p?: (variant: number) => number): Generator {
  return (random, variant) => {
    const rank = 1 + (variant % 3);
    const shape = [between(random, 1, 3), between(random, 1, 3), ...shapeOf(random, rank, 4)];
    const power = p?.(variant);
    // The runtime has the powers of operator sets before 22 alone.
    const opset = power === undefined ? {} : { opset: between(random, 18, 21) };
    return {
      op,
      form: `${rank}-D${power === undefined ? "" : `, p ${power}`}`,
      inputs: [x(shape, domain())],
      ...(power !== undefined && { attributes: { p: int(power) } }),
      ...opset,
    };
  };
}

/** All of this family. */
export const pool: Generators = {
  MaxPool: pooling("MaxPool", distinct),
  AveragePool: pooling(
    "AveragePool",
    () => normal,
    (variant): Record<string, Attribute> => (variant % 2 ? { count_include_pad: int(1) } : {}),
  ),
  LpPool: pooling(
    "LpPool",
    () => awayFrom(0),
    (variant): Record<string, Attribute> => (variant % 2 ? { p: int(turn(variant, [3, 1])) } : {}),
  ),
  GlobalAveragePool: global("GlobalAveragePool", () => normal),
  GlobalMaxPool: global("GlobalMaxPool", distinct),
  GlobalLpPool: global(
    "GlobalLpPool",
    () => awayFrom(0),
    (variant) => 1 + (variant % 3),
  ),
};
