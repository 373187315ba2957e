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
  rows,
  run,
  sigmoid,
  weight,
} from "./blocks.test-helper.ts";

const D = 3;

/** The first element of every example as its logit. */
const first = nn.layer("first", (net, x) =>
  net.emit("Slice", [x, ...[[0], [1], [1]].map((one) => net.constant(int64([1], one)))]),
);

describe("a conditional skip", () => {
  const block = (more: nn.ConditionalOptions = {}) =>
    nn.conditional(nn.dense(D), { gate: first, ...more });
  const branch = (graph: ReturnType<typeof build>, x: readonly number[]) =>
    affine(x, weight(graph, "then.weight"), weight(graph, "then.bias"));

  test("open, it adds the branch by the gate of each example; shut, it hands its input on", async () => {
    const graph = sound(build(block(), [D]));
    const open = [1.5, 0.2, -1, 2, -0.3, 0.4];
    const found = await run(graph, { x: float32([2, D], open) });
    const expected = rows(open, D).flatMap((x) =>
      branch(graph, x).map((f, i) => (x[i] ?? 0) + sigmoid(x[0] ?? 0) * f),
    );
    expect(distance(found.get("y"), expected)).toBeLessThan(1e-5);
    expect(distance(found.get("gate"), [sigmoid(1.5), sigmoid(2)])).toBeLessThan(1e-5);

    const shut = [-1.5, 0.25, -1];
    const handed = await run(graph, { x: float32([1, D], shut) });
    expect(handed.get("y")).toEqual(shut);
    expect(distance(handed.get("gate"), [sigmoid(-1.5)])).toBeLessThan(1e-5);
  });

  test("one branch for the whole batch, by the mean of its gates", async () => {
    const graph = build(block({ weighted: false }), [D]);
    // Gates of 0.88 and 0.27 have a mean of 0.57, those of 0.73 and 0.12 one of 0.43.
    const open = [2, 1, 1, -1, 1, 1];
    const found = await run(graph, { x: float32([2, D], open) });
    const expected = rows(open, D).flatMap((x) => branch(graph, x).map((f, i) => (x[i] ?? 0) + f));
    expect(distance(found.get("y"), expected)).toBeLessThan(1e-5);
    const shut = [1, 1, 1, -2, 1, 1];
    expect((await run(graph, { x: float32([2, D], shut) })).get("y")).toEqual(shut);
  });

  test("the threshold says from where the block runs", async () => {
    const graph = build(block({ threshold: 0.9 }), [D]);
    const x = [1.5, 0.25, -1];
    expect((await run(graph, { x: float32([1, D], x) })).get("y")).toEqual(x);
  });

  test("the default gate takes the mean over all pixels", async () => {
    const inner = nn.conv(2, 1);
    const graph = sound(build(nn.conditional(inner, { threshold: -1 }), [2, "H", "W"]));
    const x = numbers(2 * 2 * 3);
    const found = await run(graph, { x: float32([1, 2, 2, 3], x) });
    const means = rows(x, 6).map((pixels) => pixels.reduce((a, b) => a + b, 0) / 6);
    const [logit = 0] = affine(
      means,
      weight(graph, "gate.dense.weight"),
      weight(graph, "gate.dense.bias"),
    );
    expect(distance(found.get("gate"), [sigmoid(logit)])).toBeLessThan(1e-5);
    const [a = [], b = []] = rows(x, 6);
    const mixed = a.map((v, i) =>
      affine([v, b[i] ?? 0], weight(graph, "then.weight"), weight(graph, "then.bias")),
    );
    const expected = [a, b].flatMap((pixels, c) =>
      pixels.map((v, i) => v + sigmoid(logit) * (mixed[i]?.[c] ?? 0)),
    );
    expect(distance(found.get("y"), expected)).toBeLessThan(1e-5);
  });

  test("sequences take the mean over their positions", async () => {
    const graph = sound(build(nn.conditional(halved, { threshold: 2 }), ["S", D]));
    expect(graph.outputs.map((one) => one.shape)).toEqual([
      ["N", "S", D],
      ["N", 1],
    ]);
    const x = numbers(2 * D);
    const found = await run(graph, { x: float32([1, 2, D], x) });
    const mean = rows(x, D).reduce((a, b) => a.map((v, i) => (v + (b[i] ?? 0)) / 2));
    const [logit = 0] = affine(
      mean,
      weight(graph, "gate.dense.weight"),
      weight(graph, "gate.dense.bias"),
    );
    expect(distance(found.get("gate"), [sigmoid(logit)])).toBeLessThan(1e-5);
  });

  test("the census finds one conditional skip a block; gates are named after their blocks", () => {
    const graph = sound(
      build(nn.sequential(nn.named("early", block()), nn.named("late", block())), [D]),
    );
    expect(graph.outputs.map((one) => one.name)).toEqual(["y", "early.gate", "late.gate"]);
    // Where a block runs, it adds its branch, weighed by the gate outside: that is a skip too.
    const kinds = ["conditional", "gated"];
    expect(census(graph).skips.map((skip) => skip.kind)).toEqual([...kinds, ...kinds]);
  });

  test("what does not fit is named", () => {
    expect(() => build(nn.conditional(nn.dense(2)), [D])).toThrow(/carries \[N,3\].*\[N,2\]/);
    expect(() => build(nn.conditional(nn.dense(D), { gate: nn.dense(2) }), [D])).toThrow(
      /the gate makes \[N,2\]/,
    );
  });
});

const halved = nn.layer("halved", (net, x) =>
  net.emit("Mul", [x, net.constant(float32([], [0.5]))]),
);

describe("a recurrent residual", () => {
  test("the same weights, several times", async () => {
    const graph = sound(build(nn.recurrentResidual(3, nn.dense(D)), [D]));
    const names = [...graph.initializers.keys()].filter((name) => name.startsWith("body."));
    expect(names).toEqual(["body.weight", "body.bias"]);
    const [w, b] = [weight(graph, names[0] ?? ""), weight(graph, names[1] ?? "")];
    const step = (x: number[]) => affine(x, w, b).map((f, i) => (x[i] ?? 0) + f);
    const x = numbers(2 * D);
    const found = await run(graph, { x: float32([2, D], x) });
    const expected = rows(x, D).flatMap((one) => step(step(step(one))));
    expect(distance(found.get("y"), expected)).toBeLessThan(1e-5);
  });

  test("the census finds it, with its block inside", () => {
    const graph = build(nn.sequential(nn.dense(D), nn.recurrentResidual(3, nn.dense(D))), [5]);
    const found = census(graph);
    expect(found.skips.map((skip) => [skip.kind, skip.block])).toEqual([
      ["recurrent", "recurrent"],
    ]);
    expect(found.counts).toMatchObject({ total: 1, recurrent: 1 });
  });

  test("a block that changes the shape is named", () => {
    expect(() => build(nn.recurrentResidual(3, nn.dense(2)), [D])).toThrow(/carries \[N,3\]/);
  });
});
