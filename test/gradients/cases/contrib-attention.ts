// Cases of attention as ONNX Runtime fuses it.

import type { Random } from "../../../src/base/random.ts";
import { float, int, ints } from "../../../src/graph/graph.ts";
import { bytesOf, int64, type Tensor, tensor } from "../../../src/graph/tensor.ts";
import {
  between,
  type CaseInput,
  constant,
  fed,
  type Generator,
  type Generators,
  omitted,
  turn,
  within,
  x,
} from "../case.ts";

const DOMAIN = "com.microsoft";

function int32(shape: readonly number[], values: readonly number[]): Tensor {
  return tensor("int32", shape, bytesOf(Int32Array.from(values)));
}

/** Integers of a mask, the first of each row 1. */
function mask(random: Random, shape: readonly number[]): Tensor {
  const width = shape.at(-1) ?? 1;
  const count = shape.reduce((a, b) => a * b, 1);
  return int32(
    shape,
    Array.from({ length: count }, (_, i) => (i % width === 0 ? 1 : random.integer(2))),
  );
}

const attention: Generator = (random, variant) => {
  const [batch, length, heads, width] = [
    between(random, 1, 2),
    between(random, 1, 3),
    between(random, 1, 2),
    between(random, 1, 3),
  ];
  const inputs = between(random, 1, 3);
  const hidden = heads * width;
  const past = variant % 4 === 3 ? between(random, 1, 2) : 0;
  const total = past + length;
  const kind = turn(variant, ["no mask", "lengths", "per key", "per query"] as const);
  const masks: Record<typeof kind, CaseInput> = {
    "no mask": omitted,
    lengths: fed(
      int32(
        [batch],
        Array.from({ length: batch }, () => between(random, 1, total)),
      ),
    ),
    "per key": fed(mask(random, [batch, total])),
    "per query": fed(mask(random, [batch, length, total])),
  };
  const causal = variant % 3 === 1;
  // The runtime does not take both.
  const biased = variant % 5 === 2 && past === 0;
  const other = variant % 7 === 6 && past === 0;
  const valueHidden = other ? heads * (width + 1) : hidden;
  return {
    op: "Attention",
    domain: DOMAIN,
    form: [
      kind,
      ...(causal ? ["causal"] : []),
      ...(past > 0 ? ["past"] : []),
      ...(biased ? ["bias of scores"] : []),
      ...(other ? ["wider values"] : []),
    ].join(", "),
    inputs: [
      x([batch, length, inputs]),
      x([inputs, 2 * hidden + valueHidden]),
      x([2 * hidden + valueHidden]),
      masks[kind],
      past > 0 ? x([2, batch, heads, past, width]) : omitted,
      ...(biased ? [x([batch, heads, length, total])] : []),
    ],
    attributes: {
      num_heads: int(heads),
      ...(causal && { unidirectional: int(1) }),
      ...(other && { qkv_hidden_sizes: ints([hidden, hidden, valueHidden]) }),
      ...(variant % 6 === 5 && { scale: float(0.5) }),
    },
    outputs: past > 0 ? 2 : 1,
  };
};

const multiHead: Generator = (random, variant) => {
  const [batch, heads, width] = [
    between(random, 1, 2),
    between(random, 1, 2),
    between(random, 1, 3),
  ];
  const [length, keys] = [between(random, 1, 3), between(random, 1, 3)];
  const form = turn(variant, [
    "flat",
    "packed keys",
    "packed",
    "heads",
    "flat, bias",
    "past",
  ] as const);
  const past = form === "past" ? 2 : 0;
  const own = form === "packed" ? length : keys;
  const total = past + own;
  const hidden = heads * width;
  const kind = turn(Math.floor(variant / 6), ["no mask", "per key", "lengths"] as const);
  const masks: Record<typeof kind, CaseInput> = {
    "no mask": omitted,
    "per key": fed(mask(random, [batch, total])),
    lengths: fed(
      int32(
        [batch],
        Array.from({ length: batch }, () => between(random, 1, total)),
      ),
    ),
  };
  const biased = variant % 4 === 3;
  const flat = [x([batch, length, hidden]), x([batch, keys, hidden]), x([batch, keys, hidden])];
  const operands: Record<typeof form, readonly CaseInput[]> = {
    flat,
    past: flat,
    "flat, bias": flat,
    "packed keys": [x([batch, length, hidden]), x([batch, keys, heads, 2, width]), omitted],
    packed: [x([batch, length, heads, 3, width]), omitted, omitted],
    heads: [
      x([batch, length, hidden]),
      x([batch, heads, keys, width]),
      x([batch, heads, keys, width]),
    ],
  };
  const pasts = past > 0 ? [x([batch, heads, past, width]), x([batch, heads, past, width])] : [];
  return {
    op: "MultiHeadAttention",
    domain: DOMAIN,
    form: [
      form,
      ...(kind === "no mask" ? [] : [`mask ${kind}`]),
      ...(biased ? ["bias of scores"] : []),
    ].join(", "),
    inputs: [
      ...operands[form],
      form === "flat, bias" ? x([3 * hidden]) : omitted,
      masks[kind],
      biased ? x([1, heads, length, total]) : omitted,
      ...pasts,
    ],
    attributes: {
      num_heads: int(heads),
      ...(variant % 5 === 4 && { scale: float(0.5) }),
      ...(variant % 7 === 5 && own === length && { unidirectional: int(1) }),
    },
    outputs: past > 0 ? 3 : 1,
    // On the CPU the runtime has no kernel for packed ones.
    ...(form.startsWith("packed") && { noKernel: true }),
  };
};

/** Tables of angles for places up to 8. */
function tables(half: number): readonly CaseInput[] {
  return [x([8, half], within(-1, 1)), x([8, half], within(-1, 1))];
}

const grouped: Generator = (random, variant) => {
  const keyHeads = between(random, 1, 2);
  const heads = keyHeads * turn(variant, [1, 2] as const);
  const length = between(random, 1, 3);
  // The runtime turns heads of widths that are whole numbers of 16 alone.
  const width = 16;
  const past = variant % 3 === 2 ? 2 : 0;
  // Behind a past it takes several queries of one example alone.
  const batch = past > 0 ? 1 : between(random, 1, 2);
  const packed = variant % 4 === 1;
  const turns = variant % 2 === 1;
  const window = variant % 5 === 4;
  const total = past + length;
  const last = constant(int32([batch], new Array<number>(batch).fill(total - 1)));
  const cap = variant % 6 === 3;
  const biased = variant % 9 === 4;
  const sunk = variant % 7 === 5;
  const smooth = variant % 7 === 3;
  const pasts = [x([batch, keyHeads, past, width]), x([batch, keyHeads, past, width])];
  return {
    op: "GroupQueryAttention",
    domain: DOMAIN,
    form: [
      packed ? "packed" : "apart",
      ...(turns ? ["rotary"] : []),
      ...(past > 0 ? ["past"] : []),
      ...(window ? ["window"] : []),
      ...(cap ? ["softcap"] : []),
      ...(biased ? ["bias of scores"] : []),
      ...(sunk ? ["sinks"] : []),
      ...(smooth ? ["smooth"] : []),
    ].join(", "),
    inputs: [
      x([batch, length, (packed ? heads + 2 * keyHeads : heads) * width]),
      ...(packed
        ? [omitted, omitted]
        : [x([batch, length, keyHeads * width]), x([batch, length, keyHeads * width])]),
      ...(past > 0 ? pasts : [omitted, omitted]),
      last,
      constant(int32([], [total])),
      ...(turns ? tables(width / 2) : [omitted, omitted]),
      omitted,
      biased ? x([1, heads, length, total]) : omitted,
      ...(sunk ? [x([heads])] : []),
    ],
    attributes: {
      num_heads: int(heads),
      kv_num_heads: int(keyHeads),
      ...(turns && { do_rotary: int(1) }),
      ...(turns && variant % 8 === 7 && { rotary_interleaved: int(1) }),
      ...(window && { local_window_size: int(2) }),
      ...(cap && { softcap: float(2) }),
      ...(smooth && { smooth_softmax: int(1) }),
    },
    outputs: 3,
  };
};

const rotary: Generator = (random, variant) => {
  const [batch, heads, length, half] = [
    between(random, 1, 2),
    between(random, 1, 3),
    between(random, 1, 3),
    between(random, 1, 3),
  ];
  const flat = variant % 2 === 0;
  const one = variant % 3 === 0;
  const width = 2 * half;
  const places = one
    ? [between(random, 0, 3)]
    : Array.from({ length: batch * length }, () => random.integer(8));
  const interleaved = Math.floor(variant / 2) % 2 === 1;
  return {
    op: "RotaryEmbedding",
    domain: DOMAIN,
    form: [
      flat ? "flat" : "heads",
      one ? "from a place on" : "places",
      ...(interleaved ? ["interleaved"] : []),
    ].join(", "),
    inputs: [
      x(flat ? [batch, length, heads * width] : [batch, heads, length, width]),
      fed(int64(one ? [1] : [batch, length], places)),
      ...tables(half),
    ],
    attributes: { ...(interleaved && { interleaved: int(1) }) },
  };
};

/** All of this family. */
export const contribAttentions: Generators = {
  "com.microsoft/Attention": attention,
  "com.microsoft/MultiHeadAttention": multiHead,
  "com.microsoft/GroupQueryAttention": grouped,
  "com.microsoft/RotaryEmbedding": rotary,
};
