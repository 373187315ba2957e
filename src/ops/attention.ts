// Attention as one op (ONNX Attention-23), and rotary embedding.

import { intAttribute } from "../graph/graph.ts";
import { type Dim, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import type { OpDef, ShapeContext } from "./op.ts";
import {
  defineOp,
  NO_RULE,
  overDim,
  perInput,
  plusDim,
  sameAsInput,
  timesDim,
  typed,
} from "./rules.ts";

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

const attention = defineOp("Attention", {
  shape: (c) => attentionShapes(c).map((shape) => typed(c.input(0)?.dtype, shape)),
  cost: perInput(4),
  saves: { inputs: [0, 1, 2], outputs: [0] },
  gradient: NO_RULE,
});

const rotary = defineOp("RotaryEmbedding", {
  shape: sameAsInput,
  cost: perInput(3),
  saves: { inputs: [1, 2], outputs: [] },
  gradient: NO_RULE,
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
  gradient: NO_RULE,
});

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
  gradient: NO_RULE,
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
  gradient: NO_RULE,
});

/** All ops of this family. */
export const attentions: readonly OpDef[] = [
  attention,
  rotary,
  flexAttention,
  linearAttention,
  causalConv,
];
