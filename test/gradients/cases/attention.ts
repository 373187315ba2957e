// Cases of attention and rotary embeddings.

import type { Random } from "../../../src/base/random.ts";
import { type Attribute, float, int } from "../../../src/graph/graph.ts";
import { bytesOf, float32, int64, type Tensor, tensor } from "../../../src/graph/tensor.ts";
import {
  between,
  type CaseInput,
  fed,
  type Generator,
  type Generators,
  omitted,
  turn,
  within,
  x,
} from "../case.ts";

function product(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

/** Truth values of which the first of each row holds, so that every query sees a key, unless `blind`. */
function truth(random: Random, shape: readonly number[], blind: boolean): Tensor {
  const width = shape.at(-1) ?? 1;
  const values = Array.from({ length: product(shape) }, (_, i) => {
    if (blind && i < width) return 0;
    return i % width === 0 || random.integer(2) === 0 ? 1 : 0;
  });
  return tensor("bool", shape, bytesOf(Uint8Array.from(values)));
}

interface Sizes {
  readonly batch: number;
  readonly heads: number;
  readonly queries: number;
  readonly keys: number;
}

const MASKS = ["none", "bool", "added", "learned", "per key", "blind row"] as const;

function maskOf(random: Random, form: (typeof MASKS)[number], sizes: Sizes): CaseInput {
  const { batch, heads, queries, keys } = sizes;
  switch (form) {
    case "none":
      return omitted;
    case "bool":
      return fed(truth(random, [batch, 1, queries, keys], false));
    case "blind row":
      return fed(truth(random, [queries, keys], true));
    case "per key":
      return fed(truth(random, [batch, 1, 1, keys], false));
    case "learned":
      return x([heads, queries, keys]);
    case "added": {
      const values = Array.from({ length: queries * keys }, (_, i) =>
        i % keys > 0 && random.integer(3) === 0 ? Number.NEGATIVE_INFINITY : random.normal(),
      );
      return fed(float32([queries, keys], values));
    }
  }
}

/** So many keys of each example are none of padding: at least one, as queries stand at the end of them. */
function lengthsOf(random: Random, batch: number, queries: number, keys: number): Tensor {
  const least = Math.min(queries, keys);
  return int64(
    [batch],
    Array.from({ length: batch }, () => between(random, least, keys)),
  );
}

const attention: Generator = (random, variant) => {
  const flat = variant % 2 === 1;
  const keyHeads = between(random, 1, 2);
  const heads = keyHeads * turn(variant, [1, 2, 3] as const);
  const [batch, width, valueWidth] = [
    between(random, 1, 2),
    between(random, 1, 3),
    between(random, 1, 3),
  ];
  const [queries, fresh] = [between(random, 1, 3), between(random, 1, 3)];
  const past = variant % 5 === 3 ? between(random, 1, 2) : 0;
  const keys = past + fresh;
  const mask = turn(Math.floor(variant / 2), MASKS);
  const causal = variant % 3 === 2;
  const told = variant % 7 === 4;
  const mode = turn(Math.floor(variant / 7), [0, 1, 2, 3] as const);
  const cap = variant % 4 === 1;
  // What is not seen is -∞ in the scores that are told, and no loss can be made of that.
  const finite = mode !== 2 || (!causal && (mask === "none" || mask === "learned"));
  const outputs = told && finite ? 4 : past > 0 ? 3 : 1;
  const opset = turn(variant, [23, 24, 25] as const);
  const padded = opset > 23 && past === 0 && outputs === 1 && variant % 4 < 2;
  const windowed = opset === 25 && variant % 2 === 0;
  const operand = (count: number, length: number, each: number): CaseInput =>
    x(flat ? [batch, length, count * each] : [batch, count, length, each]);
  const pasts = [width, valueWidth].map((each) => x([batch, keyHeads, past, each]));
  const attributes: Record<string, Attribute> = {
    ...(flat && { q_num_heads: int(heads), kv_num_heads: int(keyHeads) }),
    ...(causal && { is_causal: int(1) }),
    ...(cap && { softcap: float(2) }),
    ...(variant % 4 === 3 && { scale: float(0.5) }),
    ...(told && finite && { qk_matmul_output_mode: int(mode) }),
    ...(windowed && { left_window_size: int(1), right_window_size: int(variant % 4) }),
  };
  const form = [
    flat ? "flat" : "heads",
    ...(heads > keyHeads ? ["grouped"] : []),
    ...(mask === "none" ? [] : [`mask ${mask}`]),
    ...(causal ? ["causal"] : []),
    ...(cap ? ["softcap"] : []),
    ...(past > 0 ? ["past"] : []),
    ...(padded ? ["padding"] : []),
    ...(windowed ? ["window"] : []),
    ...(outputs === 4 ? [`scores ${mode}`] : []),
  ];
  return {
    op: "Attention",
    form: form.join(", "),
    opset,
    inputs: [
      operand(heads, queries, width),
      operand(keyHeads, fresh, width),
      operand(keyHeads, fresh, valueWidth),
      maskOf(random, mask, { batch, heads, queries, keys }),
      ...(past > 0 ? pasts : []),
      ...(padded ? [omitted, omitted, fed(lengthsOf(random, batch, queries, keys))] : []),
    ],
    attributes,
    outputs,
    // The runtime takes no mask of one row for all queries, and knows no windows.
    ...((mask === "per key" || windowed) && { noKernel: true }),
  };
};

const rotary: Generator = (random, variant) => {
  const flat = variant % 2 === 1;
  const [batch, heads, length] = [
    between(random, 1, 2),
    between(random, 1, 3),
    between(random, 1, 3),
  ];
  const half = between(random, 1, 3);
  const partial = variant % 3 === 1;
  const width = 2 * half + (partial ? 2 : 0);
  const placed = variant % 4 < 2;
  const rows = 5;
  const table = placed ? [rows, half] : [batch, length, half];
  const positions = Array.from({ length: batch * length }, () => random.integer(rows));
  const interleaved = Math.floor(variant / 4) % 2 === 1;
  return {
    op: "RotaryEmbedding",
    form: [
      flat ? "flat" : "heads",
      ...(partial ? ["partial"] : []),
      ...(placed ? ["positions"] : []),
      ...(interleaved ? ["interleaved"] : []),
    ].join(", "),
    opset: 23,
    inputs: [
      x(flat ? [batch, length, heads * width] : [batch, heads, length, width]),
      x(table, within(-1, 1)),
      x(table, within(-1, 1)),
      ...(placed ? [fed(int64([batch, length], positions))] : []),
    ],
    attributes: {
      ...(flat && { num_heads: int(heads) }),
      ...(partial && { rotary_embedding_dim: int(2 * half) }),
      ...(interleaved && { interleaved: int(1) }),
    },
  };
};

/** All of this family. */
export const attentions: Generators = { Attention: attention, RotaryEmbedding: rotary };
