// Attention with several heads, in plain ONNX: projections, softmax(q·kᵀ / √D) · v head by head, a last
// projection. N is the batch, S the length of the queries, T that of the keys, C the width.

import { int, ints, type ValueName } from "../../graph/graph.ts";
import { formatShape, UNKNOWN_DIM } from "../../graph/shape.ts";
import { float32 } from "../../graph/tensor.ts";
import type { Init } from "../init.ts";
import { type Layer, layer, named } from "../layer.ts";
import type { Net } from "../net.ts";
import { dense } from "./dense.ts";
import { dropout } from "./dropout.ts";
import {
  causalMask,
  type RelativeBiasOptions,
  type RotaryOptions,
  relativeBias,
  rotate,
} from "./positions.ts";
import { integerList, positive } from "./shared.ts";

/** What a masked score becomes: the least float32, behind which a softmax gives exactly 0. */
const MASKED = -3.4028234663852886e38;

const FLOAT = 1;

/** Options that both kinds of attention have. */
interface AttentionBase {
  /** Number of heads of the queries. */
  readonly heads: number;
  /**
   * Heads of the keys and values; each serves `heads / keyHeads` heads of the queries (Ainslie et al. 2023;
   * 1 is multi-query attention, Shazeer 2019). Default `heads`.
   */
  readonly keyHeads?: number;
  /** Width of one head. Default `C / heads`. */
  readonly headSize?: number;
  /**
   * Name of a further input of the network, int64 `[N, T]`: 1 where a key may be read, 0 where it is
   * padding.
   */
  readonly mask?: string;
  /** A bias in all four projections, or only in those. Default all. */
  readonly bias?: boolean | { readonly input: boolean; readonly output: boolean };
  /** How weights start: all alike, or by name. Default `xavier`. */
  readonly init?: Init | Readonly<Partial<Record<"query" | "key" | "value" | "out", Init>>>;
  /** What scores are multiplied by. Default `1 / √headSize`; T5 has 1. */
  readonly scale?: number;
  /** Share of the attention weights that is dropped in training. Default 0. */
  readonly dropout?: number;
}

/** Attention of a sequence to itself. */
export interface SelfAttentionOptions extends AttentionBase {
  /** Whether no place reads what comes later. Default false. */
  readonly causal?: boolean;
  /** Turns queries and keys by their positions. */
  readonly rotary?: boolean | RotaryOptions;
  /** Shifts scores by the distance of query and key, as in T5. */
  readonly relativeBias?: boolean | Partial<RelativeBiasOptions>;
  readonly memory?: never;
}

/** Attention to another value: order and distance mean nothing between two sequences. */
export interface CrossAttentionOptions extends AttentionBase {
  /** What keys and values are made from, `[N, T, C']`. */
  readonly memory: ValueName;
  readonly causal?: never;
  readonly rotary?: never;
  readonly relativeBias?: never;
}

/** Options of attention. */
export type AttentionOptions = SelfAttentionOptions | CrossAttentionOptions;

/**
 * Attention with several heads (Vaswani et al. 2017, section 3.2), `[N, S, C]` → `[N, S, C]`. S may be a
 * symbol. Weights: `query`, `key`, `value` and `out`, each a dense layer.
 *
 * @example
 * nn.attention({ heads: 12, causal: true })
 * @example
 * nn.attention({ heads: 32, keyHeads: 8, rotary: true, causal: true, bias: false }) // LLaMA 3
 * @example
 * nn.layer("decoder", (net, x) => net.inside(nn.attention({ heads: 8, memory: net.input("memory", ["N", "T", 512]) }), x))
 */
export function attention(options: AttentionOptions): Layer {
  return layer("attention", (net, x) => {
    const sizes = sizesOf(net, x, options);
    const { groups, headSize } = sizes;
    const source = options.memory ?? x;
    const { input, output } = biasOf(options.bias);
    const init = initOf(options.init);
    const project = (name: "query" | "key" | "value", heads: number, from: ValueName): ValueName =>
      net.inside(named(name, dense(heads * headSize, { bias: input, init: init(name) })), from);
    const apart = (value: ValueName, perGroup: number, transposed = false): ValueName =>
      takeApart(net, value, { ...sizes, groups: groups === 1 ? undefined : perGroup, transposed });

    const turned = rotaryOf(options);
    let q = apart(project("query", options.heads, x), groups);
    let k = apart(project("key", sizes.keyHeads, source), 1, turned === undefined);
    const v = apart(project("value", sizes.keyHeads, source), 1);
    if (turned !== undefined) {
      const rotary = layer("rotary", (inner, heads) => rotate(inner, heads, x, turned));
      q = net.inside(rotary, q);
      k = swapLast(net, net.inside(rotary, k));
    }
    const scores = net.emit("Div", [
      net.emit("MatMul", [q, k], { name: "scores" }),
      net.constant(float32([], [1 / (options.scale ?? 1 / Math.sqrt(headSize))]), "divisor"),
    ]);
    const kept = masked(net, biased(net, scores, { x, sizes, options }), { x, source, options });
    const weights = net.emit("Softmax", [kept], { attributes: { axis: int(-1) } });
    const some = options.dropout ? net.inside(dropout(options.dropout), weights) : weights;
    const mixed = putTogether(net, net.emit("MatMul", [some, v], { name: "mixed" }), sizes);
    const last = dense(net.size(x, -1), { bias: output, init: init("out") });
    return net.inside(named("out", last), mixed);
  });
}

/** How each of several weights starts, told for all at once or by name. */
export function initOf<Name extends string>(
  given: Init | Readonly<Partial<Record<Name, Init>>> = "xavier",
): (name: Name) => Init {
  if (isInit(given)) return () => given;
  return (name) => given[name] ?? "xavier";
}

function isInit(given: object | Init): given is Init {
  return typeof given !== "object" || "name" in given;
}

interface Sizes {
  readonly keyHeads: number;
  /** Heads of queries for each head of keys. */
  readonly groups: number;
  readonly headSize: number;
}

function sizesOf(net: Net, x: ValueName, options: AttentionOptions): Sizes {
  for (const value of [x, options.memory ?? x]) {
    if (net.shape(value).length === 3) continue;
    net.fail(
      "nn/rank",
      `attention takes [N,S,C], it got ${formatShape(net.shape(value))}`,
      "Make an image a sequence first: nn.patches(size, width), or reshape and transpose.",
    );
  }
  const width = net.size(x, -1);
  const { heads, keyHeads = heads, headSize = width / heads } = options;
  positive(net, "the number of heads", heads);
  positive(net, "the number of heads of keys", keyHeads);
  if (!Number.isInteger(headSize)) {
    net.fail(
      "nn/attention",
      `a width of ${width} does not divide among ${heads} heads`,
      "Choose a number of heads that divides the width, or give headSize.",
    );
  }
  if (!Number.isInteger(heads / keyHeads)) {
    net.fail(
      "nn/attention",
      `${heads} heads of queries cannot share ${keyHeads} heads of keys evenly`,
      "Choose keyHeads that divide heads.",
    );
  }
  return { keyHeads, groups: heads / keyHeads, headSize };
}

function biasOf(bias: AttentionOptions["bias"] = true): { input: boolean; output: boolean } {
  return typeof bias === "boolean" ? { input: bias, output: bias } : bias;
}

function rotaryOf({ rotary = false }: AttentionOptions): RotaryOptions | undefined {
  if (rotary === false) return undefined;
  return rotary === true ? {} : rotary;
}

/**
 * `[N, S, heads·D]` → `[N, heads, S, D]`. Grouped heads have an axis of their own, `[N, keyHeads, groups, S,
 * D]`, over which those of the keys are broadcast: nothing is repeated in memory. `transposed` gives
 * `[…, D, S]`.
 */
function takeApart(
  net: Net,
  value: ValueName,
  how: Omit<Sizes, "groups"> & { groups: number | undefined; transposed: boolean },
): ValueName {
  const { keyHeads, groups, headSize, transposed } = how;
  const heads = groups === undefined ? [keyHeads] : [keyHeads, groups];
  const target = [0, 0, ...heads, headSize];
  const split = net.emit("Reshape", [value, integerList(net, target)]);
  const last = target.length - 1;
  const perm = [0, ...heads.map((_, i) => i + 2), ...(transposed ? [last, 1] : [1, last])];
  return net.emit("Transpose", [split], { attributes: { perm: ints(perm) } });
}

/** The heads side by side again, `[N, S, heads·D]`. */
function putTogether(net: Net, value: ValueName, { keyHeads, groups, headSize }: Sizes): ValueName {
  const perm = groups === 1 ? [0, 2, 1, 3] : [0, 3, 1, 2, 4];
  const rows = net.emit("Transpose", [value], { attributes: { perm: ints(perm) } });
  const target = [0, 0, keyHeads * groups * headSize];
  return net.emit("Reshape", [rows, integerList(net, target)]);
}

function swapLast(net: Net, value: ValueName): ValueName {
  const rank = net.shape(value).length;
  const perm = [...Array.from({ length: rank - 2 }, (_, i) => i), rank - 1, rank - 2];
  return net.emit("Transpose", [value], { attributes: { perm: ints(perm) } });
}

function biased(
  net: Net,
  scores: ValueName,
  { x, sizes, options }: { x: ValueName; sizes: Sizes; options: AttentionOptions },
): ValueName {
  const { relativeBias: relative = false, causal = false } = options;
  if (relative === false) return scores;
  const { keyHeads, groups } = sizes;
  const heads = groups === 1 ? [keyHeads] : [keyHeads, groups];
  const given = relative === true ? {} : relative;
  const part = layer("relative_bias", (inner, queries) =>
    relativeBias(inner, { queries, keys: queries, heads }, { bidirectional: !causal, ...given }),
  );
  return net.emit("Add", [scores, net.inside(part, x)]);
}

/** Padding is masked by a sum, as ONNX Runtime's fusion of attention knows it; the future by a choice. */
function masked(
  net: Net,
  scores: ValueName,
  where: { x: ValueName; source: ValueName; options: AttentionOptions },
): ValueName {
  const { x, source, options } = where;
  const open =
    options.mask === undefined
      ? scores
      : net.emit("Add", [scores, paddingMask(net, { scores, source, name: options.mask })]);
  if (options.causal !== true) return open;
  const least = net.constant(float32([], [MASKED]), "masked");
  return net.emit("Where", [causalMask(net, x), open, least]);
}

/** 0 for keys that may be read and the least number for others, `[N, 1, 1, T]` beside the scores. */
function paddingMask(
  net: Net,
  { scores, source, name }: { scores: ValueName; source: ValueName; name: string },
): ValueName {
  const length = net.shape(source)[1] ?? UNKNOWN_DIM;
  const given = net.input(name, ["N", length === UNKNOWN_DIM ? "T" : length], "int64");
  const middle = net.shape(scores).length - 2;
  return net.once(`${name}.bias${middle}`, (root) => {
    const axes = Array.from({ length: middle }, (_, i) => i + 1);
    const raised = root.emit("Unsqueeze", [given, integerList(root, axes)]);
    const keep = root.emit("Cast", [raised], { attributes: { to: int(FLOAT) } });
    const drop = root.emit("Sub", [root.constant(float32([], [1]), "one"), keep]);
    return root.emit("Mul", [drop, root.constant(float32([], [MASKED]), "masked")]);
  });
}
