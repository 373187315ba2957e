// Attention as ONNX Runtime fuses it (onnxruntime, docs/ContribOperators.md), and how it is written out.

import {
  floatAttribute,
  int,
  intAttribute,
  intsAttribute,
  type ValueName,
} from "../graph/graph.ts";
import { type Dim, UNKNOWN_DIM } from "../graph/shape.ts";
import { arithmetic } from "./arithmetic.ts";
import { attend, fromHeads, toHeads } from "./attend.ts";
import {
  castTo,
  countingAlong,
  knownShape,
  noGradient,
  scalarLike,
  shapeConstant,
  sizesOf,
} from "./construct.ts";
import type { NodeContext, OpDef, ShapeContext, ShapeRule } from "./op.ts";
import { defineOp, overDim, perInput, plusDim, timesDim, typed } from "./rules.ts";

const DOMAIN = "com.microsoft";

/** An input that is there. */
export function input(context: NodeContext, i: number): ValueName | undefined {
  const name = context.node.inputs[i] ?? "";
  return name === "" ? undefined : name;
}

/** Keys or values behind those of the past, along the axis of their length. */
export function behind(
  context: NodeContext,
  past: ValueName | undefined,
  now: ValueName,
): ValueName {
  return past === undefined
    ? now
    : context.emit("Concat", [past, now], { attributes: { axis: int(2) } });
}

/** 0 for the scale means the usual one. */
export function scaleOf({ node }: NodeContext): number | undefined {
  const scale = floatAttribute(node, "scale", 0);
  return scale === 0 ? undefined : scale;
}

/** The place of each query among the keys, of which the last stand beside it: `[queries, 1]`. */
export function places(context: NodeContext, q: ValueName, past: ValueName | undefined): ValueName {
  const rows = context.emit("Unsqueeze", [
    countingAlong(context, q, 2),
    shapeConstant(context, [1]),
  ]);
  return past === undefined ? rows : context.emit("Add", [rows, sizesOf(context, past, [2])]);
}

/** Keys that are not later than a query. */
export function notLater(
  context: NodeContext,
  q: ValueName,
  k: ValueName,
  past: ValueName | undefined,
): ValueName {
  return context.emit("LessOrEqual", [countingAlong(context, k, 2), places(context, q, past)]);
}

/**
 * A mask of integers as what it adds to the scores: `mask_filter_value` at what it hides. Given as the length of
 * each example, for each key, or for each query and key.
 */
function filterOf(context: NodeContext, mask: ValueName, q: ValueName, k: ValueName): ValueName {
  const shape = knownShape(context, mask, context.node);
  const [count, batch] = [shape[0], context.typeOf(q)?.shape?.[0]];
  if (
    shape.length === 1 &&
    typeof count === "number" &&
    typeof batch === "number" &&
    count !== batch
  ) {
    throw noGradient(context.node, "its mask tells more than the lengths of the sequences");
  }
  const axes = [[], [1, 2, 3], [1, 2], [1]][shape.length];
  if (axes === undefined || axes.length === 0) {
    throw noGradient(context.node, `its mask has ${shape.length} axes`);
  }
  const wide = context.emit("Unsqueeze", [mask, shapeConstant(context, axes)]);
  const zero = scalarLike(context, wide, 0);
  const kept =
    shape.length === 1
      ? context.emit("Less", [countingAlong(context, k, 2), castTo(context, wide, "int64")])
      : context.emit("Greater", [wide, zero]);
  return arithmetic(context, q).where(
    kept,
    0,
    floatAttribute(context.node, "mask_filter_value", -10000),
  );
}

/** The sum of what there is of both. */
function sumOf(
  context: NodeContext,
  a: ValueName | undefined,
  b: ValueName | undefined,
): ValueName | undefined {
  return a !== undefined && b !== undefined ? context.emit("Add", [a, b]) : (a ?? b);
}

/** Parts of an axis. */
export function cut(
  context: NodeContext,
  x: ValueName,
  sizes: readonly number[],
  axis: number,
): readonly ValueName[] {
  return context.emitAll("Split", [x, shapeConstant(context, sizes)], {
    attributes: { axis: int(axis) },
    outputCount: sizes.length,
  });
}

/** Attention of three slices of one product with the input. */
function decomposeAttention(context: NodeContext): readonly (ValueName | undefined)[] {
  const { node } = context;
  const heads = intAttribute(node, "num_heads", 1);
  if (intAttribute(node, "do_rotary", 0) !== 0)
    throw noGradient(node, "it turns its queries and keys");
  const [x = "", weights = ""] = node.inputs;
  const all = knownShape(context, weights, node)[1];
  if (typeof all !== "number") throw noGradient(node, "the size of its weights must be known");
  const sizes = intsAttribute(node, "qkv_hidden_sizes") ?? [all / 3, all / 3, all / 3];
  const product = context.emit("MatMul", [x, weights]);
  const joined = sumOf(context, product, input(context, 2)) ?? product;
  const [q = "", k = "", v = ""] = cut(context, joined, sizes, 2).map((part) =>
    toHeads(context, part, heads),
  );
  const past = input(context, 4);
  const [pastKey, pastValue] =
    past === undefined
      ? []
      : cut(context, past, [1, 1], 0).map((part) =>
          context.emit("Squeeze", [part, shapeConstant(context, [0])]),
        );
  const [keys, values] = [behind(context, pastKey, k), behind(context, pastValue, v)];
  const mask = input(context, 3);
  const y = attendMasked(
    context,
    { q, k: keys, v: values },
    { mask, added: input(context, 5), pastKey },
  );
  const told = (node.outputs[1] ?? "") !== "";
  const present = (): ValueName => {
    const parts = [keys, values].map((part) =>
      context.emit("Unsqueeze", [part, shapeConstant(context, [0])]),
    );
    return context.emit("Concat", parts, { attributes: { axis: int(0) } });
  };
  return [fromHeads(context, y), told ? present() : undefined];
}

/** Queries, keys and values of a MultiHeadAttention as `[batch, heads, length, width]`, in whichever form they come. */
function operandsOf(context: NodeContext): readonly [ValueName, ValueName, ValueName] {
  const { node } = context;
  const heads = intAttribute(node, "num_heads", 1);
  const rankOf = (name: ValueName): number => knownShape(context, name, node).length;
  /** `[batch, length, heads, several, width]` as several. */
  const unpacked = (x: ValueName, count: number): readonly ValueName[] =>
    cut(context, x, new Array<number>(count).fill(1), 3).map((part) => {
      const single = context.emit("Squeeze", [part, shapeConstant(context, [3])]);
      return context.emit("Transpose", [single], {
        attributes: { perm: { kind: "ints", value: [0, 2, 1, 3] } },
      });
    });
  const [query = "", key, value] = [0, 1, 2].map((i) => input(context, i));
  const biases = input(context, 3);
  const flat = [query, key ?? "", value ?? ""].every((name) => name !== "" && rankOf(name) === 3);
  if (biases !== undefined && !flat) {
    throw noGradient(node, "it adds biases to operands that are packed, or in heads already");
  }
  if (key === undefined) {
    const [q = "", k = "", v = ""] = unpacked(query, 3);
    return [q, k, v];
  }
  const q = (): ValueName => toHeads(context, query, heads);
  if (value === undefined) {
    const [k = "", v = ""] = unpacked(key, 2);
    return [q(), k, v];
  }
  if (!flat) {
    const inHeads = (x: ValueName): ValueName => (rankOf(x) === 4 ? x : toHeads(context, x, heads));
    return [q(), inHeads(key), inHeads(value)];
  }
  const given = [query, key, value];
  const widths = given.map((name) => knownShape(context, name, node)[2]);
  const known = widths.filter((width) => typeof width === "number");
  if (biases !== undefined && known.length < 3)
    throw noGradient(node, "the widths of its operands must be known");
  const parts = biases === undefined ? [] : cut(context, biases, known, 0);
  const [a = "", b = "", c = ""] = given.map((name, i) => {
    const bias = parts[i];
    return toHeads(context, bias === undefined ? name : context.emit("Add", [name, bias]), heads);
  });
  return [a, b, c];
}

/** Attention over what a mask leaves and, where the op looks back only, what is not later. */
function attendMasked(
  context: NodeContext,
  operands: { readonly q: ValueName; readonly k: ValueName; readonly v: ValueName },
  given: {
    readonly mask: ValueName | undefined;
    readonly added: ValueName | undefined;
    readonly pastKey: ValueName | undefined;
  },
): ValueName {
  const { q, k } = operands;
  const { mask, added, pastKey } = given;
  const looksBack = intAttribute(context.node, "unidirectional", 0) !== 0;
  const { y } = attend(context, operands, {
    scale: scaleOf(context),
    seen: looksBack ? notLater(context, q, k, pastKey) : undefined,
    bias: sumOf(context, mask && filterOf(context, mask, q, k), added),
  });
  return y;
}

function decomposeMultiHead(context: NodeContext): readonly (ValueName | undefined)[] {
  const { node } = context;
  if ((node.outputs[3] ?? "") !== "") throw noGradient(node, "its scores are read");
  const [q, k, v] = operandsOf(context);
  const [mask, added, pastKey, pastValue] = [4, 5, 6, 7].map((i) => input(context, i));
  const [keys, values] = [behind(context, pastKey, k), behind(context, pastValue, v)];
  const y = attendMasked(context, { q, k: keys, v: values }, { mask, added, pastKey });
  return [fromHeads(context, y), keys, values];
}

/** The size of an axis of an input. */
export function lengthAt(c: ShapeContext, i: number, axis: number): Dim {
  return c.input(i)?.shape?.[axis] ?? UNKNOWN_DIM;
}

/** How long a past is, if there is one. */
function pastLength(c: ShapeContext, i: number, axis: number): Dim {
  return (c.node.inputs[i] ?? "") === "" ? 0 : lengthAt(c, i, axis);
}

const attentionShape: ShapeRule = (c) => {
  const [batch, length] = [lengthAt(c, 0, 0), lengthAt(c, 0, 1)];
  const heads = intAttribute(c.node, "num_heads", 1);
  const width = intsAttribute(c.node, "qkv_hidden_sizes")?.[2] ?? overDim(lengthAt(c, 1, 1), 3);
  const total = plusDim(length, pastLength(c, 4, 3));
  const present = [2, batch, heads, total, overDim(width, heads)];
  return [[batch, length, width], present].map((shape) => typed(c.input(0)?.dtype, shape));
};

const multiHeadShape: ShapeRule = (c) => {
  const dtype = c.input(0)?.dtype;
  const heads = intAttribute(c.node, "num_heads", 1);
  const [query, key, value] = [0, 1, 2].map((i) => c.input(i)?.shape);
  if (query === undefined) return [];
  const [batch = UNKNOWN_DIM, length = UNKNOWN_DIM, last = UNKNOWN_DIM] = query;
  const packed = query.length === 5;
  const keyLength = packed ? length : key?.[key.length === 4 ? 2 : 1];
  const keyWidth = packed ? query[4] : key?.length === 5 ? key[4] : overDim(last, heads);
  const valueWidth =
    packed || key?.length === 5
      ? keyWidth
      : value?.length === 4
        ? value[3]
        : overDim(value?.[2], heads);
  const total = plusDim(keyLength, pastLength(c, 6, 2));
  return [
    typed(dtype, [batch, length, timesDim(heads, valueWidth)]),
    typed(dtype, [batch, heads, total, keyWidth ?? UNKNOWN_DIM]),
    typed(dtype, [batch, heads, total, valueWidth ?? UNKNOWN_DIM]),
  ];
};

/** An op of the runtime's own domain that is written out in others. */
export function fused(
  type: string,
  shape: ShapeRule,
  decompose: (context: NodeContext) => readonly (ValueName | undefined)[],
): OpDef {
  return defineOp(type, {
    domain: DOMAIN,
    shape,
    cost: perInput(4),
    saves: { inputs: [0, 1, 2], outputs: [0] },
    gradient: { decompose },
  });
}

/** Attention of as many heads of keys as of queries. */
export const contributedAttentions: readonly OpDef[] = [
  fused("Attention", attentionShape, decomposeAttention),
  fused("MultiHeadAttention", multiHeadShape, decomposeMultiHead),
];
