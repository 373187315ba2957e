// Attention and rotary embeddings, by their definition: one score at a time.

import { floatAttribute, intAttribute } from "../../src/graph/graph.ts";
import {
  type Array64,
  filled,
  flatten,
  forEachIndex,
  reshaped,
  stridesOf,
  transposed,
} from "./array.ts";
import { type Call, type Kernels, operand } from "./kernel.ts";
import { concatenated } from "./movement.ts";

/** [batch, heads, length, width] from that or from [batch, length, heads · width]. */
function inHeads(x: Array64, heads: number): Array64 {
  if (x.shape.length === 4) return x;
  const [batch = 0, length = 0, hidden = 0] = x.shape;
  return transposed(reshaped(x, [batch, length, heads, hidden / heads]), [0, 2, 1, 3]);
}

/** What is added to the score of query i and key j; -Infinity: the key is not seen. */
type Bias = (batch: number, head: number, i: number, j: number) => number;

function biasOf(call: Call, queries: number, past: number): Bias {
  const [, , , mask, , , lengths] = call.inputs;
  const causal = intAttribute(call.node, "is_causal", 0) !== 0;
  const left = intAttribute(call.node, "left_window_size", -1);
  const right = intAttribute(call.node, "right_window_size", -1);
  const width = mask?.shape.at(-1) ?? 0;
  const strides = mask === undefined ? [] : stridesOf(mask.shape);
  return (b, h, i, j) => {
    const valid = lengths?.values[b];
    const position = i + (past > 0 || valid === undefined ? past : valid - queries);
    const hidden =
      (causal && j > position) ||
      (left >= 0 && position - j > left) ||
      (right >= 0 && j - position > right) ||
      (valid !== undefined && j >= valid) ||
      (mask !== undefined && j >= width);
    if (hidden) return Number.NEGATIVE_INFINITY;
    if (mask === undefined) return 0;
    const index = [b, h, i, j].slice(4 - mask.shape.length);
    const own = index.map((at, axis) => (mask.shape[axis] === 1 ? 0 : at));
    const value = mask.values[flatten(own, strides)] ?? Number.NaN;
    if (mask.dtype === "bool") return value !== 0 ? 0 : Number.NEGATIVE_INFINITY;
    return value;
  };
}

/** Softmax of scores; nothing but zeros where no key is seen. */
function shares(scores: readonly number[], biases: readonly number[]): number[] {
  if (biases.every((bias) => bias === Number.NEGATIVE_INFINITY)) return scores.map(() => 0);
  const top = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

function attention(call: Call): Array64[] {
  const heads = (name: string): number => intAttribute(call.node, name, 1);
  const q = inHeads(operand(call, 0), heads("q_num_heads"));
  const fresh = [1, 2].map((i) => inHeads(operand(call, i), heads("kv_num_heads")));
  const [, , , , ...pasts] = call.inputs;
  const [k = q, v = q] = fresh.map((now, i) => {
    const before = pasts[i];
    return before === undefined ? now : concatenated([before, now], 2);
  });
  const [batch = 0, queryHeads = 0, queries = 0, width = 0] = q.shape;
  const [, keyHeads = 1, keys = 0] = k.shape;
  const valueWidth = v.shape[3] ?? 0;
  const scale = floatAttribute(call.node, "scale", 1 / Math.sqrt(width));
  const cap = floatAttribute(call.node, "softcap", 0);
  const mode = intAttribute(call.node, "qk_matmul_output_mode", 0);
  const bias = biasOf(call, queries, pasts[0]?.shape[2] ?? 0);
  const y = filled(q.dtype, [batch, queryHeads, queries, valueWidth], () => 0);
  const shown = filled(q.dtype, [batch, queryHeads, queries, keys], () => 0);
  forEachIndex([batch, queryHeads, queries], ([b = 0, h = 0, i = 0], row) => {
    const group = b * keyHeads + Math.floor(h / (queryHeads / keyHeads));
    const at = (x: Array64, start: number, d: number): number => x.values[start + d] ?? Number.NaN;
    const raw = Array.from({ length: keys }, (_, j) => {
      let dot = 0;
      for (let d = 0; d < width; d++) {
        dot += at(q, row * width, d) * at(k, (group * keys + j) * width, d);
      }
      return dot * scale;
    });
    const capped = cap > 0 ? raw.map((score) => cap * Math.tanh(score / cap)) : raw;
    const biases = capped.map((_, j) => bias(b, h, i, j));
    const biased = capped.map((score, j) => score + (biases[j] ?? 0));
    const share = shares(biased, biases);
    shown.values.set([raw, capped, biased, share][mode] ?? raw, row * keys);
    for (let d = 0; d < valueWidth; d++) {
      y.values[row * valueWidth + d] = share.reduce(
        // A key that is not seen adds nothing, whatever it holds.
        (sum, p, j) => (p === 0 ? sum : sum + p * at(v, (group * keys + j) * valueWidth, d)),
        0,
      );
    }
  });
  const flat = operand(call, 0).shape.length === 3;
  const out = flat
    ? reshaped(transposed(y, [0, 2, 1, 3]), [batch, queries, queryHeads * valueWidth])
    : y;
  return [out, k, v, shown];
}

/** Pairs of elements turned by an angle of their position (Su et al. 2021, equation 34). */
function rotary(call: Call): Array64[] {
  const given = operand(call, 0);
  const x = inHeads(given, intAttribute(call.node, "num_heads", 1));
  const [cos, sin] = [operand(call, 1), operand(call, 2)];
  const positions = call.inputs[3];
  const [batch = 0, heads = 0, length = 0, width = 0] = x.shape;
  const turned = intAttribute(call.node, "rotary_embedding_dim", 0) || width;
  const interleaved = intAttribute(call.node, "interleaved", 0) !== 0;
  const half = turned / 2;
  const y = filled(x.dtype, x.shape, (i) => x.values[i] ?? Number.NaN);
  forEachIndex([batch, heads, length, half], ([b = 0, h = 0, t = 0, pair = 0]) => {
    const row = positions === undefined ? b * length + t : (positions.values[b * length + t] ?? 0);
    const [c, s] = [cos, sin].map((table) => table.values[row * half + pair] ?? Number.NaN);
    const start = ((b * heads + h) * length + t) * width;
    const first = start + (interleaved ? 2 * pair : pair);
    const second = interleaved ? first + 1 : first + half;
    const [real, imaginary] = [x.values[first] ?? 0, x.values[second] ?? 0];
    y.values[first] = (c ?? 0) * real - (s ?? 0) * imaginary;
    y.values[second] = (s ?? 0) * real + (c ?? 0) * imaginary;
  });
  return [given.shape.length === 4 ? y : reshaped(transposed(y, [0, 2, 1, 3]), given.shape)];
}

/** All ops of this family. */
export const attentions: Kernels = { Attention: attention, RotaryEmbedding: rotary };
