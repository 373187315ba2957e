// Attention as one op (ONNX Attention-23), and rotary embedding.

import { intAttribute } from "../graph/graph.ts";
import { type Dim, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import type { OpDef, ShapeContext } from "./op.ts";
import { defineOp, perInput, sameAsInput, typed } from "./rules.ts";

function times(a: Dim | undefined, b: Dim | undefined): Dim {
  return typeof a === "number" && typeof b === "number" ? a * b : UNKNOWN_DIM;
}

function over(a: Dim | undefined, b: number): Dim {
  return typeof a === "number" && b > 0 && a % b === 0 ? a / b : UNKNOWN_DIM;
}

function plus(a: Dim | undefined, b: Dim | undefined): Dim {
  return typeof a === "number" && typeof b === "number" ? a + b : UNKNOWN_DIM;
}

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
  return { batch, heads: count, length: shape[1] ?? UNKNOWN_DIM, width: over(shape[2], count) };
}

/** Y, present key, present value, and the scores. */
function attentionShapes(c: ShapeContext): readonly (Shape | undefined)[] {
  const queries = headsOf(c, 0, intAttribute(c.node, "q_num_heads", 0));
  const keyHeads = intAttribute(c.node, "kv_num_heads", 0);
  const [keys, values] = [headsOf(c, 1, keyHeads), headsOf(c, 2, keyHeads)];
  if (queries === undefined || keys === undefined || values === undefined) return [];
  const past = (c.node.inputs[4] ?? "") === "" ? 0 : c.input(4)?.shape?.[2];
  const total = plus(keys.length, past);
  const flat = c.input(0)?.shape?.length === 3;
  const result = flat
    ? [queries.batch, queries.length, times(queries.heads, values.width)]
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
  gradient: "unsupported",
});

const rotary = defineOp("RotaryEmbedding", {
  shape: sameAsInput,
  cost: perInput(3),
  saves: { inputs: [1, 2], outputs: [] },
  gradient: "unsupported",
});

/** All ops of this family. */
export const attentions: readonly OpDef[] = [attention, rotary];
