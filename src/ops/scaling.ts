// Scales and zero points spread over what they quantize: one for all, one for each slice along an axis, or one
// for each block along it (ONNX QuantizeLinear-25).

import { int, intAttribute, type ValueName } from "../graph/graph.ts";
import { normalizeAxis } from "../graph/shape.ts";
import { arithmetic } from "./arithmetic.ts";
import {
  assembledShape,
  knownShape,
  reduce,
  reshapeLike,
  shapeConstant,
  sizesOf,
} from "./construct.ts";
import type { NodeContext } from "./op.ts";

/** How the scales of a node lie over its input. */
interface Layout {
  readonly kind: "whole" | "axis" | "blocks";
  readonly axis: number;
  readonly rank: number;
  readonly block: number;
}

function layoutOf(context: NodeContext, x: ValueName, scale: ValueName): Layout {
  const { node } = context;
  const rank = knownShape(context, x, node).length;
  const axis = normalizeAxis(intAttribute(node, "axis", 1), rank) ?? 0;
  const block = intAttribute(node, "block_size", 0);
  const shape = knownShape(context, scale, node);
  if (block > 0) return { kind: "blocks", axis, rank, block };
  const whole = shape.length === 0 || (shape.length === 1 && (shape[0] === 1 || rank < 2));
  return { kind: whole ? "whole" : "axis", axis, rank, block };
}

function othersOf({ axis, rank }: Layout): readonly number[] {
  return Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis);
}

/** The parts of a shape, with one axis in two: how many blocks, and how long they are. */
function inBlocks(
  like: ValueName,
  { axis, rank, block }: Layout,
): (number | readonly [ValueName, number])[] {
  return Array.from({ length: rank }, (_, i) => [like, i] as const).flatMap((part, i) =>
    i === axis ? [part, block] : [part],
  );
}

/** A scale, or a zero point, so that it broadcasts against x. */
export function spread(context: NodeContext, parameter: ValueName, x: ValueName): ValueName {
  const layout = layoutOf(context, x, parameter);
  if (layout.kind === "whole") return parameter;
  if (layout.kind === "axis") {
    return context.emit("Unsqueeze", [parameter, shapeConstant(context, othersOf(layout))]);
  }
  const { axis, rank, block } = layout;
  const apart = context.emit("Unsqueeze", [parameter, shapeConstant(context, [axis + 1])]);
  const times = Array.from({ length: rank + 1 }, (_, i) => (i === axis + 1 ? block : 1));
  const repeated = context.emit("Expand", [apart, shapeConstant(context, times)]);
  const parts = Array.from({ length: rank }, (_, i) =>
    i === axis ? -1 : ([parameter, i] as const),
  );
  const joined = context.emit("Reshape", [repeated, assembledShape(context, parts)]);
  const [start, end] = [shapeConstant(context, [0]), sizesOf(context, x, [axis])];
  return context.emit("Slice", [joined, start, end, shapeConstant(context, [axis])]);
}

/** What flows into a spread parameter, summed back to its shape. */
export function gathered(context: NodeContext, g: ValueName, parameter: ValueName): ValueName {
  const layout = layoutOf(context, g, parameter);
  if (layout.kind === "whole") {
    const sum = context.emit("ReduceSum", [g], { attributes: { keepdims: int(0) } });
    return reshapeLike(context, sum, parameter);
  }
  if (layout.kind === "axis") return reduce(context, "ReduceSum", g, othersOf(layout), false);
  const { axis, block } = layout;
  const a = arithmetic(context, sizesOf(context, parameter, [axis]));
  const whole = a.mul(sizesOf(context, parameter, [axis]), block);
  const missing = a.sub(whole, sizesOf(context, g, [axis]));
  const pads = context.emit("Concat", [shapeConstant(context, [0]), missing], {
    attributes: { axis: int(0) },
  });
  const padded = context.emit("Pad", [g, pads, "", shapeConstant(context, [axis])]);
  const blocks = context.emit("Reshape", [
    padded,
    assembledShape(context, inBlocks(parameter, layout)),
  ]);
  return reduce(context, "ReduceSum", blocks, [axis + 1], false);
}
