import { describe, expect, test } from "vitest";
import { sound } from "../../../test/sound.ts";
import { census } from "../../analysis/census.ts";
import type { Graph } from "../../graph/graph.ts";
import { float32 } from "../../graph/tensor.ts";
import {
  affine,
  distance,
  numbers,
  parameters,
  relu,
  rows,
  run,
  sigmoid,
  weight,
} from "../blocks/blocks.test-helper.ts";
import * as nn from "../index.ts";

const { highwayMlp, linknet, multiTask, tcn, twoTowers, unet } = nn;

function build(net: nn.Layer, shape: nn.NetInput["shape"], more: Partial<nn.BuildOptions> = {}) {
  return sound(nn.buildNet(net, { input: { name: "x", shape }, output: "y", seed: 1, ...more }));
}

const absent = { weights: "absent" } as const;

function kinds(graph: Graph): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { kind, encoderDecoder } of census(graph).skips) {
    const name = encoderDecoder ? `${kind} over an encoder and a decoder` : kind;
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

describe("U-Net", () => {
  /** Weights and biases of figure 1, summed up by hand. */
  function counted(input: number, classes: number, width: number, levels: number): number {
    const conv = (from: number, to: number, taps: number) => from * to * taps + to;
    const double = (from: number, to: number) => conv(from, to, 9) + conv(to, to, 9);
    const at = (level: number) => width * 2 ** level;
    let sum = conv(width, classes, 1) + double(at(levels - 1), at(levels));
    for (let level = 0; level < levels; level++) {
      sum += double(level === 0 ? input : at(level - 1), at(level));
      sum += conv(at(level + 1), at(level), 4) + double(2 * at(level), at(level));
    }
    return sum;
  }

  test("four skips over encoder and decoder, parameters as figure 1 adds up", () => {
    const graph = build(unet(), [1, 572, 572], absent);
    expect(parameters(graph)).toBe(counted(1, 2, 64, 4));
    expect(parameters(graph)).toBe(31_030_658);
    expect(kinds(graph)).toEqual({ "concat over an encoder and a decoder": 4 });
    expect(graph.outputs[0]?.shape).toEqual(["N", 2, 572, 572]);
  });

  test("without padding, 572 pixels give 388, as in figure 1", () => {
    const graph = build(unet({ padding: "valid" }), [1, 572, 572], absent);
    expect(graph.outputs[0]?.shape).toEqual(["N", 2, 388, 388]);
    expect(kinds(graph)).toEqual({ "concat over an encoder and a decoder": 4 });
  });

  test("an attention gate weighs each skip, and has a sum of its own", () => {
    const graph = build(unet({ attention: true }), [1, 256, 256], absent);
    expect(kinds(graph)).toEqual({
      "gated over an encoder and a decoder": 4,
      "projection over an encoder and a decoder": 4,
    });
  });

  test("an image of any size comes out as large as it was", async () => {
    const graph = build(unet({ width: 2, levels: 3, norm: true, up: "nearest" }), [1, "H", "W"]);
    for (const [h, w] of [
      [8, 8],
      [13, 22],
    ] as const) {
      const x = float32([1, 1, h, w], numbers(h * w));
      expect((await run(graph, { x })).get("y")).toHaveLength(2 * h * w);
    }
    expect(kinds(graph)).toEqual({ "concat over an encoder and a decoder": 3 });
  });

  test("weights are named after their level", () => {
    const names = [...build(unet(), [1, 64, 64], absent).initializers.keys()];
    expect(names).toContain("level1.level2.encode.conv.weight");
    expect(names).toContain("level1.level2.level3.level4.bottom.conv2.weight");
    expect(names).toContain("level1.decode.conv2.bias");
  });
});

describe("LinkNet", () => {
  test("four added skips around the stages of a residual encoder", () => {
    const graph = build(linknet(), [3, 256, 256], absent);
    expect(kinds(graph)).toEqual({
      "identity over an encoder and a decoder": 4,
      identity: 5,
      projection: 3,
    });
    expect(graph.outputs[0]?.shape).toEqual(["N", 2, 256, 256]);
    // The authors' size: 11.5 million.
    expect(Math.round(parameters(graph) / 1e5)).toBe(115);
  });
});

describe("highway network", () => {
  test("a gated skip a layer, and what the equation says", async () => {
    const graph = build(highwayMlp({ width: 4, depth: 3, classes: 2, gateBias: -1 }), [3]);
    expect(census(graph).counts).toMatchObject({ total: 3, gated: 3 });
    const layer = (name: string, x: readonly number[]) =>
      affine(x, weight(graph, `${name}.weight`), weight(graph, `${name}.bias`));
    const block = (name: string, x: readonly number[]) => {
      const h = layer(`${name}.transform.dense`, x).map(relu);
      const t = affine(
        x,
        weight(graph, `${name}.gate.dense.weight`),
        weight(graph, `${name}.gate.bias`),
      );
      return x.map((v, i) => v + sigmoid(t[i] ?? 0) * ((h[i] ?? 0) - v));
    };
    const x = numbers(6);
    const expected = rows(x, 3).flatMap((one) => {
      const start = layer("dense", one).map(relu);
      const end = ["highway", "highway2", "highway3"].reduce((v, name) => block(name, v), start);
      return layer("dense2", end);
    });
    const found = await run(graph, { x: float32([2, 3], x) });
    expect(distance(found.get("y"), expected)).toBeLessThan(1e-5);
  });
});

describe("temporal convolutional network", () => {
  test("a skip a block, a projection where the channels change", () => {
    const graph = build(tcn({ channels: [4, 4, 6, 6] }), [3, "L"], absent);
    expect(kinds(graph)).toEqual({ projection: 2, identity: 2 });
    expect(graph.outputs[0]?.shape).toEqual(["N", 10, "L"]);
  });

  test("no step knows of those behind it, and each of as many before it as stated", async () => {
    const length = 20;
    const graph = build(tcn({ channels: [3, 3], kernel: 3, classes: 1 }), [1, length]);
    const x = numbers(length);
    const base = (await run(graph, { x: float32([1, 1, length], x) })).get("y") ?? [];
    const at = 4;
    const other = x.map((v, i) => (i === at ? v + 5 : v));
    const found = (await run(graph, { x: float32([1, 1, length], other) })).get("y") ?? [];
    const changed = found.flatMap((v, i) => (v === base[i] ? [] : [i]));
    // 1 + 2·(3 - 1)·(2² - 1) steps see it.
    expect(changed[0]).toBe(at);
    expect(changed.at(-1)).toBeLessThan(at + 13);
    expect(changed.length).toBeGreaterThan(6);
  });
});

describe("several inputs and outputs", () => {
  test("two towers: the second input is one of the model, and both towers skip the fusion", async () => {
    const net = twoTowers({ classes: 2, width: 4, blocks: 1, second: { name: "facts", size: 3 } });
    const graph = build(net, [1, 4, 4]);
    expect(graph.inputs.map((one) => [one.name, one.shape])).toEqual([
      ["x", ["N", 1, 4, 4]],
      ["facts", ["N", 3]],
    ]);
    expect(kinds(graph)).toEqual({ identity: 3 });
    const x = float32([2, 1, 4, 4], numbers(32));
    const facts = numbers(6);
    const one = await run(graph, { x, facts: float32([2, 3], facts) });
    const two = await run(graph, { x, facts: float32([2, 3], [...facts.slice(0, 3), 1, 2, 3]) });
    expect(one.get("y")).toHaveLength(4);
    expect(two.get("y")?.slice(0, 2)).toEqual(one.get("y")?.slice(0, 2));
    expect(two.get("y")?.slice(2)).not.toEqual(one.get("y")?.slice(2));
  });

  test("a head for each task", async () => {
    const graph = build(multiTask({ main: 3, heads: { age: 1, mood: 2 }, width: 4 }), [1, 4, 4]);
    expect(graph.outputs.map((one) => [one.name, one.shape])).toEqual([
      ["y", ["N", 3]],
      ["age", ["N", 1]],
      ["mood", ["N", 2]],
    ]);
    expect(kinds(graph)).toEqual({ identity: 3 });
    const found = await run(graph, { x: float32([1, 1, 4, 4], numbers(16)) });
    expect([...found].map(([name, values]) => [name, values.length])).toEqual([
      ["y", 3],
      ["age", 1],
      ["mood", 2],
    ]);
  });
});
