import { describe, expect, test } from "vitest";
import { sound } from "../../../test/sound.ts";
import { census } from "../../analysis/census.ts";
import { bindBatch } from "../../analysis/memory.ts";
import { present } from "../../base/assert.ts";
import { SkipwayError } from "../../base/errors.ts";
import type { Graph } from "../../graph/graph.ts";
import { typeOf } from "../../graph/query.ts";
import { numbersOf } from "../../graph/tensor.ts";
import { opOf } from "../../ops/index.ts";
import { noise, run, scrambled } from "../blocks/reference.test-helper.ts";
import * as nn from "../index.ts";
import type { ZooNetwork } from "./index.ts";
import { residualZoo } from "./residual-zoo.ts";

function structure({ build, input }: ZooNetwork): Graph {
  return nn.buildNet(build(), { input, output: "y", seed: 1, weights: "absent" });
}

/** What training moves: running statistics are no parameters, nor are constants. */
function parameters(graph: Graph): number {
  return [...graph.initializers]
    .filter(
      ([name, { dtype, shape }]) =>
        dtype === "float32" && shape.length > 0 && !/running_/.test(name),
    )
    .reduce((total, [, { shape }]) => total + shape.reduce((a, b) => a * b, 1), 0);
}

/** Multiply-accumulates of convolutions and matrix products for one example. */
function macs(graph: Graph): number {
  const one = bindBatch(graph, 1);
  const types = (names: readonly string[]) => names.map((name) => typeOf(one, name));
  return one.nodes
    .filter((node) => /^(Conv|Gemm|MatMul)$/.test(node.op))
    .map(
      (node) =>
        opOf(node)?.cost(node, types(node.inputs), types(node.outputs))?.flops ?? Number.NaN,
    )
    .reduce((total, flops) => total + flops / 2, 0);
}

/** Skips by kind, from the structure of the papers: a projection or padding where a stage changes the shape. */
const SKIPS: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  resnet18: { identity: 5, projection: 3 },
  resnet34: { identity: 13, projection: 3 },
  resnet50: { identity: 12, projection: 4 },
  resnet101: { identity: 29, projection: 4 },
  resnet152: { identity: 46, projection: 4 },
  "resnext50-32x4d": { identity: 12, projection: 4 },
  "wide-resnet50-2": { identity: 12, projection: 4 },
  "preact-resnet50": { identity: 12, projection: 4 },
  "cifar-resnet20": { identity: 7, padded: 2 },
  "cifar-resnet56": { identity: 25, padded: 2 },
  "cifar-resnet110": { identity: 52, padded: 2 },
  "preact-resnet164": { identity: 51, projection: 3 },
  densenet121: { concat: 6 + 12 + 24 + 16 },
  densenet161: { concat: 6 + 12 + 36 + 24 },
  densenet169: { concat: 6 + 12 + 32 + 32 },
  densenet201: { concat: 6 + 12 + 48 + 32 },
  "mobilenet-v2": { identity: 10 },
  "efficientnet-b0": { identity: 9 },
  "shufflenet-v2": { concat: 3 + 7 + 3 },
  "convnext-tiny": { identity: 18 },
};

/** Direct links of the dense blocks: n(n+1)/2 for n layers. */
const LINKS: Readonly<Record<string, number>> = {
  densenet121: 21 + 78 + 300 + 136,
  densenet161: 21 + 78 + 666 + 300,
  densenet169: 21 + 78 + 528 + 528,
  densenet201: 21 + 78 + 1176 + 528,
};

/** What the census calls the blocks, where they are not additive. */
const BLOCKS: Readonly<Record<string, string>> = {
  ...Object.fromEntries(Object.keys(LINKS).map((name) => [name, "dense"])),
  "shufflenet-v2": "partial",
};

describe.each(Object.entries(residualZoo))("%s", (name, model) => {
  const graph = structure(model);

  test("has the published parameters, and the multiply-accumulates within a hundredth", () => {
    sound(graph);
    const { published } = model;
    if (published?.parameters !== undefined) expect(parameters(graph)).toBe(published.parameters);
    if (published?.macs !== undefined) {
      // Published to two decimals.
      const slack = Math.max(0.01 * published.macs, 0.005e9);
      expect(Math.abs(macs(graph) - published.macs)).toBeLessThan(slack);
    }
  });

  test("has the skips that its authors drew", () => {
    const { skips, denseLinks, hazards } = census(graph);
    const counts: Record<string, number> = {};
    for (const { kind } of skips) counts[kind] = (counts[kind] ?? 0) + 1;
    expect(counts).toEqual(SKIPS[name]);
    expect(denseLinks).toBe(LINKS[name] ?? 0);
    expect([...new Set(skips.map((skip) => skip.block))]).toEqual([BLOCKS[name] ?? "additive"]);
    expect(hazards).toEqual([]);
  });

  test("runs, in its small form", async () => {
    const { small } = model;
    if (small === undefined) throw new Error("no small form");
    const { build, input } = small;
    const made = sound(nn.buildNet(build(), { input, output: "y", seed: 1 }));
    const x = noise([2, ...input.shape.map(Number)]);
    const { shape, values } = await run(scrambled(made), { image: x });
    expect(shape).toEqual([2, Number(made.outputs[0]?.shape?.[1])]);
    expect(values.every(Number.isFinite)).toBe(true);
    // An image makes a difference.
    expect(values.slice(0, shape[1])).not.toEqual(values.slice(shape[1]));
  });
});

describe("the papers' own numbers", () => {
  const millions = (net: nn.Layer): number =>
    parameters(structure({ build: () => net, input: { name: "x", shape: [3, 32, 32] } })) / 1e6;

  test("ResNets for CIFAR (He et al. 2016, table 6)", () => {
    expect(millions(nn.cifarResnet(20))).toBeCloseTo(0.27, 2);
    expect(millions(nn.cifarResnet(32))).toBeCloseTo(0.46, 2);
    expect(millions(nn.cifarResnet(44))).toBeCloseTo(0.66, 2);
    expect(millions(nn.cifarResnet(56))).toBeCloseTo(0.85, 2);
    expect(millions(nn.cifarResnet(110))).toBeCloseTo(1.7, 1);
    expect(millions(nn.cifarResnet(1202))).toBeCloseTo(19.4, 1);
  });
});

describe("options", () => {
  test("weights are named by stage and block", () => {
    const names = [
      ...structure({
        build: () => nn.resnet(18),
        input: { name: "x", shape: [3, 32, 32] },
      }).initializers.keys(),
    ];
    expect(names).toContain("stage2.block1.conv2.weight");
    expect(names).toContain("stage2.block1.shortcut.conv.weight");
  });

  test("a depth that has no whole number of blocks is refused with those that have", () => {
    try {
      structure({ build: () => nn.cifarResnet(21), input: { name: "x", shape: [3, 8, 8] } });
      expect.unreachable();
    } catch (error) {
      if (!(error instanceof SkipwayError)) throw error;
      expect(error.diagnostics[0]?.fix).toMatch(/8, 14, 20/);
    }
  });

  test("the rate of stochastic depth rises to the last block", () => {
    const net = nn.cifarResnet(8, { dropPath: 0.6 });
    const input = { name: "x", shape: [3, 8, 8] };
    const graph = nn.buildNet(net, { input, output: "y", seed: 1, mode: "training" });
    const rates = graph.nodes
      .filter((node) => node.op === "Dropout")
      .map((node) => graph.initializers.get(node.inputs[1] ?? ""));
    expect(rates.map((ref) => (ref === undefined ? [] : numbersOf(ref)))).toEqual(
      [0.2, 0.4, 0.6].map((rate) => [Math.fround(rate)]),
    );
  });

  test("image sizes may be symbols", () => {
    const input = { name: "x", shape: [3, "H", "W"] };
    for (const name of ["resnet18", "cifar-resnet20", "mobilenet-v2", "shufflenet-v2"]) {
      const net = present(residualZoo[name], name).build();
      const graph = nn.buildNet(net, { input, output: "y", seed: 1, weights: "absent" });
      expect(sound(graph).outputs[0]?.shape).toEqual(["N", name.startsWith("cifar") ? 10 : 1000]);
      const want = Object.values(SKIPS[name] ?? {}).reduce((a, b) => a + b, 0);
      expect(census(graph).skips).toHaveLength(want);
    }
  });
});
