// What attention knows of places in a sequence: positions learned as a table, turned into queries and keys
// (rotary), or told by distance (relative bias). The length may be a symbol: all is computed from the shape.

import { int, type ValueName } from "../../graph/graph.ts";
import { type Dim, UNKNOWN_DIM } from "../../graph/shape.ts";
import { float32, int64 } from "../../graph/tensor.ts";
import type { Init } from "../init.ts";
import { type Layer, layer } from "../layer.ts";
import type { Net } from "../net.ts";
import { integerList, positive } from "./shared.ts";

const FLOAT = 1;

/** 0, 1, …, length - 1 of axis 1 of `x`, int64 `[length]`; made once for all values of one length. */
export function positionsOf(net: Net, x: ValueName): ValueName {
  return net.once(`positions.${lengthKey(net, x)}`, (root) => {
    const size = root.emit("Shape", [x], { attributes: { start: int(1), end: int(2) } });
    const count = root.emit("Squeeze", [size]);
    return root.emit("Range", [
      root.constant(int64([], [0]), "zero"),
      count,
      root.constant(int64([], [1]), "one"),
    ]);
  });
}

/** Sizes of one name are equal; of an unknown size only the same value has the same. */
function lengthKey(net: Net, x: ValueName): Dim {
  const length = net.shape(x)[1] ?? UNKNOWN_DIM;
  return length === UNKNOWN_DIM ? x : length;
}

/**
 * Key position minus query position, int64 `[S, T]`: below zero what came before. `queries` and `keys` have
 * their length on axis 1.
 */
function distances(net: Net, queries: ValueName, keys: ValueName): ValueName {
  const name = `distance.${lengthKey(net, queries)}.${lengthKey(net, keys)}`;
  return net.once(name, (root) => {
    const rows = root.emit("Unsqueeze", [positionsOf(root, queries), integerList(root, [1])]);
    const columns = root.emit("Unsqueeze", [positionsOf(root, keys), integerList(root, [0])]);
    return root.emit("Sub", [columns, rows]);
  });
}

/** Whether a query may read a key when none may read what comes later: bool `[S, S]`. */
export function causalMask(net: Net, x: ValueName): ValueName {
  return net.once(`causal.${lengthKey(net, x)}`, (root) =>
    root.emit("LessOrEqual", [distances(root, x, x), root.constant(int64([], [0]), "zero")]),
  );
}

/** Options of a table of positions. */
export interface PositionOptions {
  /** Default: normal with deviation 0.02. */
  readonly init?: Init;
}

/**
 * Adds a learned vector to each place of a sequence, `[N, S, C]` → same, table `[count, C]` (Vaswani et al.
 * 2017, section 3.5; Devlin et al. 2019). S is at most `count`.
 *
 * @example
 * nn.sequential(nn.embedding(50257, 768), nn.positions(1024))
 */
export function positions(count: number, options: PositionOptions = {}): Layer {
  const { init = { name: "normal", deviation: 0.02 } } = options;
  return layer("positions", (net, x) => {
    const length = net.shape(x)[1];
    if (typeof length === "number" && length > count) {
      net.fail(
        "nn/positions",
        `the sequence is ${length} long, the table has ${count} positions`,
        `Use nn.positions(${length}), or a shorter sequence.`,
      );
    }
    const table = net.weight("weight", [count, net.size(x, -1)], init);
    const rows =
      length === count ? table : net.emit("Gather", [table, positionsOf(net, x)], { name: "rows" });
    return net.emit("Add", [x, rows]);
  });
}

/** How queries and keys are turned by their positions. */
export interface RotaryOptions {
  /** The slowest wave is about 2π·base long. Default 10,000. */
  readonly base?: number;
  /**
   * Which elements make a pair: `false` the two halves, i and i + size/2 (LLaMA, GPT-NeoX), `true`
   * neighbours, 2i and 2i + 1 (Su et al. 2021; GPT-J). Default false.
   */
  readonly interleaved?: boolean;
  /** How many elements of each head are turned, from the first; an even number. Default all. */
  readonly size?: number;
}

/**
 * Rotary position embedding (Su et al. 2021, equation 34): pair i at position p is turned by the angle
 * p·base^(-2i/size), so that a product of query and key depends on their distance alone. `heads` is
 * `[…, S, D]`; the positions are those of axis 1 of `x`.
 */
export function rotate(
  net: Net,
  heads: ValueName,
  x: ValueName,
  options: RotaryOptions = {},
): ValueName {
  const width = net.size(heads, -1);
  const { size = width, interleaved = false, base = 10_000 } = options;
  if (!(base > 0)) {
    net.fail("nn/rotary", `the base of rotary positions is ${base}`, "Give a base above zero.");
  }
  if (size % 2 !== 0 || size < 2 || size > width) {
    net.fail(
      "nn/rotary",
      `rotary positions turn pairs, they cannot turn ${size} of ${width} elements of a head`,
      `Give rotary.size an even number up to ${width}.`,
    );
  }
  const turn = interleaved ? turnPairs : turnHalves;
  const waves = { x, base, size, interleaved };
  const [cos, sin] = [wave(net, "Cos", waves), wave(net, "Sin", waves)];
  if (size === width) return turn(net, heads, cos, sin);
  const [turned = "", rest = ""] = net.emitAll(
    "Split",
    [heads, integerList(net, [size, width - size])],
    { attributes: { axis: int(-1) }, outputCount: 2 },
  );
  return lastConcat(net, turn(net, turned, cos, sin), rest);
}

interface Waves {
  readonly x: ValueName;
  readonly base: number;
  readonly size: number;
  readonly interleaved: boolean;
}

/** cos or sin of all angles: `[S, size / 2]`, interleaved `[S, size]` with each angle twice. */
function wave(net: Net, op: "Cos" | "Sin", waves: Waves): ValueName {
  const { x, base, size, interleaved } = waves;
  const style = interleaved ? "pairs" : "halves";
  const name = `rotary.${style}.${size}.${base}.${lengthKey(net, x)}`;
  return net.once(`${name}.${op.toLowerCase()}`, (root) => {
    const angles = root.once(name, (inner) => {
      const place = inner.emit("Cast", [positionsOf(inner, x)], {
        attributes: { to: int(FLOAT) },
      });
      const column = inner.emit("Unsqueeze", [place, integerList(inner, [1])]);
      const count = interleaved ? size : size / 2;
      const speeds = Float32Array.from({ length: count }, (_, i) =>
        speed(base, interleaved ? Math.floor(i / 2) : i, size),
      );
      return inner.emit("Mul", [column, inner.constant(float32([1, count], speeds), "speeds")]);
    });
    return root.emit(op, [angles]);
  });
}

function speed(base: number, pair: number, size: number): number {
  return base ** ((-2 * pair) / size);
}

/** (a, b) → (a·cos - b·sin, b·cos + a·sin), where a and b are the halves of the last axis. */
function turnHalves(net: Net, x: ValueName, cos: ValueName, sin: ValueName): ValueName {
  const [a = "", b = ""] = net.emitAll("Split", [x], {
    attributes: { axis: int(-1), num_outputs: int(2) },
    outputCount: 2,
  });
  const left = net.emit("Sub", [net.emit("Mul", [a, cos]), net.emit("Mul", [b, sin])]);
  const right = net.emit("Add", [net.emit("Mul", [b, cos]), net.emit("Mul", [a, sin])]);
  return lastConcat(net, left, right);
}

/** x·cos + turned·sin, where turned has (-b, a) in the place of each pair (a, b) of neighbours. */
function turnPairs(net: Net, x: ValueName, cos: ValueName, sin: ValueName): ValueName {
  const shape = net.shape(x);
  const width = net.size(x, -1);
  const each = (first: number): ValueName =>
    net.emit("Slice", [
      x,
      integerList(net, [first]),
      integerList(net, [width]),
      integerList(net, [-1]),
      integerList(net, [2]),
    ]);
  const raised = (part: ValueName): ValueName =>
    net.emit("Unsqueeze", [part, integerList(net, [-1])]);
  const pairs = lastConcat(net, raised(net.emit("Neg", [each(1)])), raised(each(0)));
  const target = [...shape.slice(0, -1).map(() => 0), width];
  const turned = net.emit("Reshape", [pairs, integerList(net, target)]);
  return net.emit("Add", [net.emit("Mul", [x, cos]), net.emit("Mul", [turned, sin])]);
}

function lastConcat(net: Net, ...parts: readonly ValueName[]): ValueName {
  return net.emit("Concat", parts, { attributes: { axis: int(-1) } });
}

/** How scores are shifted by the distance of query and key. */
export interface RelativeBiasOptions {
  /** Kinds of distance that are told apart. Default 32. */
  readonly buckets?: number;
  /** From here on all distances are one. Default 128. */
  readonly maxDistance?: number;
  /** Whether before and after are told apart; in causal attention there is no after. */
  readonly bidirectional: boolean;
  /** How the table starts. Default 0: attention as if there were none. */
  readonly init?: Init;
}

/**
 * The bias of T5 (Raffel et al. 2020, section 2.1): one learned number for each head and bucket of
 * distances, weights `[buckets, heads]`, the result `[…heads, S, T]` where the product of `heads` is their
 * number.
 */
export function relativeBias(
  net: Net,
  { queries, keys, heads }: { queries: ValueName; keys: ValueName; heads: readonly number[] },
  options: RelativeBiasOptions,
): ValueName {
  const { buckets = 32, maxDistance = 128, bidirectional, init = 0 } = options;
  const single = buckets / (bidirectional ? 4 : 2);
  if (!Number.isSafeInteger(single) || single < 1 || !(maxDistance > single)) {
    net.fail(
      "nn/relative-bias",
      `${buckets} buckets cannot hold distances up to ${maxDistance}`,
      "Give a multiple of 4 buckets, and a maxDistance above a quarter (causal: half) of them.",
    );
  }
  positive(net, "the largest distance", maxDistance);
  const name = `buckets.${buckets}.${maxDistance}.${bidirectional ? "both" : "before"}`;
  const lengths = `${lengthKey(net, queries)}.${lengthKey(net, keys)}`;
  const bucket = net.once(`${name}.${lengths}`, (root) => {
    const far = root.constant(int64([], [maxDistance]), "far");
    const near = root.emit("Clip", [
      distances(root, queries, keys),
      root.constant(int64([], [-maxDistance]), "far"),
      far,
    ]);
    const list = Array.from({ length: 2 * maxDistance + 1 }, (_, i) =>
      bucketOf(i - maxDistance, { buckets, maxDistance, bidirectional }),
    );
    const table = root.constant(int64([list.length], list), "bucket_of_distance");
    return root.emit("Gather", [table, root.emit("Add", [near, far])]);
  });
  const count = heads.reduce((a, b) => a * b, 1);
  const rows = net.emit("Gather", [net.weight("weight", [buckets, count], init), bucket]);
  const apart = integerList(net, [0, 0, ...heads]);
  const split = heads.length === 1 ? rows : net.emit("Reshape", [rows, apart]);
  const perm = [...heads.map((_, i) => i + 2), 0, 1];
  return net.emit("Transpose", [split], {
    attributes: { perm: { kind: "ints", value: perm } },
  });
}

/**
 * The bucket of a distance (key minus query). Half of the buckets hold one distance each, the others grow
 * by equal factors up to `maxDistance`, beyond which is the last.
 */
function bucketOf(distance: number, options: Required<Omit<RelativeBiasOptions, "init">>): number {
  const { maxDistance, bidirectional } = options;
  const buckets = bidirectional ? Math.floor(options.buckets / 2) : options.buckets;
  const after = bidirectional && distance > 0 ? buckets : 0;
  const far = bidirectional ? Math.abs(distance) : Math.max(0, -distance);
  const single = Math.floor(buckets / 2);
  if (far < single) return after + far;
  const share = Math.log(far / single) / Math.log(maxDistance / single);
  // The borders are powers, often exact ones: what rounding leaves below a border belongs above it.
  const step = Math.floor(share * (buckets - single) + 1e-9);
  return after + Math.min(single + step, buckets - 1);
}
