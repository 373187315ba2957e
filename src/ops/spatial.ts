// Ops that trade resolution for channels, or change it: blocks of pixels, and resizing.

import { intAttribute, intsAttribute, stringAttribute } from "../graph/graph.ts";
import { type Dim, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import type { OpDef, ShapeContext } from "./op.ts";
import { defineOp, integers, NO_RULE, overDim, perOutput, timesDim, typed } from "./rules.ts";
import { axesOf } from "./slicing.ts";

const depthToSpace = defineOp("DepthToSpace", {
  shape: (c) => [typed(c.input(0)?.dtype, blocked(c, true))],
  cost: perOutput(0),
  gradient: NO_RULE,
});

const spaceToDepth = defineOp("SpaceToDepth", {
  shape: (c) => [typed(c.input(0)?.dtype, blocked(c, false))],
  cost: perOutput(0),
  gradient: NO_RULE,
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

/** Resize and Upsample: sizes if given, else scales, rounded down (ONNX Resize-19). */
function resized(c: ShapeContext): Shape | undefined {
  const x = c.input(0)?.shape;
  const upsample = c.node.op === "Upsample";
  const sizes = upsample ? undefined : c.entries(3);
  const scalesAt = upsample || c.opset < 11 ? 1 : 2;
  const scales = floats(c, "scales") ?? integers(c.constant(scalesAt));
  if (x === undefined) return undefined;
  const axes = axesOf(x.length, intsAttribute(c.node, "axes"));
  const keepsRatio = stringAttribute(c.node, "keep_aspect_ratio_policy", "stretch") !== "stretch";
  return x.map((dim, axis): Dim => {
    const i = axes.indexOf(axis);
    if (i < 0) return dim;
    if (sizes?.length === axes.length) return keepsRatio ? UNKNOWN_DIM : (sizes[i] ?? UNKNOWN_DIM);
    const scale = scales?.length === axes.length ? scales[i] : undefined;
    if (scale === 1) return dim;
    if (scale === undefined || typeof dim !== "number") return UNKNOWN_DIM;
    return Math.floor(Math.fround(dim * scale));
  });
}

function floats(c: ShapeContext, name: string): readonly number[] | undefined {
  const attribute = c.node.attributes.get(name);
  return attribute?.kind === "floats" ? attribute.value : undefined;
}

const resize = (type: string): OpDef =>
  defineOp(type, {
    shape: (c) => [typed(c.input(0)?.dtype, resized(c))],
    cost: perOutput(4),
    gradient: NO_RULE,
  });

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
  gradient: NO_RULE,
});

/** All ops of this family. */
export const spatials: readonly OpDef[] = [
  depthToSpace,
  spaceToDepth,
  centerCropPad,
  resize("Resize"),
  resize("Upsample"),
];
