import { describe, expect, test } from "vitest";
import { sound } from "../../../test/sound.ts";
import { census } from "../../analysis/census.ts";
import { float32 } from "../../graph/tensor.ts";
import * as nn from "../index.ts";
import {
  affine,
  build,
  distance,
  numbers,
  rows,
  run,
  weight,
  withWeights,
} from "./blocks.test-helper.ts";

const D = 3;
const dense = (): nn.Layer => nn.dense(D);
const zip = (a: readonly number[], b: readonly number[], f: (a: number, b: number) => number) =>
  a.map((value, i) => f(value, b[i] ?? Number.NaN));

describe("attention residuals", () => {
  const normed = (v: readonly number[]) => {
    const mean = v.reduce((sum, one) => sum + one * one, 0) / v.length;
    return v.map((one) => one / Math.sqrt(mean + 1e-6));
  };
  const mix = (values: readonly number[][], query: readonly number[]) => {
    const scores = values.map((v) =>
      Math.exp(zip(normed(v), query, (a, b) => a * b).reduce((a, b) => a + b, 0)),
    );
    const total = scores.reduce((a, b) => a + b, 0);
    return values.reduce(
      (sum, v, i) => zip(sum, v, (a, b) => a + ((scores[i] ?? 0) / total) * b),
      Array.from({ length: D }, () => 0),
    );
  };

  test.each([1, 2])("every layer reads a mix of all before it, in blocks of %i", async (block) => {
    const fresh = build(nn.attentionResiduals([dense(), dense(), dense()], { block }), [D]);
    const queries = ["mix", "mix2", "mix3", "mix4"].map((name) => `${name}.query`);
    const graph = sound(
      withWeights(
        fresh,
        Object.fromEntries(queries.map((name, i) => [name, numbers(D, i + 2).map((v) => 3 * v)])),
      ),
    );
    const layer = (i: number, x: readonly number[]) =>
      affine(x, weight(graph, `layer${i}.weight`), weight(graph, `layer${i}.bias`));
    const query = (i: number) => weight(graph, queries[i] ?? "");
    const expected = (x: number[]) => {
      const one = layer(1, mix([x], query(0)));
      const two = layer(2, mix([x, one], query(1)));
      const sum = block === 1 ? two : zip(one, two, (a, b) => a + b);
      const seen = block === 1 ? [x, one, two] : [x, sum];
      return mix([...seen, layer(3, mix(seen, query(2)))], query(3));
    };
    const x = numbers(2 * D);
    const found = await run(graph, { x: float32([2, D], x) });
    expect(distance(found.get("y"), rows(x, D).flatMap(expected))).toBeLessThan(1e-5);
  });

  test("sequences keep their shape", async () => {
    const graph = sound(build(nn.attentionResiduals([double, double]), ["S", D]));
    expect(graph.outputs[0]?.shape).toEqual(["N", "S", D]);
    const x = numbers(2 * D);
    const found = await run(graph, { x: float32([1, 2, D], x) });
    // Fresh queries take the mean: h1 = x, h2 = (x + 2x) / 2, y = (x + 2x + 3x) / 3.
    expect(
      distance(
        found.get("y"),
        x.map((v) => 2 * v),
      ),
    ).toBeLessThan(1e-5);
  });
});

const double = nn.layer("double", (net, x) => net.emit("Add", [x, x]));

describe("depth-weighted averages", () => {
  test("the state behind a block is a weighted sum of all outputs so far", async () => {
    const fresh = build(nn.depthWeighted([dense(), dense()]), [D]);
    const name = (i: number, j: number) => `average${i}.factor${j}`;
    const graph = sound(
      withWeights(fresh, { [name(1, 0)]: [0.5], [name(2, 0)]: [-1], [name(2, 1)]: [0.25] }),
    );
    const layer = (i: number, x: readonly number[]) =>
      affine(x, weight(graph, `block${i}.weight`), weight(graph, `block${i}.bias`));
    const expected = (x: number[]) => {
      const one = layer(1, x);
      const two = layer(
        2,
        zip(one, x, (a, b) => a + 0.5 * b),
      );
      return x.map((v, i) => (two[i] ?? 0) + 0.25 * (one[i] ?? 0) - v);
    };
    const x = numbers(2 * D);
    const found = await run(graph, { x: float32([2, D], x) });
    expect(distance(found.get("y"), rows(x, D).flatMap(expected))).toBeLessThan(1e-5);
    const { skips } = census(graph);
    expect(skips.map((skip) => [skip.kind, skip.scaled])).toEqual(
      Array.from({ length: 3 }, () => ["multi-stream", true]),
    );
  });

  test("fresh factors leave the network as it is", async () => {
    const graph = build(nn.depthWeighted([double, double]), [D]);
    const found = await run(graph, { x: float32([1, D], [1, -2, 3]) });
    expect(found.get("y")).toEqual([4, -8, 12]);
  });

  test("a layer that changes the shape is named", () => {
    expect(() => build(nn.depthWeighted([nn.dense(2)]), [D])).toThrow(/carries \[N,3\].*\[N,2\]/);
  });
});
