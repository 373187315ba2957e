import { describe, expect, test } from "vitest";
import { sound } from "../../../test/sound.ts";
import { census } from "../../analysis/census.ts";
import { float32, int64 } from "../../graph/tensor.ts";
import * as nn from "../index.ts";
import {
  affine,
  build,
  distance,
  numbers,
  relu,
  rows,
  run,
  sigmoid,
  weight,
} from "./blocks.test-helper.ts";

const D = 4;

describe("highway", () => {
  test("y = t·h + (1 - t)·x", async () => {
    const inner = nn.sequential(nn.dense(D), nn.relu());
    const graph = sound(build(nn.highway(inner, { gateBias: -1 }), [D]));
    expect(weight(graph, "gate.bias")).toEqual([-1, -1, -1, -1]);
    const [w, b] = [weight(graph, "transform.dense.weight"), weight(graph, "transform.dense.bias")];
    const x = numbers(3 * D);
    const expected = rows(x, D).flatMap((one) => {
      const h = affine(one, w, b).map(relu);
      const t = affine(one, weight(graph, "gate.dense.weight"), weight(graph, "gate.bias"));
      return one.map((v, i) => sigmoid(t[i] ?? 0) * ((h[i] ?? 0) - v) + v);
    });
    const found = await run(graph, { x: float32([3, D], x) });
    expect(distance(found.get("y"), expected)).toBeLessThan(1e-5);
  });

  test("images have a gate for every pixel and channel", async () => {
    const graph = sound(build(nn.highway(nn.conv(2, 1)), [2, 2, 2]));
    expect(graph.initializers.get("gate.bias")?.shape).toEqual([2, 1, 1]);
    const x = numbers(8);
    const [a = [], b = []] = rows(x, 4);
    const pixel = (i: number) => {
      const one = [a[i] ?? 0, b[i] ?? 0];
      const h = affine(one, weight(graph, "transform.weight"), weight(graph, "transform.bias"));
      const t = affine(one, weight(graph, "gate.conv.weight"), weight(graph, "gate.bias"));
      return one.map((v, c) => sigmoid(t[c] ?? 0) * ((h[c] ?? 0) - v) + v);
    };
    const pixels = a.map((_, i) => pixel(i));
    const expected = [0, 1].flatMap((c) => pixels.map((one) => one[c] ?? 0));
    const found = await run(graph, { x: float32([1, 2, 2, 2], x) });
    expect(distance(found.get("y"), expected)).toBeLessThan(1e-5);
  });

  test("the census calls it a highway, also along a sequence and with a gate of one's own", () => {
    const block = nn.highway(nn.dense(D), { gate: nn.dense(1, { bias: false }) });
    const graph = sound(
      build(nn.sequential(nn.dense(D), block, nn.highway(nn.dense(D))), ["S", D]),
    );
    const found = census(graph).skips.map((skip) => [skip.kind, skip.block]);
    expect(found).toEqual([
      ["gated", "highway"],
      ["gated", "highway"],
    ]);
  });

  test("a transform that changes the shape is named", () => {
    expect(() => build(nn.highway(nn.dense(3)), [D])).toThrow(/carries \[N,4\].*\[N,3\]/);
  });
});

describe("a gated residual", () => {
  test("y = x + g·f", async () => {
    const graph = sound(build(nn.gatedResidual(nn.dense(D)), [D]));
    const x = numbers(3 * D);
    const expected = rows(x, D).flatMap((one) => {
      const f = affine(one, weight(graph, "branch.weight"), weight(graph, "branch.bias"));
      const g = affine(one, weight(graph, "gate.dense.weight"), weight(graph, "gate.bias"));
      return one.map((v, i) => v + sigmoid(g[i] ?? 0) * (f[i] ?? 0));
    });
    const found = await run(graph, { x: float32([3, D], x) });
    expect(distance(found.get("y"), expected)).toBeLessThan(1e-5);
  });

  test("one gate for a whole image", async () => {
    const gate = nn.sequential(nn.globalPool(), nn.dense(1, { bias: false }), pixel);
    const graph = sound(build(nn.gatedResidual(nn.conv(2, 1), { gate, gateBias: 0.5 }), [2, 2, 2]));
    const x = numbers(8);
    const means = rows(x, 4).map((one) => one.reduce((sum, v) => sum + v, 0) / 4);
    const [logit = 0] = affine(means, weight(graph, "gate.dense.weight"), [0.5]);
    const [a = [], b = []] = rows(x, 4);
    const f = a.map((v, i) =>
      affine([v, b[i] ?? 0], weight(graph, "branch.weight"), weight(graph, "branch.bias")),
    );
    const expected = [a, b].flatMap((one, c) =>
      one.map((v, i) => v + sigmoid(logit) * (f[i]?.[c] ?? 0)),
    );
    const found = await run(graph, { x: float32([1, 2, 2, 2], x) });
    expect(distance(found.get("y"), expected)).toBeLessThan(1e-5);
  });

  test("the census calls it gated", () => {
    const net = nn.sequential(nn.dense(D), nn.gatedResidual(nn.dense(D)));
    expect(census(build(net, [D])).skips.map((skip) => skip.kind)).toEqual(["gated"]);
  });
});

/** `[N, C]` as an image of one pixel. */
const pixel = nn.layer("pixel", (net, x) =>
  net.emit("Unsqueeze", [x, net.constant(int64([2], [2, 3]))]),
);
