import { describe, expect, test } from "vitest";
import { sound } from "../../../test/sound.ts";
import type { Graph } from "../../graph/graph.ts";
import { float32 } from "../../graph/tensor.ts";
import * as nn from "../index.ts";
import {
  affine,
  build,
  distance,
  numbers,
  rows,
  run,
  sigmoid,
  weight,
  withWeights,
} from "./blocks.test-helper.ts";
import { sinkhorn } from "./hyper.ts";

const D = 3;
const N = 2;

/** Streams mixed as in the papers' equations, one position. */
function mixedStreams(graph: Graph, path: string, streams: number[][], rounds: number): number[][] {
  const of = (name: string) => weight(graph, `${path}.${name}`);
  const flat = streams.flat();
  const root = Math.sqrt(flat.reduce((sum, v) => sum + v * v, 0) / flat.length + 1e-6);
  const context = flat.map((v) => v / root);
  const logits = (name: string, count: number) => {
    const w = of(`${name}.weight`);
    const [factor = 0] = of(`${name}.factor`);
    return of(`${name}.bias`).map((bias, o) => {
      const product = context.reduce((sum, v, i) => sum + v * (w[i * count + o] ?? 0), 0);
      return bias + factor * product;
    });
  };
  const pre = logits("pre", N).map(sigmoid);
  const post = logits("post", N).map((v) => 2 * sigmoid(v));
  let res = rows(
    logits("res", N * N).map((v, i) => Math.exp(v + (i % (N + 1) === 0 ? 8 : 0))),
    N,
  );
  for (let round = 0; round < rounds; round++) {
    const sums = res.reduce((a, b) => a.map((v, i) => v + (b[i] ?? 0)));
    res = res.map((row) => row.map((v, i) => v / (sums[i] ?? 0)));
    res = res.map((row) => row.map((v) => v / row.reduce((a, b) => a + b, 0)));
  }
  const read = Array.from({ length: D }, (_, d) =>
    streams.reduce((sum, stream, n) => sum + (pre[n] ?? 0) * (stream[d] ?? 0), 0),
  );
  // Along a sequence, weights are [in, out].
  const w = of("dense.weight");
  const made = affine(
    read,
    w.map((_, i) => w[(i % D) * D + Math.floor(i / D)] ?? 0),
    of("dense.bias"),
  );
  return res.map((row, n) =>
    made.map((f, d) =>
      row.reduce((sum, share, m) => sum + share * (streams[m]?.[d] ?? 0), (post[n] ?? 0) * f),
    ),
  );
}

describe("hyper-connections", () => {
  const net = (more: nn.HyperOptions = {}) =>
    nn.hyperConnections([nn.dense(D), nn.dense(D)], { streams: N, iterations: 3, ...more });

  test("the equations, on two positions", async () => {
    const fresh = build(net(), ["S", D]);
    const names = [...fresh.initializers.keys()].filter((name) => /bias|factor/.test(name));
    const other = Object.fromEntries(
      names.map((name, i) => [
        name,
        numbers(fresh.initializers.get(name)?.shape.reduce((a, b) => a * b, 1) ?? 1, i + 2),
      ]),
    );
    const graph = sound(withWeights(fresh, other));
    const x = numbers(2 * D);
    const expected = rows(x, D).flatMap((one) => {
      const first = mixedStreams(graph, "mixed", [one, one], 3);
      const [a = [], b = []] = mixedStreams(graph, "mixed2", first, 3);
      return a.map((v, i) => (v + (b[i] ?? 0)) / 2);
    });
    const found = await run(graph, { x: float32([1, 2, D], x) });
    expect(distance(found.get("y"), expected)).toBeLessThan(1e-5);
  });

  test("fresh and without a dynamic part, it is the residual network", async () => {
    const graph = sound(build(net({ dynamic: false, streams: 4, iterations: 20 }), [D]));
    const layer = (name: string, x: number[]) =>
      affine(x, weight(graph, `${name}.dense.weight`), weight(graph, `${name}.dense.bias`));
    const step = (name: string, x: number[]) => layer(name, x).map((f, i) => f + (x[i] ?? 0));
    const x = numbers(D);
    const found = await run(graph, { x: float32([1, D], x) });
    expect(distance(found.get("y"), step("mixed2", step("mixed", x)))).toBeLessThan(1e-5);
  });

  test.each([
    [1, 1e-5],
    [4, 2e-2],
  ])("20 rounds make logits up to ±%d doubly stochastic within %d", async (scale, error) => {
    const graph = sound(
      build(
        nn.layer("s", (own, x) => sinkhorn(own, x, 20)),
        [4, 4],
      ),
    );
    const logits = numbers(3 * 16).map((v) => v * scale);
    const found = await run(graph, { x: float32([3, 4, 4], logits) });
    for (const matrix of rows(found.get("y") ?? [], 16)) {
      const lines = rows(matrix, 4);
      const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
      const ones = [1, 1, 1, 1];
      expect(Math.min(...matrix)).toBeGreaterThan(0);
      expect(distance(lines.map(sum), ones)).toBeLessThan(1e-5);
      expect(
        distance(
          ones.map((_, c) => sum(lines.map((l) => l[c] ?? 0))),
          ones,
        ),
      ).toBeLessThan(error);
    }
  });

  test("one stream is refused", () => {
    expect(() => build(net({ streams: 1 }), [D])).toThrow(/1 streams/);
  });
});
