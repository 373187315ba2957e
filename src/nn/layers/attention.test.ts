import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { sound } from "../../../test/sound.ts";
import { SkipwayError } from "../../base/errors.ts";
import type { Graph } from "../../graph/graph.ts";
import { float32, int64, type Tensor } from "../../graph/tensor.ts";
import * as nn from "../index.ts";
import {
  attend,
  type ByHand,
  distance,
  noise,
  type Rows,
  rotation,
  rowsOf,
  run,
  shaken,
  Weights,
} from "./attention.test-helper.ts";
import { rotate } from "./positions.ts";

function build(root: nn.Layer, width: number, more: Partial<nn.BuildOptions> = {}): Graph {
  const input = { name: "x", shape: ["S", width] };
  return sound(nn.buildNet(nn.sequential(root), { input, output: "y", seed: 1, ...more }));
}

function failureOf(root: nn.Layer, shape: nn.NetInput["shape"]) {
  try {
    nn.buildNet(root, { input: { name: "x", shape }, output: "y", seed: 1 });
  } catch (error) {
    if (error instanceof SkipwayError) return error.diagnostics[0];
  }
  return undefined;
}

const BATCH = 2;

/** Runs attention over two examples and computes it by hand. */
async function compare(
  options: nn.SelfAttentionOptions,
  size: { width: number; length: number; seed: number },
  hand: (graph: Graph) => Partial<ByHand> = () => ({}),
): Promise<number> {
  const { width, length, seed } = size;
  const graph = shaken(build(nn.attention(options), width), seed);
  const x = noise(BATCH * length * width, seed);
  // The second example is padded behind its first place.
  const padding = (example: number, key: number): boolean => example === 1 && key > 0;
  const feeds: Record<string, Tensor> = { x: float32([BATCH, length, width], x) };
  if (options.mask !== undefined) {
    const keep = Array.from({ length: BATCH * length }, (_, i) =>
      Number(!padding(Math.floor(i / length), i % length)),
    );
    feeds[options.mask] = int64([BATCH, length], keep);
  }
  const found = (await run(graph, feeds)).get("y");
  const expected = [0, 1].flatMap((example) => {
    const rows = rowsOf(x.subarray(example * length * width), length, width);
    const readable = options.mask === undefined ? () => true : (j: number) => !padding(example, j);
    const { heads, keyHeads = heads, causal = false } = options;
    const by: ByHand = { heads, keyHeads, causal, readable, ...hand(graph) };
    return attend(rows, new Weights(graph).at("attention"), by).flat();
  });
  return distance(found, expected);
}

const halves = (size: number, base = 10_000) => rotation(size, base, (i) => [i, i + size / 2]);
const pairs = (size: number, base = 10_000) => rotation(size, base, (i) => [2 * i, 2 * i + 1]);

describe("attention computes what it says", () => {
  const sizes = { width: 12, length: 5, seed: 3 };

  test("for all numbers of heads, masks and rotary positions", async () => {
    const cases = fc.record({
      keyHeads: fc.constantFrom(1, 2, 3),
      groups: fc.constantFrom(1, 2),
      pairsPerHead: fc.constantFrom(1, 2),
      length: fc.integer({ min: 1, max: 6 }),
      causal: fc.boolean(),
      isMasked: fc.boolean(),
      bias: fc.boolean(),
      rotary: fc.constantFrom("none", "halves", "pairs"),
      seed: fc.integer({ min: 1, max: 1000 }),
    });
    const check = async (one: typeof cases extends fc.Arbitrary<infer T> ? T : never) => {
      const { keyHeads, groups, length, causal, bias, seed } = one;
      const [heads, headSize] = [keyHeads * groups, 2 * one.pairsPerHead];
      const options: nn.SelfAttentionOptions = {
        ...{ heads, keyHeads, headSize, causal, bias },
        rotary: one.rotary === "none" ? false : { interleaved: one.rotary === "pairs" },
        ...(one.isMasked ? { mask: "mask" } : {}),
      };
      const turn = { none: undefined, halves: halves(headSize), pairs: pairs(headSize) }[
        one.rotary
      ];
      const found = await compare(options, { width: 6, length, seed }, () =>
        turn ? { turn } : {},
      );
      expect(found).toBeLessThan(1e-5);
    };
    await fc.assert(fc.asyncProperty(cases, check), { numRuns: 40 });
  });

  test("with rotary positions in a part of each head, of another base", async () => {
    const half = { rotary: { size: 2, base: 100 }, heads: 3 };
    expect(await compare(half, sizes, () => ({ turn: halves(2, 100) }))).toBeLessThan(1e-5);
    const pair = { rotary: { size: 4, base: 10, interleaved: true }, heads: 2 };
    expect(await compare(pair, sizes, () => ({ turn: pairs(4, 10) }))).toBeLessThan(1e-5);
  });

  test("with biases in the first projections alone, and another scale", async () => {
    const options = { heads: 3, bias: { input: true, output: false }, scale: 1 };
    expect(await compare(options, sizes, () => ({ scale: 1 }))).toBeLessThan(1e-5);
    const names = [...build(nn.attention(options), 12).initializers.keys()];
    expect(names.filter((name) => name.startsWith("attention"))).toEqual([
      "attention.query.weight",
      "attention.query.bias",
      "attention.key.weight",
      "attention.key.bias",
      "attention.value.weight",
      "attention.value.bias",
      "attention.out.weight",
    ]);
  });

  test.each([
    [{ heads: 3 }, (d: number) => (d > 0 ? 16 : 0) + bucket(Math.abs(d))],
    [{ heads: 4, keyHeads: 2 }, (d: number) => (d > 0 ? 16 : 0) + bucket(Math.abs(d))],
    [{ heads: 2, causal: true }, (d: number) => causalBucket(Math.max(0, -d))],
  ])("with a bias by distance, %o", async (options, bucketOf) => {
    const hand = (graph: Graph): Partial<ByHand> => {
      const table = new Weights(graph).at("attention.relative_bias").matrix("weight");
      return { bias: (h, i, j) => table[bucketOf(j - i)]?.[h] ?? Number.NaN };
    };
    const long = { width: 12, length: 140, seed: 5 };
    expect(await compare({ ...options, relativeBias: true }, long, hand)).toBeLessThan(1e-5);
  });

  test("to another value, with a mask over that", async () => {
    const cross = nn.layer("decoder", (net, x) =>
      net.inside(
        nn.attention({ heads: 2, memory: net.input("memory", ["N", "T", 6]), mask: "keep" }),
        x,
      ),
    );
    const graph = shaken(build(cross, 4));
    expect(graph.inputs.map((one) => [one.name, one.shape])).toEqual([
      ["x", ["N", "S", 4]],
      ["memory", ["N", "T", 6]],
      ["keep", ["N", "T"]],
    ]);
    const [x, memory] = [noise(3 * 4, 1), noise(5 * 6, 2)];
    const found = await run(graph, {
      x: float32([1, 3, 4], x),
      memory: float32([1, 5, 6], memory),
      keep: int64([1, 5], [1, 1, 0, 1, 0]),
    });
    const expected = attend(rowsOf(x, 3, 4), new Weights(graph).at("decoder.attention"), {
      heads: 2,
      keyHeads: 2,
      memory: rowsOf(memory, 5, 6),
      readable: (key) => ![2, 4].includes(key),
    });
    expect(distance(found.get("y"), expected.flat())).toBeLessThan(1e-5);
  });

  test("where all is masked, with numbers all the same", async () => {
    const graph = shaken(build(nn.attention({ heads: 2, mask: "keep" }), 4));
    const x = float32([1, 3, 4], noise(12, 1));
    const found = await run(graph, { x, keep: int64([1, 3], [0, 0, 0]) });
    expect(found.get("y")?.every(Number.isFinite)).toBe(true);
  });
});

/** Buckets of T5: eight for one distance each, then borders at 8·16^(k/8). */
function bucket(far: number): number {
  const borders = [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91];
  return borders.filter((border) => far >= border).length;
}

/** The same with twice as many: sixteen for one distance each, then borders at 16·8^(k/16). */
function causalBucket(far: number): number {
  const borders = [19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113];
  return Math.min(far, 16) + borders.filter((border) => far >= border).length;
}

describe("what attention keeps", () => {
  test("a place does not depend on later ones where it is causal", async () => {
    const options = { heads: 4, keyHeads: 2, causal: true, rotary: true, relativeBias: true };
    const graph = shaken(build(nn.attention(options), 8));
    const [length, width] = [7, 8];
    const x = noise(length * width, 1);
    const before = (await run(graph, { x: float32([1, length, width], x) })).get("y") ?? [];
    for (let place = 1; place < length; place++) {
      const changed = Float32Array.from(x, (value, i) => (i < place * width ? value : -3 * value));
      const after = (await run(graph, { x: float32([1, length, width], changed) })).get("y") ?? [];
      expect(after.slice(0, place * width)).toEqual(before.slice(0, place * width));
      expect(distance(after.slice(-width), before.slice(-width))).toBeGreaterThan(1e-3);
    }
  });

  test("grouped heads are heads whose keys and values are repeated", async () => {
    const [heads, keyHeads, size, length] = [6, 2, 2, 4];
    const grouped = shaken(build(nn.attention({ heads, keyHeads, rotary: true }), 12));
    const full = build(nn.attention({ heads, rotary: true }), 12);
    const initializers = new Map(full.initializers);
    for (const [name, ref] of grouped.initializers) {
      if (/^attention\.(query|out)\./.test(name)) initializers.set(name, ref);
      if (!/^attention\.(key|value)\./.test(name)) continue;
      const [rows, columns] = [ref.shape.length === 1 ? 1 : 12, keyHeads * size];
      const given = rowsOf(new Weights(grouped).vector(name), rows, columns);
      const repeated = given.map((row) =>
        Array.from({ length: heads * size }, (_, i) => {
          const head = Math.floor(Math.floor(i / size) / (heads / keyHeads));
          return row[head * size + (i % size)] ?? Number.NaN;
        }),
      );
      const shape = [...ref.shape.slice(0, -1), heads * size];
      initializers.set(name, float32(shape, repeated.flat()));
    }
    const x = float32([1, length, 12], noise(length * 12, 1));
    const [a, b] = [await run(grouped, { x }), await run({ ...full, initializers }, { x })];
    expect(distance(a.get("y"), b.get("y") ?? [])).toBeLessThan(1e-6);
  });

  test.each([{}, { interleaved: true }, { size: 4 }, { size: 4, interleaved: true }])(
    "rotary positions keep lengths and know distances alone, %o",
    async (options) => {
      const [length, width] = [9, 8];
      const turned = nn.layer("turned", (net, x) => rotate(net, x, x, options));
      const graph = build(turned, width);
      // The same query and the same key at every place.
      const [query, key] = [noise(width, 1), noise(width, 2)];
      const everywhere = (vector: Float32Array): Float32Array =>
        Float32Array.from({ length: length * width }, (_, i) => vector[i % width] ?? 0);
      const at = async (vector: Float32Array): Promise<Rows> => {
        const x = float32([1, length, width], everywhere(vector));
        return rowsOf((await run(graph, { x })).get("y") ?? [], length, width);
      };
      const [queries, keys] = [await at(query), await at(key)];
      const dot = (a: Iterable<number> = [], b: readonly number[] = []): number =>
        [...a].reduce((total, value, i) => total + value * (b[i] ?? Number.NaN), 0);
      for (const [i, row] of queries.entries()) {
        expect(dot(row, row)).toBeCloseTo(dot(query, [...query]), 4);
        for (const [j, other] of keys.entries()) {
          const [from, to] = i < j ? [queries[0], keys[j - i]] : [queries[i - j], keys[0]];
          expect(dot(row, other)).toBeCloseTo(dot(from, to), 4);
        }
      }
      expect(Math.abs(dot(queries[0], keys[1]) - dot(queries[0], keys[0]))).toBeGreaterThan(1e-3);
    },
  );

  test("masks and positions are made once for all layers", () => {
    const one = () =>
      nn.attention({ heads: 2, causal: true, rotary: true, relativeBias: true, mask: "keep" });
    const count = (graph: Graph, op: string) => graph.nodes.filter((node) => node.op === op).length;
    const graph = build(nn.sequential(one(), one(), one()), 4);
    for (const op of ["Range", "Cos", "Sin", "LessOrEqual", "Clip"])
      expect(count(graph, op)).toBe(1);
    expect(count(graph, "Softmax")).toBe(3);
    expect(graph.inputs.map((value) => value.name)).toEqual(["x", "keep"]);
  });
});

describe("positions of a table", () => {
  test("are added place by place, for all lengths up to its own", async () => {
    const graph = shaken(build(nn.positions(5), 2));
    const table = new Weights(graph).at("positions").vector("weight");
    for (const length of [1, 3, 5]) {
      const x = noise(length * 2, length);
      const found = await run(graph, { x: float32([1, length, 2], x) });
      expect(
        distance(
          found.get("y"),
          [...x].map((v, i) => v + (table[i] ?? 0)),
        ),
      ).toBeLessThan(1e-6);
    }
    const fixed = nn.buildNet(nn.positions(5), {
      input: { name: "x", shape: [5, 2] },
      output: "y",
      seed: 1,
    });
    expect(fixed.nodes.map((node) => node.op)).toEqual(["Add", "Identity"]);
  });
});

describe("what does not fit", () => {
  test.each([
    [nn.attention({ heads: 5 }), [3, 12], "nn/attention", /12 does not divide among 5 heads/],
    [nn.attention({ heads: 6, keyHeads: 4 }), [3, 12], "nn/attention", /cannot share 4 heads/],
    [nn.attention({ heads: 6 }), [12], "nn/rank", /it got \[N,12\]/],
    [nn.attention({ heads: 4, rotary: true }), [3, 12], "nn/rotary", /3 of 3 elements/],
    [nn.attention({ heads: 3, rotary: { size: 6 } }), [3, 12], "nn/rotary", /6 of 4 elements/],
    [nn.attention({ heads: 1.5 }), [3, 12], "nn/option", /the number of heads is 1.5/],
    [nn.attention({ heads: 2, keyHeads: 0 }), [3, 12], "nn/option", /heads of keys is 0/],
    [nn.attention({ heads: 3, rotary: { base: 0 } }), [3, 12], "nn/rotary", /is 0/],
    [
      nn.attention({ heads: 3, relativeBias: { buckets: 2 } }),
      [3, 12],
      "nn/relative-bias",
      /^2 buckets/,
    ],
    [nn.positions(4), [5, 12], "nn/positions", /5 long, the table has 4/],
  ])("is an error with its repair", (root, shape, id, text) => {
    const found = failureOf(root, shape);
    expect(found).toMatchObject({ id, text: expect.stringMatching(text) });
    expect(found?.fix).not.toBe("");
    expect(found?.where).toMatch(/attention\.test\.ts:\d+/);
  });

  test("attention to another sequence has no order: it does not compile", () => {
    // @ts-expect-error causal and memory exclude each other
    const options: nn.AttentionOptions = { heads: 2, memory: "memory", causal: true };
    expect(options.heads).toBe(2);
  });
});
