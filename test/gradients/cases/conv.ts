// Cases of convolutions: ranks, strides, dilations, uneven pads, bias, auto_pad.

import type { Random } from "../../../src/base/random.ts";
import { type Attribute, int, ints, string } from "../../../src/graph/graph.ts";
import { between, type Generators, type GradientCase, omitted, turn, x } from "../case.ts";

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

function conv(random: Random, variant: number): GradientCase {
  const form = turn(variant, FORMS);
  const rank = turn(Math.floor(variant / FORMS.length), [2, 1, 2, 3] as const);
  const { kernel, attributes } = windowOf(random, form, rank);
  const spatial = Array.from({ length: rank }, () => between(random, 5, rank === 3 ? 5 : 7));
  const [n, channels, outputs] = [
    between(random, 1, 2),
    between(random, 1, 3),
    between(random, 1, 3),
  ];
  return {
    op: "Conv",
    form: `${rank}-D ${form}`,
    inputs: [
      x([n, channels, ...spatial]),
      x([outputs, channels, ...kernel]),
      variant % 2 ? x([outputs]) : omitted,
    ],
    attributes: { ...attributes, ...(variant % 3 === 0 && { group: int(1) }) },
  };
}

/** All of this family. */
export const convolutions: Generators = { Conv: conv };
