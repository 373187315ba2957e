// Attention of grouped heads with rotary embeddings, as ONNX Runtime fuses it for language models (onnxruntime,
// docs/ContribOperators.md), and how it is written out.

import { floatAttribute, intAttribute, type ValueName } from "../graph/graph.ts";
import { UNKNOWN_DIM } from "../graph/shape.ts";
import { attend, both, fromHeads, toHeads } from "./attend.ts";
import { countingAlong, knownShape, noGradient, scalarLike, shapeConstant } from "./construct.ts";
import {
  behind,
  cut,
  fused,
  input,
  lengthAt,
  notLater,
  places,
  scaleOf,
} from "./contrib-attention.ts";
import type { NodeContext, OpDef, ShapeRule } from "./op.ts";
import { rotate } from "./rotate.ts";
import { overDim, sameAsInput, timesDim, typed } from "./rules.ts";

/** Turns queries or keys by the angles of their places. */
function turnedAt(context: NodeContext, x: ValueName, places: ValueName): ValueName {
  const [cos, sin] = [7, 8].map((i) => input(context, i));
  if (cos === undefined || sin === undefined)
    throw noGradient(context.node, "it has no tables of angles");
  return rotateBy(context, x, {
    cos,
    sin,
    places,
    interleaved: intAttribute(context.node, "rotary_interleaved", 0) !== 0,
  });
}

/** Rotation with the rows of two tables at places `[batch or 1, length]`. */
function rotateBy(
  context: NodeContext,
  x: ValueName,
  by: {
    readonly cos: ValueName;
    readonly sin: ValueName;
    readonly places: ValueName;
    readonly interleaved: boolean;
  },
): ValueName {
  const half = knownShape(context, by.cos, context.node)[1];
  if (typeof half !== "number")
    throw noGradient(context.node, "the width of its tables must be known");
  const at = (table: ValueName): ValueName =>
    context.emit("Unsqueeze", [
      context.emit("Gather", [table, by.places]),
      shapeConstant(context, [1]),
    ]);
  return rotate(context, x, {
    cos: at(by.cos),
    sin: at(by.sin),
    width: 2 * half,
    interleaved: by.interleaved,
  });
}

/** What a GroupQueryAttention is asked for that is not written out here. */
function refuseSpecial(context: NodeContext): void {
  const { node } = context;
  if (node.inputs.slice(12).some((name) => name !== "")) {
    throw noGradient(node, "its cache is quantized");
  }
  if ((node.outputs[3] ?? "") !== "") throw noGradient(node, "its scores are read");
}

/**
 * Causal attention of grouped heads. A past is taken to be as long as its axis, for every example: what the runtime
 * computes for queries that are padding means nothing, and no other query sees the keys of padding behind it.
 */
function decomposeGrouped(context: NodeContext): readonly (ValueName | undefined)[] {
  const { node } = context;
  refuseSpecial(context);
  const [heads, keyHeads] = [
    intAttribute(node, "num_heads", 1),
    intAttribute(node, "kv_num_heads", 1),
  ];
  const [query = "", key, value, pastKey, pastValue] = [0, 1, 2, 3, 4].map((i) =>
    input(context, i),
  );
  const apart = (): readonly ValueName[] => {
    const all = knownShape(context, query, node)[2];
    if (typeof all !== "number") throw noGradient(node, "the width of its input must be known");
    const width = all / (heads + 2 * keyHeads);
    return cut(context, query, [heads * width, keyHeads * width, keyHeads * width], 2);
  };
  const [flatQ = "", flatK = "", flatV = ""] =
    key === undefined || value === undefined ? apart() : [query, key, value];
  const q = toHeads(context, flatQ, heads);
  const [k, fresh] = [flatK, flatV].map((part) => toHeads(context, part, keyHeads));
  const rows = places(context, q, pastKey);
  const turns = intAttribute(node, "do_rotary", 0) !== 0;
  const at = (): ValueName =>
    input(context, 9) ??
    context.emit("Transpose", [rows], { attributes: { perm: { kind: "ints", value: [1, 0] } } });
  const turned = turns ? [q, k ?? ""].map((x) => turnedAt(context, x, at())) : [q, k ?? ""];
  const [queries = "", newKeys = ""] = turned;
  const [keys, values] = [
    behind(context, pastKey, newKeys),
    behind(context, pastValue, fresh ?? ""),
  ];
  const { y } = attend(
    context,
    { q: queries, k: keys, v: values },
    {
      scale: scaleOf(context),
      cap: floatAttribute(node, "softcap", 0),
      seen: both(context, notLater(context, queries, keys, pastKey), inWindow(context, keys, rows)),
      bias: input(context, 10),
      sink: sinkOf(context, queries),
    },
  );
  return [fromHeads(context, y), keys, values];
}

/** The score of no key: one for each head, or 0. */
function sinkOf(context: NodeContext, q: ValueName): ValueName | undefined {
  const given = input(context, 11);
  const axes = (list: readonly number[]): ValueName => shapeConstant(context, list);
  if (given !== undefined) return context.emit("Unsqueeze", [given, axes([0, 2, 3])]);
  if (intAttribute(context.node, "smooth_softmax", 0) !== 1) return undefined;
  return context.emit("Unsqueeze", [scalarLike(context, q, 0), axes([0, 1, 2, 3])]);
}

/** Keys that are less than a window's size before a query. */
function inWindow(context: NodeContext, keys: ValueName, rows: ValueName): ValueName | undefined {
  const size = intAttribute(context.node, "local_window_size", -1);
  if (size < 0) return undefined;
  const distance = context.emit("Sub", [rows, countingAlong(context, keys, 2)]);
  return context.emit("Less", [distance, scalarLike(context, distance, size)]);
}

/** Angles of tables at places, or from one place on. */
function decomposeRotary(context: NodeContext): readonly ValueName[] {
  const { node } = context;
  const [x = "", given = "", cos = "", sin = ""] = node.inputs;
  if (intAttribute(node, "is_packed_batching", 0) !== 0)
    throw noGradient(node, "its batch is packed");
  const shape = knownShape(context, x, node);
  const flat = shape.length === 3;
  const half = knownShape(context, cos, node)[1];
  const [, , width] = shape;
  const usual =
    typeof width === "number" && typeof half === "number" ? width / (2 * half) : undefined;
  const heads = intAttribute(node, "num_heads", 0) || usual;
  if (flat && heads === undefined) throw noGradient(node, "its number of heads must be known");
  const inHeads = flat ? toHeads(context, x, heads ?? 1) : x;
  const one = knownShape(context, given, node).length === 1;
  const from = (): ValueName =>
    context.emit("Unsqueeze", [
      context.emit("Add", [given, countingAlong(context, inHeads, 2)]),
      shapeConstant(context, [0]),
    ]);
  const interleaved = intAttribute(node, "interleaved", 0) !== 0;
  const turned = rotateBy(context, inHeads, {
    cos,
    sin,
    places: one ? from() : given,
    interleaved,
  });
  return [flat ? fromHeads(context, turned) : turned];
}

const groupedShape: ShapeRule = (c) => {
  const dtype = c.input(0)?.dtype;
  const [heads, keyHeads] = [
    intAttribute(c.node, "num_heads", 1),
    intAttribute(c.node, "kv_num_heads", 1),
  ];
  const packed = (c.node.inputs[1] ?? "") === "";
  const [batch, length, all] = [0, 1, 2].map((axis) => lengthAt(c, 0, axis));
  const width = overDim(all, packed ? heads + 2 * keyHeads : heads);
  // How long a cache is after this is told by its content (input 6), not by shapes.
  const present = [batch ?? UNKNOWN_DIM, keyHeads, UNKNOWN_DIM, width];
  return [
    typed(dtype, [batch ?? UNKNOWN_DIM, length ?? UNKNOWN_DIM, timesDim(heads, width)]),
    typed(c.input(3)?.dtype ?? dtype, present),
    typed(c.input(4)?.dtype ?? dtype, present),
  ];
};

/** Attention of fewer heads of keys than of queries, and rotary embeddings. */
export const groupedAttentions: readonly OpDef[] = [
  fused("GroupQueryAttention", groupedShape, decomposeGrouped),
  fused("RotaryEmbedding", sameAsInput, decomposeRotary),
];
