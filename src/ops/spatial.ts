// Ops that trade resolution for channels, or cut and pad around the middle. Resizing stands in resize.ts.

import {
  int,
  intAttribute,
  ints,
  intsAttribute,
  stringAttribute,
  type ValueName,
} from "../graph/graph.ts";
import { type Dim, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import { knownShape, reshapeLike, sizesOf, transpose } from "./construct.ts";
import type { GradientContext, OpDef, ShapeContext } from "./op.ts";
import { defineOp, overDim, perOutput, timesDim, typed } from "./rules.ts";
import { axesOf } from "./slicing.ts";
import { shapeOfParts } from "./sliding.ts";

const depthToSpace = defineOp("DepthToSpace", {
  shape: (c) => [typed(c.input(0)?.dtype, blocked(c, true))],
  cost: perOutput(0),
  gradient: (context, [dy]) => [dy === undefined ? undefined : blocksBack(context, dy)],
});

/** Each block of pixels back into channels: block first (DCR) or channel first (CRD). */
function blocksBack(context: GradientContext, dy: ValueName): ValueName {
  const { node } = context;
  const size = intAttribute(node, "blocksize", 1);
  const attributes = { blocksize: int(size) };
  if (stringAttribute(node, "mode", "DCR") === "DCR") {
    return context.emit("SpaceToDepth", [dy], { attributes });
  }
  const [x = ""] = node.inputs;
  const part = (value: ValueName, axis: number): number | ValueName => {
    const dim = knownShape(context, value, node)[axis];
    return typeof dim === "number" ? dim : sizesOf(context, value, [axis]);
  };
  const rows = [part(x, 2), size, part(x, 3), size];
  const apart = shapeOfParts(context, [part(x, 0), part(dy, 1), ...rows]);
  const blocks = context.emit("Reshape", [dy, apart]);
  return reshapeLike(context, transpose(context, blocks, [0, 1, 3, 5, 2, 4]), x);
}

const spaceToDepth = defineOp("SpaceToDepth", {
  shape: (c) => [typed(c.input(0)?.dtype, blocked(c, false))],
  cost: perOutput(0),
  gradient: (context, [dy]) => {
    if (dy === undefined) return [];
    const attributes = { blocksize: int(intAttribute(context.node, "blocksize", 1)) };
    return [context.emit("DepthToSpace", [dy], { attributes })];
  },
});

function blocked(c: ShapeContext, toSpace: boolean): Shape | undefined {
  const x = c.input(0)?.shape;
  const size = intAttribute(c.node, "blocksize", 1);
  if (x?.length !== 4) return undefined;
  const [batch = UNKNOWN_DIM, depth, height, width] = x;
  const area = size * size;
  return toSpace
    ? [batch, overDim(depth, area), timesDim(height, size), timesDim(width, size)]
    : [batch, timesDim(depth, area), overDim(height, size), overDim(width, size)];
}

/** Sizes as asked for, by cutting or adding evenly at both ends. */
const centerCropPad = defineOp("CenterCropPad", {
  shape: (c) => {
    const x = c.input(0)?.shape;
    const sizes = c.entries(1);
    const axes = x && axesOf(x.length, intsAttribute(c.node, "axes"));
    const shape = x?.map((dim, axis): Dim => {
      const i = axes?.indexOf(axis) ?? -1;
      if (i < 0) return dim;
      return sizes?.length === axes?.length ? (sizes?.[i] ?? UNKNOWN_DIM) : UNKNOWN_DIM;
    });
    return [typed(c.input(0)?.dtype, shape)];
  },
  cost: perOutput(0),
  // What was cut off at the ends comes back as zeros, and what was added is cut: the same with x's sizes.
  gradient: (context, [dy]) => {
    if (dy === undefined) return [];
    const { node } = context;
    const [x = ""] = node.inputs;
    const axes = axesOf(knownShape(context, x, node).length, intsAttribute(node, "axes"));
    return [
      context.emit("CenterCropPad", [dy, sizesOf(context, x, axes)], {
        attributes: { axes: ints(axes) },
      }),
    ];
  },
});

/** All ops of this family. */
export const spatials: readonly OpDef[] = [depthToSpace, spaceToDepth, centerCropPad];
