// GroupNorm as exporters write it: an instance norm of reshaped groups.

import { limits } from "../../base/limits.ts";
import { float, int, intAttribute, type Node, type ValueName } from "../../graph/graph.ts";
import { elementCount } from "../../graph/shape.ts";
import { numbersOf } from "../../graph/tensor.ts";
import { type Affine, perChannel } from "./parameter.ts";
import type { Idiom, Match, View } from "./view.ts";

/**
 * GroupNorm (Wu and He 2018): channels in groups by a Reshape, normalized without gain, reshaped back, with
 * gain and offset for each channel.
 */
export const groupNorm: Idiom = {
  name: "GroupNorm",
  roots: ["Add", "Mul", "Reshape"],
  *match(view, root): Generator<Match> {
    const [output = ""] = root.outputs;
    if (root.op === "Add") {
      for (const [scaled, offset] of view.operands(root)) {
        const product = view.constant(offset) && view.made(scaled, "Mul");
        if (product === undefined) continue;
        for (const [value, gain] of view.operands(product)) {
          yield* groupMatch(view, value, { gain, offset }, [product]);
        }
      }
    } else if (root.op === "Mul") {
      for (const [value, gain] of view.operands(root)) yield* groupMatch(view, value, { gain }, []);
    } else {
      yield* groupMatch(view, output, {}, []);
    }
  },
};

function* groupMatch(
  view: View,
  name: ValueName,
  { gain, offset }: Affine,
  around: readonly Node[],
): Generator<Match> {
  const back = view.made(name, "Reshape");
  const norm =
    back && view.made(back.inputs[0] ?? "", "InstanceNormalization", "LayerNormalization");
  const split = norm && view.made(norm.inputs[0] ?? "", "Reshape");
  if (back === undefined || norm === undefined || split === undefined) return;
  const [x = ""] = split.inputs;
  const [shape, grouped] = [view.shape(x), view.shape(split.outputs[0] ?? "")];
  const [groups, channels] = [grouped?.[1], shape?.[1]];
  if (shape === undefined || grouped === undefined || grouped[0] !== shape[0]) return;
  if (typeof groups !== "number" || typeof channels !== "number" || channels % groups !== 0) return;
  if (!isPlain(view, norm, grouped.length) || !givesBack(view, back, split)) return;
  const rank = shape.length;
  const inputs = [
    x,
    perChannel(view, gain, rank, { channels, fill: 1, like: x }),
    perChannel(view, offset, rank, { channels, fill: 0, like: x }),
  ].filter((input) => input !== undefined);
  const attributes = {
    num_groups: int(groups),
    epsilon: norm.attributes.get("epsilon") ?? float(1e-5),
  };
  const shapes = [split, back].flatMap((node) => shapeNodes(view, node));
  const nodes = [...around, back, norm, split];
  if (inputs.length !== 3) return;
  yield { op: "GroupNormalization", inputs, attributes, nodes: [...nodes, ...shapes] };
  yield { op: "GroupNormalization", inputs, attributes, nodes };
}

/** The nodes that compute the target of a Reshape, where they are one Shape. */
function shapeNodes(view: View, reshape: Node): Node[] {
  const shape = view.made(reshape.inputs[1] ?? "", "Shape");
  return shape === undefined ? [] : [shape];
}

/** Each group for itself, no gain and no offset. */
function isPlain(view: View, norm: Node, rank: number): boolean {
  const [, gain = "", offset = ""] = norm.inputs;
  if (norm.op === "LayerNormalization" && intAttribute(norm, "axis", -1) !== 2 - rank) return false;
  return isFilled(view, gain, 1) && (offset === "" || isFilled(view, offset, 0));
}

function isFilled(view: View, name: ValueName, value: number): boolean {
  const ref = view.constant(name);
  const count = ref && elementCount(ref.shape);
  if (ref === undefined || count === undefined || count > limits.foldedConstantMax) return false;
  return (numbersOf(ref) ?? [Number.NaN]).every((element) => element === value);
}

/** Whether a Reshape brings back the shape that another one took. */
function givesBack(view: View, back: Node, split: Node): boolean {
  const [x = ""] = split.inputs;
  const [before, after] = [view.shape(x), view.shape(back.outputs[0] ?? "")];
  const target = view.made(back.inputs[1] ?? "", "Shape");
  if (target !== undefined && target.attributes.size === 0 && target.inputs[0] === x) return true;
  // One dim at most may be unknown: the number of elements is the same.
  const unknown = before?.filter((dim) => dim === "?").length ?? 2;
  return (
    before !== undefined &&
    before.length === after?.length &&
    unknown <= 1 &&
    before.every((dim, axis) => dim === after[axis])
  );
}
