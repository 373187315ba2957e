// Rotary position embedding (Su et al. 2021) written out: x·cos + turned(x)·sin, where turned exchanges
// the two halves of the last axis, or the members of each pair, and negates the one that comes first.

import { int, intAttribute, intsAttribute, type Node, type ValueName } from "../../graph/graph.ts";
import { sameShape } from "../../graph/shape.ts";
import { MACRO_DOMAIN } from "../../ops/macro.ts";
import { multiples } from "./algebra.ts";
import type { Idiom, Match, View } from "./view.ts";

/** A part of x along its last axis. */
interface Part {
  readonly x: ValueName;
  readonly start: number;
  readonly step: number;
  readonly nodes: readonly Node[];
}

/** As products with whole cos and sin, or half by half. */
export const rotary: Idiom = {
  name: "rotary embedding",
  roots: ["Add", "Concat"],
  *match(view, root): Generator<Match> {
    const [output = ""] = root.outputs;
    if (root.op === "Concat") {
      yield* byHalves(view, root);
      return;
    }
    for (const [plain, crossed] of view.operands(root)) {
      const [a, b] = [view.made(plain, "Mul"), view.made(crossed, "Mul")];
      if (a === undefined || b === undefined) continue;
      for (const [x, cos] of view.operands(a)) {
        for (const [other, sin] of view.operands(b)) {
          const turned = turnedOf(view, other, x);
          if (turned === undefined || !sameShape(view.shape(x), view.shape(output))) continue;
          const nodes = [a, b, ...turned.nodes];
          yield rotaryMatch([x, cos, sin], turned.interleaved, nodes);
        }
      }
    }
  },
};

function rotaryMatch(
  inputs: readonly ValueName[],
  interleaved: boolean,
  nodes: readonly Node[],
): Match {
  const attributes = { interleaved: int(interleaved ? 1 : 0) };
  return { op: "RotaryEmbedding", domain: MACRO_DOMAIN, inputs, attributes, nodes };
}

function turnedOf(
  view: View,
  name: ValueName,
  x: ValueName,
): { interleaved: boolean; nodes: readonly Node[] } | undefined {
  const width = view.shape(x)?.at(-1);
  if (typeof width !== "number" || width % 2 !== 0) return undefined;
  const joined = joinedOf(view, name);
  if (joined !== undefined) {
    const nodes = negatedAnd(view, x, joined.parts, { first: width / 2, second: 0, step: 1 });
    return nodes && { interleaved: false, nodes: [joined.node, ...nodes] };
  }
  // Pairs: both parts get an axis of their own, are joined along it and laid flat again.
  const flat = view.made(name, "Reshape", "Flatten");
  const pairs = flat && joinedOf(view, flat.inputs[0] ?? "");
  if (flat === undefined || pairs === undefined) return undefined;
  const raised = pairs.parts.map((part) => view.made(part, "Unsqueeze"));
  const [a, b] = raised;
  if (a === undefined || b === undefined || !sameShape(view.shape(name), view.shape(x))) {
    return undefined;
  }
  const parts = [a.inputs[0] ?? "", b.inputs[0] ?? ""] as const;
  // The axis is the last one: there the pairs are joined, and each part is one wide.
  if ([a, b].some((node) => view.shape(node.outputs[0] ?? "")?.at(-1) !== 1)) return undefined;
  const nodes = negatedAnd(view, x, parts, { first: 1, second: 0, step: 2 });
  return nodes && { interleaved: true, nodes: [flat, pairs.node, a, b, ...nodes] };
}

/** The operands of a Concat of two along the last axis. */
function joinedOf(
  view: View,
  name: ValueName,
): { node: Node; parts: readonly [ValueName, ValueName] } | undefined {
  const node = view.made(name, "Concat");
  const [a = "", b = ""] = node?.inputs ?? [];
  const rank = view.shape(a)?.length;
  if (node === undefined || rank === undefined || node.inputs.length !== 2) return undefined;
  const axis = intAttribute(node, "axis", 0);
  return axis === -1 || axis === rank - 1 ? { node, parts: [a, b] } : undefined;
}

/** Whether two values are one part of x negated, and another part of x. */
function negatedAnd(
  view: View,
  x: ValueName,
  [first, second]: readonly [ValueName, ValueName],
  wanted: { readonly first: number; readonly second: number; readonly step: number },
): readonly Node[] | undefined {
  const other = partOf(view, second);
  if (other?.x !== x || other.start !== wanted.second || other.step !== wanted.step)
    return undefined;
  for (const scaled of multiples(view, first)) {
    const part = scaled.factor === -1 ? partOf(view, scaled.value) : undefined;
    if (part?.x !== x || part.start !== wanted.first || part.step !== wanted.step) continue;
    return [...scaled.nodes, ...part.nodes, ...other.nodes];
  }
  return undefined;
}

/** Half of the last axis of a value: by a Slice, or as an output of a Split. */
function partOf(view: View, name: ValueName): Part | undefined {
  const split = view.made(name, "Split");
  if (split !== undefined) return splitPart(view, split, name);
  const node = view.made(name, "Slice");
  const [x = "", ...bounds] = node?.inputs ?? [];
  const rank = view.shape(x)?.length;
  const width = view.shape(x)?.at(-1);
  if (node === undefined || rank === undefined || typeof width !== "number") return undefined;
  const one = (i: number, key: string, fallback: number): number | undefined => {
    const given = bounds[i] ?? "";
    const list = given === "" ? intsAttribute(node, key) : view.integers(given);
    if (given === "" && list === undefined) return fallback;
    return list?.length === 1 ? list[0] : undefined;
  };
  const [start, end] = [one(0, "starts", Number.NaN), one(1, "ends", Number.NaN)];
  const [axis, step] = [one(2, "axes", 0), one(3, "steps", 1)];
  if (start === undefined || end === undefined || axis === undefined || step === undefined) {
    return undefined;
  }
  const stop = Math.min(end < 0 ? end + width : end, width);
  const from = start < 0 ? start + width : start;
  const isHalf = step === 2 ? stop === width : step === 1 && stop - from === width / 2;
  const isLast = axis === -1 || axis === rank - 1;
  return isLast && isHalf ? { x, start: from, step, nodes: [node] } : undefined;
}

function splitPart(view: View, split: Node, name: ValueName): Part | undefined {
  const [x = ""] = split.inputs;
  const shape = view.shape(x);
  const width = shape?.at(-1);
  const halves = split.outputs.map((output) => view.shape(output)?.at(-1));
  if (shape === undefined || typeof width !== "number" || split.outputs.length !== 2)
    return undefined;
  const axis = view.axis(intAttribute(split, "axis", 0), x);
  if (axis !== shape.length - 1 || halves.some((half) => half !== width / 2)) return undefined;
  return { x, start: split.outputs.indexOf(name) * (width / 2), step: 1, nodes: [split] };
}

/** [x₁·cos - x₂·sin, x₂·cos + x₁·sin], with cos and sin half as wide. */
function* byHalves(view: View, root: Node): Generator<Match> {
  const joined = joinedOf(view, root.outputs[0] ?? "");
  const [left, right] = (joined?.parts ?? []).map((part) => view.made(part, "Sub", "Add"));
  if (left?.op !== "Sub" || right?.op !== "Add") return;
  const [minuend, subtrahend] = left.inputs.map((input) => view.made(input, "Mul"));
  if (minuend === undefined || subtrahend === undefined) return;
  for (const [x1, cos] of view.operands(minuend)) {
    for (const [x2, sin] of view.operands(subtrahend)) {
      const whole = halvesOf(view, x1, x2);
      const product = view.shape(minuend.outputs[0] ?? "");
      if (whole === undefined || !sameShape(view.shape(x1), product)) continue;
      for (const [first, second] of view.operands(right)) {
        const [c, d] = [view.made(first, "Mul"), view.made(second, "Mul")];
        if (c === undefined || d === undefined || !reads(c, x2, cos) || !reads(d, x1, sin))
          continue;
        const nodes = [left, right, minuend, subtrahend, c, d, ...whole.nodes];
        yield rotaryMatch([whole.x, cos, sin], false, nodes);
      }
    }
  }
}

function halvesOf(
  view: View,
  x1: ValueName,
  x2: ValueName,
): { x: ValueName; nodes: readonly Node[] } | undefined {
  const [a, b] = [partOf(view, x1), partOf(view, x2)];
  if (a === undefined || b === undefined || a.x !== b.x || a.step !== 1 || b.step !== 1) {
    return undefined;
  }
  return a.start === 0 && b.start > 0 ? { x: a.x, nodes: [...a.nodes, ...b.nodes] } : undefined;
}

function reads(node: Node, a: ValueName, b: ValueName): boolean {
  const [x, y] = node.inputs;
  return (x === a && y === b) || (x === b && y === a);
}
