// Cases of convolutions: ranks, strides, dilations, uneven pads, bias, auto_pad.

import type { Random } from "../../../src/base/random.ts";
import { type Attribute, int, ints, string } from "../../../src/graph/graph.ts";
import { between, type Generators, type GradientCase, omitted, turn, weight, x } from "../case.ts";

const FORMS = ["plain", "1x1", "padded", "strides", "dilations", "uneven", "auto_pad"] as const;

/** The attributes of a form over some spatial axes. */
function windowOf(
  random: Random,
  form: (typeof FORMS)[number],
  rank: number,
): { readonly kernel: number[]; readonly attributes: Record<string, Attribute> } {
  const draw = (low: number, high: number, length = rank): number[] =>
    Array.from({ length }, () => between(random, low, high));
  const kernel = form === "1x1" ? draw(1, 1) : draw(1, 3);
  const attributes: Record<string, Attribute> = {};
  if (form === "padded") attributes["pads"] = ints([...draw(1, 1), ...draw(1, 1)]);
  if (form === "strides" || form === "uneven") attributes["strides"] = ints(draw(1, 3));
  if (form === "dilations" || form === "uneven") attributes["dilations"] = ints(draw(1, 2));
  if (form === "uneven") attributes["pads"] = ints(draw(0, 2, 2 * rank));
  if (form === "auto_pad") {
    const kinds = ["SAME_UPPER", "SAME_LOWER", "VALID"] as const;
    attributes["auto_pad"] = string(turn(random.integer(3), kinds));
    attributes["strides"] = ints(draw(1, 2));
  }
  return { kernel, attributes };
}

/** Channels in groups: none, a few, or one for each channel with one or two outputs of its own. */
function groupsOf(
  random: Random,
  variant: number,
): {
  readonly form: string;
  readonly group: number;
  readonly inner: number;
  readonly outer: number;
} {
  const kind = turn(Math.floor(variant / 2), ["", "", ", groups", ", depthwise"] as const);
  if (kind === ", groups") {
    return { form: kind, group: 2, inner: between(random, 1, 2), outer: between(random, 1, 2) };
  }
  if (kind === ", depthwise") {
    return { form: kind, group: between(random, 2, 3), inner: 1, outer: between(random, 1, 2) };
  }
  return { form: kind, group: 1, inner: between(random, 1, 3), outer: between(random, 1, 3) };
}

function sizes(random: Random, rank: number, low: number, high: number): number[] {
  return Array.from({ length: rank }, () => between(random, low, high));
}

function conv(random: Random, variant: number): GradientCase {
  const form = turn(variant, FORMS);
  const rank = turn(Math.floor(variant / FORMS.length), [2, 1, 2, 3] as const);
  const { kernel, attributes } = windowOf(random, form, rank);
  const spatial = sizes(random, rank, 5, rank === 3 ? 5 : 7);
  const { form: grouped, group, inner, outer } = groupsOf(random, variant);
  return {
    op: "Conv",
    form: `${rank}-D ${form}${grouped}`,
    inputs: [
      x([between(random, 1, 2), group * inner, ...spatial]),
      weight([group * outer, inner, ...kernel]),
      variant % 2 ? weight([group * outer]) : omitted,
    ],
    attributes: { ...attributes, ...(group > 1 && { group: int(group) }) },
  };
}

const TRANSPOSED = [
  "plain",
  "1x1",
  "strides",
  "padded",
  "output padding",
  "dilations",
  "uneven",
] as const;

function convTranspose(random: Random, variant: number): GradientCase {
  const form = turn(variant, TRANSPOSED);
  const rank = turn(Math.floor(variant / TRANSPOSED.length), [2, 1, 2, 3] as const);
  const kernel = form === "1x1" ? sizes(random, rank, 1, 1) : sizes(random, rank, 2, 3);
  const attributes: Record<string, Attribute> = {};
  const strides = sizes(random, rank, 2, 3);
  if (form === "strides" || form === "output padding" || form === "uneven") {
    attributes["strides"] = ints(strides);
  }
  if (form === "padded") attributes["pads"] = ints(kernel.flatMap(() => [1, 1]));
  if (form === "uneven") attributes["pads"] = ints(sizes(random, 2 * rank, 0, 1));
  if (form === "output padding") attributes["output_padding"] = ints(strides.map((s) => s - 1));
  if (form === "dilations") attributes["dilations"] = ints(sizes(random, rank, 1, 2));
  const spatial = sizes(random, rank, 2, rank === 3 ? 3 : 4);
  const { form: grouped, group, inner, outer } = groupsOf(random, variant);
  return {
    op: "ConvTranspose",
    form: `${rank}-D ${form}${grouped}`,
    inputs: [
      x([between(random, 1, 2), group * inner, ...spatial]),
      weight([group * inner, outer, ...kernel]),
      variant % 2 ? weight([group * outer]) : omitted,
    ],
    attributes: { ...attributes, ...(group > 1 && { group: int(group) }) },
  };
}

/** All of this family. */
export const convolutions: Generators = { Conv: conv, ConvTranspose: convTranspose };
