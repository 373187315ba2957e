// Cases of reductions and running sums.

import type { Random } from "../../../src/base/random.ts";
import { type Attribute, int, ints } from "../../../src/graph/graph.ts";
import { int64 } from "../../../src/graph/tensor.ts";
import {
  awayFrom,
  between,
  constant,
  type Domain,
  distinct,
  type Generator,
  type Generators,
  type GradientCase,
  normal,
  positive,
  shapeOf,
  turn,
  within,
  x,
} from "../case.ts";

const FORMS = [
  "one axis",
  "negative axis",
  "two axes",
  "all axes",
  "no axes given",
  "nothing",
] as const;

function axesOf(random: Random, form: (typeof FORMS)[number], rank: number): number[] | undefined {
  if (form === "one axis") return [random.integer(rank)];
  if (form === "negative axis") return [-1 - random.integer(rank)];
  if (form === "two axes") return [between(random, 0, rank - 2), -1];
  if (form === "all axes") return Array.from({ length: rank }, (_, i) => i);
  return form === "nothing" ? [] : undefined;
}

/** A reduction whose axes are an input (from operand set `since` on) or an attribute. */
export function reduction(
  op: string,
  since: number,
  domain: () => Domain = () => normal,
): Generator {
  return (random, variant): GradientCase => {
    const form = turn(variant, FORMS);
    const keep = Math.floor(variant / FORMS.length) % 2 === 0;
    const rank = between(random, 2, 4);
    const axes = axesOf(random, form, rank);
    const input = x(shapeOf(random, rank, 4), domain());
    const attributes: Record<string, Attribute> = { keepdims: int(keep ? 1 : 0) };
    // The attribute is of operator sets with axes as an input; before, there was no such thing.
    if (form === "nothing") attributes["noop_with_empty_axes"] = int(1);
    const asInput = axes === undefined ? [] : [constant(int64([axes.length], axes))];
    const label = `${form}${keep ? "" : ", dims dropped"}`;
    const opset = turn(variant, [20, 18] as const);
    if (since <= opset) return { op, form: label, opset, inputs: [input, ...asInput], attributes };
    if (axes !== undefined) attributes["axes"] = ints(axes);
    return { op, form: label, opset, inputs: [input], attributes };
  };
}

function running(op: string, domain: Domain = normal): Generator {
  return (random, variant) => {
    const [exclusive, reverse] = [variant % 2, Math.floor(variant / 2) % 2];
    const rank = between(random, 1, 3);
    const axis = variant % 3 === 0 ? -1 : random.integer(rank);
    return {
      op,
      form: `${exclusive ? "exclusive " : ""}${reverse ? "reverse " : ""}axis ${axis < 0 ? "negative" : "positive"}`,
      inputs: [x(shapeOf(random, rank), domain), constant(int64([], [axis]))],
      attributes: { exclusive: int(exclusive), reverse: int(reverse) },
    };
  };
}

/** All of this family. */
export const reduce: Generators = {
  ReduceSum: reduction("ReduceSum", 13),
  ReduceMean: reduction("ReduceMean", 18),
  ReduceSumSquare: reduction("ReduceSumSquare", 18),
  ReduceL1: reduction("ReduceL1", 18, () => awayFrom(0)),
  ReduceL2: reduction("ReduceL2", 18),
  ReduceLogSum: reduction("ReduceLogSum", 18, () => positive),
  ReduceLogSumExp: reduction("ReduceLogSumExp", 18),
  ReduceProd: reduction("ReduceProd", 18, () => within(-1.5, 1.5)),
  ReduceMax: reduction("ReduceMax", 18, distinct),
  ReduceMin: reduction("ReduceMin", 18, distinct),
  CumSum: running("CumSum"),
};
