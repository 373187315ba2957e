// Attention as one op (ONNX Attention-23), and rotary embedding.

import { floatAttribute, int, intAttribute, type ValueName } from "../graph/graph.ts";
import { type Dim, type Shape, sameDim, UNKNOWN_DIM } from "../graph/shape.ts";
import { DTYPE_CODES } from "../onnx/dtype-codes.ts";
import { arithmetic } from "./arithmetic.ts";
import {
  type Operands as AttentionOperands,
  attend,
  both,
  fromHeads,
  type Scoring,
  toHeads,
} from "./attend.ts";
import {
  castTo,
  countingAlong,
  knownShape,
  scalarLike,
  shapeConstant,
  sizesOf,
} from "./construct.ts";
import type { NodeContext, OpDef, ShapeContext } from "./op.ts";
import { rotate } from "./rotate.ts";
import { defineOp, overDim, perInput, plusDim, sameAsInput, timesDim, typed } from "./rules.ts";

/** Heads, length and width of an operand `[B, heads, length, width]` or `[B, length, heads·width]`. */
interface Heads {
  readonly batch: Dim;
  readonly heads: Dim;
  readonly length: Dim;
  readonly width: Dim;
}

function headsOf(c: ShapeContext, i: number, count: number): Heads | undefined {
  const shape = c.input(i)?.shape;
  const [batch = UNKNOWN_DIM] = shape ?? [];
  if (shape?.length === 4) {
    const [, heads = UNKNOWN_DIM, length = UNKNOWN_DIM, width = UNKNOWN_DIM] = shape;
    return { batch, heads, length, width };
  }
  if (shape?.length !== 3) return undefined;
  return { batch, heads: count, length: shape[1] ?? UNKNOWN_DIM, width: overDim(shape[2], count) };
}

/** Y, present key, present value, and the scores. */
function attentionShapes(c: ShapeContext): readonly (Shape | undefined)[] {
  const queries = headsOf(c, 0, intAttribute(c.node, "q_num_heads", 0));
  const keyHeads = intAttribute(c.node, "kv_num_heads", 0);
  const [keys, values] = [headsOf(c, 1, keyHeads), headsOf(c, 2, keyHeads)];
  if (queries === undefined || keys === undefined || values === undefined) return [];
  const past = (c.node.inputs[4] ?? "") === "" ? 0 : c.input(4)?.shape?.[2];
  const total = plusDim(keys.length, past);
  const flat = c.input(0)?.shape?.length === 3;
  const result = flat
    ? [queries.batch, queries.length, timesDim(queries.heads, values.width)]
    : [queries.batch, queries.heads, queries.length, values.width];
  return [
    result,
    [keys.batch, keys.heads, total, keys.width],
    [values.batch, values.heads, total, values.width],
    [queries.batch, queries.heads, queries.length, total],
  ];
}

/** Which keys a query sees by its place: not later ones, not those outside a window, not padding. */
function seenByPlace(
  context: NodeContext,
  { q, k }: AttentionOperands,
  past: ValueName | undefined,
): ValueName | undefined {
  const { node } = context;
  const lengths = node.inputs[6] ?? "";
  const [left, right] = ["left", "right"].map((side) =>
    intAttribute(node, `${side}_window_size`, -1),
  );
  const causal = intAttribute(node, "is_causal", 0) !== 0;
  const keys = countingAlong(context, k, 2);
  const a = arithmetic(context, keys);
  const perBatch = shapeConstant(context, [1, 2, 3]);
  const valid = lengths === "" ? undefined : context.emit("Unsqueeze", [lengths, perBatch]);
  // Queries stand behind the keys of the past; where padding is told instead, at the end of what is none.
  const offset =
    past === undefined
      ? valid && a.sub(valid, sizesOf(context, q, [2]))
      : sizesOf(context, past, [2]);
  const rows = context.emit("Unsqueeze", [
    countingAlong(context, q, 2),
    shapeConstant(context, [1]),
  ]);
  const place = offset === undefined ? rows : a.add(rows, offset);
  const within = (limit: number | undefined, distance: () => ValueName): ValueName | undefined =>
    limit === undefined || limit < 0
      ? undefined
      : context.emit("LessOrEqual", [distance(), scalarLike(context, keys, limit)]);
  return both(
    context,
    causal ? context.emit("LessOrEqual", [keys, place]) : undefined,
    within(left, () => a.sub(place, keys)),
    within(right, () => a.sub(keys, place)),
    valid && context.emit("Less", [keys, valid]),
  );
}

/** A mask as wide as the keys: it may be given for the first of them alone, and the others are not seen. */
function wideMask(context: NodeContext, mask: ValueName, k: ValueName): ValueName {
  const shape = knownShape(context, mask, context.node);
  const [width, keys] = [shape.at(-1), context.typeOf(k)?.shape?.[2]];
  if (width !== undefined && keys !== undefined && sameDim(width, keys)) return mask;
  const floats = context.typeOf(mask)?.dtype === "bool" ? castTo(context, mask, "float32") : mask;
  const own = sizesOf(context, mask, [shape.length - 1]);
  const missing = context.emit("Sub", [sizesOf(context, k, [2]), own]);
  const none = shapeConstant(context, new Array<number>(2 * shape.length - 1).fill(0));
  const pads = context.emit("Concat", [none, missing], { attributes: { axis: int(0) } });
  const hidden = scalarLike(context, floats, Number.NEGATIVE_INFINITY);
  return context.emit("Pad", [floats, pads, hidden]);
}

/** What a mask hides, and what it adds to the scores. */
function maskParts(context: NodeContext, k: ValueName): Pick<Scoring, "seen" | "bias"> {
  const mask = context.node.inputs[3] ?? "";
  if (mask === "") return {};
  const wide = wideMask(context, mask, k);
  if (context.typeOf(wide)?.dtype === "bool") return { seen: wide };
  const a = arithmetic(context, wide);
  if (context.typeOf(mask)?.dtype === "bool") return { seen: a.greater(wide, 0) };
  const seen = a.greater(wide, Number.NEGATIVE_INFINITY);
  return { seen, bias: a.where(seen, wide, 0) };
}

/** Attention-25 and before, in its stages. */
function decomposeAttention(context: NodeContext): readonly (ValueName | undefined)[] {
  const { node } = context;
  const [given = "", , , , pastKey = "", pastValue = ""] = node.inputs;
  const flat = knownShape(context, given, node).length === 3;
  const heads = (name: ValueName, attribute: string): ValueName =>
    knownShape(context, name, node).length === 3
      ? toHeads(context, name, intAttribute(node, attribute, 1))
      : name;
  const joined = (past: ValueName, now: ValueName): ValueName =>
    past === "" ? now : context.emit("Concat", [past, now], { attributes: { axis: int(2) } });
  const q = heads(given, "q_num_heads");
  const k = joined(pastKey, heads(node.inputs[1] ?? "", "kv_num_heads"));
  const v = joined(pastValue, heads(node.inputs[2] ?? "", "kv_num_heads"));
  const masked = maskParts(context, k);
  const byPlace = seenByPlace(context, { q, k, v }, pastKey === "" ? undefined : pastKey);
  const seen = both(context, masked.seen, byPlace);
  const attended = attend(
    context,
    { q, k, v },
    {
      scale: node.attributes.has("scale") ? floatAttribute(node, "scale", 1) : undefined,
      cap: floatAttribute(node, "softcap", 0),
      seen,
      bias: masked.bias,
      precision: DTYPE_CODES.get(intAttribute(node, "softmax_precision", 0)),
    },
  );
  const told = (): ValueName => {
    const mode = intAttribute(node, "qk_matmul_output_mode", 0);
    if (mode !== 2)
      return [attended.raw, attended.capped, "", attended.shares][mode] ?? attended.raw;
    const a = arithmetic(context, attended.biased);
    return seen === undefined
      ? attended.biased
      : a.where(seen, attended.biased, Number.NEGATIVE_INFINITY);
  };
  const wanted = (node.outputs[3] ?? "") !== "";
  return [flat ? fromHeads(context, attended.y) : attended.y, k, v, wanted ? told() : undefined];
}

const attention = defineOp("Attention", {
  shape: (c) => attentionShapes(c).map((shape) => typed(c.input(0)?.dtype, shape)),
  cost: perInput(4),
  saves: { inputs: [0, 1, 2], outputs: [0] },
  gradient: { decompose: decomposeAttention },
});

const rotary = defineOp("RotaryEmbedding", {
  shape: sameAsInput,
  cost: perInput(3),
  saves: { inputs: [1, 2], outputs: [] },
  gradient: {
    decompose: (context) => {
      const { node } = context;
      const [given = "", cos = "", sin = "", positions = ""] = node.inputs;
      const flat = knownShape(context, given, node).length === 3;
      const x = flat ? toHeads(context, given, intAttribute(node, "num_heads", 1)) : given;
      const at = (table: ValueName): ValueName =>
        context.emit("Unsqueeze", [
          positions === "" ? table : context.emit("Gather", [table, positions]),
          shapeConstant(context, [1]),
        ]);
      const turned = rotate(context, x, {
        cos: at(cos),
        sin: at(sin),
        width: intAttribute(node, "rotary_embedding_dim", 0),
        interleaved: intAttribute(node, "interleaved", 0) !== 0,
      });
      return [flat ? fromHeads(context, turned) : turned];
    },
  },
});

/** Attention whose scores are changed by functions in its attributes; heads are always an axis. */
const flexAttention = defineOp("FlexAttention", {
  domain: "ai.onnx.preview",
  shape: (c) => {
    const [queries, values] = [c.input(0)?.shape, c.input(2)?.shape];
    const width = values?.at(-1) ?? UNKNOWN_DIM;
    return [typed(c.input(0)?.dtype, queries && [...queries.slice(0, -1), width])];
  },
  cost: perInput(4),
  saves: { inputs: [0, 1, 2], outputs: [0] },
  gradient: {
    because: "it is a preview that ONNX Runtime 1.30 does not run (write it as MatMul and Softmax)",
  },
});

const TOO_NEW = "it is of an operator set that ONNX Runtime 1.30 does not run";

/** The result, and the state `[B, heads, key width, value width]`, which is of the type of the past one. */
const linearAttention = defineOp("LinearAttention", {
  shape: (c) => {
    const heads = intAttribute(c.node, "q_num_heads", 0);
    const keyHeads = intAttribute(c.node, "kv_num_heads", 0);
    const [keys, values] = [headsOf(c, 1, keyHeads), headsOf(c, 2, keyHeads)];
    const [batch = UNKNOWN_DIM, length = UNKNOWN_DIM] = c.input(0)?.shape ?? [];
    if (keys === undefined || values === undefined) return [];
    const state = [batch, keyHeads, keys.width, values.width];
    return [
      typed(c.input(0)?.dtype, [batch, length, timesDim(heads, values.width)]),
      typed(c.input(3)?.dtype ?? c.input(0)?.dtype, state),
    ];
  },
  cost: perInput(6),
  saves: { inputs: [0, 1, 2], outputs: [0] },
  gradient: {
    because: `${TOO_NEW} (write its update rule as a Scan)`,
  },
});

/** A depthwise convolution over what came before; its state is one step shorter than the kernel. */
const causalConv = defineOp("CausalConvWithState", {
  shape: (c) => {
    const x = c.input(0)?.shape;
    const [batch = UNKNOWN_DIM, channels = UNKNOWN_DIM] = x ?? [];
    const state = x && [batch, channels, plusDim(c.input(1)?.shape?.[2], -1)];
    return [c.input(0), typed(c.input(0)?.dtype, state)];
  },
  cost: perInput(8),
  saves: { inputs: [0, 1], outputs: [] },
  gradient: { because: `${TOO_NEW} (write it as Concat and Conv)` },
});

/** All ops of this family. */
export const attentions: readonly OpDef[] = [
  attention,
  rotary,
  flexAttention,
  linearAttention,
  causalConv,
];
