import { expect, test } from "vitest";
import { sound } from "../../../test/sound.ts";
import { bindBatch } from "../../analysis/memory.ts";
import { present } from "../../base/assert.ts";
import { TypedBuilder } from "../../canonical/typed-builder.ts";
import { type Graph, int } from "../../graph/graph.ts";
import { float32 } from "../../graph/tensor.ts";
import { differentiate } from "../../passes/gradient/differentiate.ts";
import * as nn from "../index.ts";
import { build, distance, numbers, run, weight, withWeights } from "./blocks.test-helper.ts";

// Gradients flow through the blocks to their input and to the weights of their gates: the derivative along
// a direction is that of finite differences.

const D = 3;

/** loss = Σ c·y for a batch of two. */
function withLoss(graph: Graph): Graph {
  const bound = bindBatch(graph, 2);
  const b = new TypedBuilder(bound);
  const factors = b.constant(float32([2, D], numbers(2 * D, 3)));
  const loss = b.emit("ReduceSum", [b.emit("Mul", ["y", factors])], {
    outputs: ["loss"],
    attributes: { keepdims: int(0) },
  });
  const finished = b.finish("loss", bound.opsets);
  return { ...finished, outputs: [{ name: loss, dtype: "float32", shape: [] }] };
}

test.each([
  ["highway", "gate.dense.weight", nn.highway(nn.dense(D))],
  ["gated residual", "gate.bias", nn.gatedResidual(nn.dense(D))],
  ["hyper-connections", "mixed.pre.bias", nn.hyperConnections([nn.dense(D)], { streams: 2 })],
  ["mixing by input", "mixed.post.factor", nn.hyperConnections([nn.dense(D)], { streams: 2 })],
  ["attention residuals", "mix2.query", nn.attentionResiduals([nn.dense(D), nn.dense(D)])],
  ["depth-weighted averages", "average1.factor0", nn.depthWeighted([nn.dense(D)])],
  ["conditional, open", "gate.dense.weight", nn.conditional(nn.dense(D), { threshold: -1 })],
  ["conditional, its branch", "then.weight", nn.conditional(nn.dense(D), { threshold: -1 })],
  [
    "conditional within one",
    "then.then.weight",
    nn.conditional(nn.conditional(nn.dense(D), { threshold: -1 }), { threshold: -1 }),
  ],
  ["recurrent, its weights in every round", "body.weight", nn.recurrentResidual(3, nn.dense(D))],
] as const)("%s: to the input and to %s", async (_, name, block) => {
  const fresh = build(block, [D]);
  const count = weight(fresh, name).length;
  // Away from the values that weights start at, where derivatives are often zero.
  const start = weight(fresh, name).map((v, i) => v + (numbers(count, 5)[i] ?? 0));
  const graph = withLoss(withWeights(fresh, { [name]: start }));
  const { graph: both, gradients } = differentiate(graph, { loss: "loss", wrt: ["x", name] });
  const outputs = [...gradients.values()].map((one) => present(both.values.get(one), one));
  const x = numbers(2 * D);
  const found = await run(sound({ ...both, outputs }), { x: float32([2, D], x) });
  const gradient = (of: string): number[] => found.get(gradients.get(of) ?? "") ?? [];

  const step = 1e-2;
  const moved = (values: readonly number[], along: readonly number[], by: number): number[] =>
    values.map((v, i) => v + by * (along[i] ?? 0));
  const loss = async (values: readonly number[], own: readonly number[]): Promise<number> => {
    const changed = withWeights(graph, { [name]: [...own] });
    return (await run(changed, { x: float32([2, D], values) })).get("loss")?.[0] ?? Number.NaN;
  };
  const along = numbers(2 * D, 7);
  const byInput =
    ((await loss(moved(x, along, step), start)) - (await loss(moved(x, along, -step), start))) /
    (2 * step);
  const dot = (a: readonly number[], b: readonly number[]) =>
    a.reduce((sum, v, i) => sum + v * (b[i] ?? 0), 0);
  expect(distance([dot(gradient("x"), along)], [byInput])).toBeLessThan(5e-3);
  const other = numbers(count, 11);
  const byWeight =
    ((await loss(x, moved(start, other, step))) - (await loss(x, moved(start, other, -step)))) /
    (2 * step);
  expect(distance([dot(gradient(name), other)], [byWeight])).toBeLessThan(5e-3);
  expect(Math.abs(byWeight)).toBeGreaterThan(1e-3);
});
