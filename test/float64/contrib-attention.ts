// Attention as ONNX Runtime fuses it, one score at a time (its page of contrib operators).

import { floatAttribute, intAttribute, intsAttribute } from "../../src/graph/graph.ts";
import { type Array64, filled, forEachIndex, reshaped, transposed } from "./array.ts";
import { joined } from "./elementwise.ts";
import { type Call, type Kernels, operand } from "./kernel.ts";
import { product } from "./matmul.ts";
import { concatenated } from "./movement.ts";

/** [batch, heads, length, width] from [batch, length, heads · width]. */
function inHeads(x: Array64, heads: number): Array64 {
  const [batch = 0, length = 0, hidden = 0] = x.shape;
  return transposed(reshaped(x, [batch, length, heads, hidden / heads]), [0, 2, 1, 3]);
}

/** A part of an axis. */
function part(x: Array64, axis: number, from: number, size: number): Array64 {
  const shape = x.shape.with(axis, size);
  const inner = x.shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const whole = x.shape[axis] ?? 1;
  return filled(x.dtype, shape, (flat) => {
    const [outer, rest] = [Math.floor(flat / (size * inner)), flat % (size * inner)];
    return x.values[(outer * whole + from) * inner + rest] ?? Number.NaN;
  });
}

function without(x: Array64, axis: number): Array64 {
  return reshaped(x, x.shape.toSpliced(axis, 1));
}

interface Score {
  readonly scale: number;
  readonly cap: number;
  /** The score of no key, which takes its share; undefined: there is none. */
  readonly sink?: (head: number) => number | undefined;
  /** Added to the score of query i and key j; -Infinity: not seen. */
  readonly bias: (batch: number, head: number, i: number, j: number) => number;
}

/** [batch, queries, heads · width] of heads, each of the keys' for as many of the queries'. */
function attended(q: Array64, k: Array64, v: Array64, score: Score): Array64 {
  const [batch = 0, heads = 0, queries = 0, width = 0] = q.shape;
  const [, keyHeads = 1, keys = 0] = k.shape;
  const valueWidth = v.shape[3] ?? 0;
  const y = filled(q.dtype, [batch, heads, queries, valueWidth], () => 0);
  forEachIndex([batch, heads, queries], ([b = 0, h = 0, i = 0], row) => {
    const group = b * keyHeads + Math.floor((h * keyHeads) / heads);
    const scores = Array.from({ length: keys }, (_, j) => {
      let dot = 0;
      for (let d = 0; d < width; d++) {
        dot +=
          (q.values[row * width + d] ?? NaN) * (k.values[(group * keys + j) * width + d] ?? NaN);
      }
      const scaled = dot * score.scale;
      const capped = score.cap > 0 ? score.cap * Math.tanh(scaled / score.cap) : scaled;
      return capped + score.bias(b, h, i, j);
    });
    const sink = score.sink?.(h) ?? Number.NEGATIVE_INFINITY;
    const top = Math.max(sink, ...scores);
    const powers = scores.map((one) => Math.exp(one - top));
    const sum = powers.reduce((a, c) => a + c, Math.exp(sink - top));
    for (let d = 0; d < valueWidth; d++) {
      y.values[row * valueWidth + d] = powers.reduce(
        (total, p, j) => total + (p / sum) * (v.values[(group * keys + j) * valueWidth + d] ?? NaN),
        0,
      );
    }
  });
  return reshaped(transposed(y, [0, 2, 1, 3]), [batch, queries, heads * valueWidth]);
}

function scaleOf(call: Call, width: number): number {
  return floatAttribute(call.node, "scale", 0) || 1 / Math.sqrt(width);
}

/** What a mask of integers adds: a length for each example, or a number for each key, or for each query and key. */
function filter(call: Call, mask: Array64 | undefined): Score["bias"] {
  const value = floatAttribute(call.node, "mask_filter_value", -10000);
  const [, second = 0, third = 0] = mask?.shape ?? [];
  return (b, _head, i, j) => {
    if (mask === undefined) return 0;
    const kept = [
      false,
      j < (mask.values[b] ?? 0),
      (mask.values[b * second + j] ?? 0) > 0,
      (mask.values[(b * second + i) * third + j] ?? 0) > 0,
    ][mask.shape.length];
    return kept === true ? 0 : value;
  };
}

/** A bias of [batch or 1, heads or 1, queries, keys]. */
function added(bias: Array64 | undefined): Score["bias"] {
  const [batch = 1, heads = 1, queries = 1, keys = 1] = bias?.shape ?? [];
  return (b, h, i, j) => {
    if (bias === undefined) return 0;
    const at = ((batch === 1 ? 0 : b) * heads + (heads === 1 ? 0 : h)) * queries + i;
    return bias.values[at * keys + j] ?? NaN;
  };
}

function causal(call: Call, past: number): Score["bias"] {
  const on = intAttribute(call.node, "unidirectional", 0) !== 0;
  return (_b, _h, i, j) => (on && j > i + past ? Number.NEGATIVE_INFINITY : 0);
}

function all(...biases: readonly Score["bias"][]): Score["bias"] {
  return (b, h, i, j) => biases.reduce((sum, bias) => sum + bias(b, h, i, j), 0);
}

function behind(past: Array64 | undefined, now: Array64): Array64 {
  return past === undefined ? now : concatenated([past, now], 2);
}

function plus(x: Array64, bias: Array64 | undefined): Array64 {
  return bias === undefined ? x : joined([x, bias], (a = 0, b = 0) => a + b);
}

function attention(call: Call): Array64[] {
  const heads = intAttribute(call.node, "num_heads", 1);
  const [, , bias, mask, past, extra] = call.inputs;
  const whole = plus(product(operand(call, 0), operand(call, 1)), bias);
  const third = (whole.shape[2] ?? 0) / 3;
  const [a = third, b = third, c = third] = intsAttribute(call.node, "qkv_hidden_sizes") ?? [];
  const q = inHeads(part(whole, 2, 0, a), heads);
  const pasts = [0, 1].map((i) => past && without(part(past, 0, i, 1), 0));
  const k = behind(pasts[0], inHeads(part(whole, 2, a, b), heads));
  const v = behind(pasts[1], inHeads(part(whole, 2, a + b, c), heads));
  const y = attended(q, k, v, {
    scale: scaleOf(call, q.shape[3] ?? 1),
    cap: 0,
    bias: all(filter(call, mask), added(extra), causal(call, pasts[0]?.shape[2] ?? 0)),
  });
  const stacked = concatenated(
    [k, v].map((one) => reshaped(one, [1, ...one.shape])),
    0,
  );
  return [y, stacked];
}

/** Queries, keys and values, apart or packed in an axis of their own. */
function operandsOf(call: Call, heads: number): readonly [Array64, Array64, Array64] {
  const query = operand(call, 0);
  const [, key, value, bias] = call.inputs;
  const unpacked = (x: Array64, i: number): Array64 =>
    transposed(without(part(x, 3, i, 1), 3), [0, 2, 1, 3]);
  if (key === undefined) return [unpacked(query, 0), unpacked(query, 1), unpacked(query, 2)];
  if (value === undefined) return [inHeads(query, heads), unpacked(key, 0), unpacked(key, 1)];
  let from = 0;
  const [q = query, k = key, v = value] = [query, key, value].map((x) => {
    if (x.shape.length === 4) return x;
    const width = x.shape[2] ?? 0;
    const own = bias && part(bias, 0, from, width);
    from += width;
    return inHeads(plus(x, own), heads);
  });
  return [q, k, v];
}

function multiHead(call: Call): Array64[] {
  const heads = intAttribute(call.node, "num_heads", 1);
  const [, , , , mask, extra, pastKey, pastValue] = call.inputs;
  const [q, fresh, freshValue] = operandsOf(call, heads);
  const [k, v] = [behind(pastKey, fresh), behind(pastValue, freshValue)];
  const y = attended(q, k, v, {
    scale: scaleOf(call, q.shape[3] ?? 1),
    cap: 0,
    bias: all(filter(call, mask), added(extra), causal(call, pastKey?.shape[2] ?? 0)),
  });
  return [y, k, v];
}

/** Pairs turned by the angles of rows of two tables. */
function turned(
  x: Array64,
  tables: readonly [Array64, Array64],
  placeOf: (batch: number, t: number) => number,
  interleaved: boolean,
): Array64 {
  const [batch = 0, heads = 0, length = 0, width = 0] = x.shape;
  const half = tables[0].shape[1] ?? 0;
  const y = filled(x.dtype, x.shape, (i) => x.values[i] ?? NaN);
  forEachIndex([batch, heads, length, half], ([b = 0, h = 0, t = 0, pair = 0]) => {
    const [c = NaN, s = NaN] = tables.map((table) => table.values[placeOf(b, t) * half + pair]);
    const start = ((b * heads + h) * length + t) * width;
    const first = start + (interleaved ? 2 * pair : pair);
    const second = first + (interleaved ? 1 : half);
    const [real = NaN, imaginary = NaN] = [x.values[first], x.values[second]];
    y.values[first] = c * real - s * imaginary;
    y.values[second] = s * real + c * imaginary;
  });
  return y;
}

function grouped(call: Call): Array64[] {
  const [heads, keyHeads] = ["num_heads", "kv_num_heads"].map((name) =>
    intAttribute(call.node, name, 1),
  );
  const [h = 1, g = 1] = [heads, keyHeads];
  const [, key, value, pastKey, pastValue, , , cos, sin, ids, extra, sinks] = call.inputs;
  const smooth = intAttribute(call.node, "smooth_softmax", 0) === 1;
  const query = operand(call, 0);
  const width = (query.shape[2] ?? 0) / (h + 2 * g);
  const q = inHeads(key === undefined ? part(query, 2, 0, h * width) : query, h);
  const k = inHeads(key ?? part(query, 2, h * width, g * width), g);
  const v = inHeads(value ?? part(query, 2, (h + g) * width, g * width), g);
  const past = pastKey?.shape[2] ?? 0;
  const placeOf = (b: number, t: number): number =>
    ids?.values[b * (ids.shape[1] ?? 0) + t] ?? past + t;
  const turns = intAttribute(call.node, "do_rotary", 0) !== 0;
  const interleaved = intAttribute(call.node, "rotary_interleaved", 0) !== 0;
  const at = (x: Array64): Array64 =>
    turns && cos && sin ? turned(x, [cos, sin], placeOf, interleaved) : x;
  const window = intAttribute(call.node, "local_window_size", -1);
  const [keys, values] = [behind(pastKey, at(k)), behind(pastValue, v)];
  const seen: Score["bias"] = (_b, _h, i, j) =>
    j > i + past || (window >= 0 && i + past - j >= window) ? Number.NEGATIVE_INFINITY : 0;
  const y = attended(at(q), keys, values, {
    scale: scaleOf(call, q.shape[3] ?? 1),
    cap: floatAttribute(call.node, "softcap", 0),
    sink: (head) => sinks?.values[head] ?? (smooth ? 0 : undefined),
    bias: all(seen, added(extra)),
  });
  return [y, keys, values];
}

function rotary(call: Call): Array64[] {
  const [given, ids, cos, sin] = [0, 1, 2, 3].map((i) => operand(call, i));
  if (given === undefined || ids === undefined || cos === undefined || sin === undefined) return [];
  const flat = given.shape.length === 3;
  const heads =
    intAttribute(call.node, "num_heads", 0) || (given.shape[2] ?? 0) / (2 * (cos.shape[1] ?? 1));
  const x = flat ? inHeads(given, heads) : given;
  const placeOf = (b: number, t: number): number =>
    ids.shape.length === 1
      ? (ids.values[0] ?? 0) + t
      : (ids.values[b * (ids.shape[1] ?? 0) + t] ?? NaN);
  const y = turned(x, [cos, sin], placeOf, intAttribute(call.node, "interleaved", 0) !== 0);
  return [flat ? reshaped(transposed(y, [0, 2, 1, 3]), given.shape) : y];
}

/** All ops of this family. */
export const contribAttention: Kernels = {
  "com.microsoft/Attention": attention,
  "com.microsoft/MultiHeadAttention": multiHead,
  "com.microsoft/GroupQueryAttention": grouped,
  "com.microsoft/RotaryEmbedding": rotary,
};
