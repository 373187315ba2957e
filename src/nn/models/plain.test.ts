import { describe, expect, test } from "vitest";
import { sound } from "../../../test/sound.ts";
import { census } from "../../analysis/census.ts";
import type { Graph } from "../../graph/graph.ts";
import { isStatic, type Shape } from "../../graph/shape.ts";
import { float32, type Tensor } from "../../graph/tensor.ts";
import { numbers, parameters, run } from "../blocks/blocks.test-helper.ts";
import * as nn from "../index.ts";
import type { ZooNetwork } from "./index.ts";
import { plainZoo } from "./plain-zoo.ts";
import { variousZoo } from "./various-zoo.ts";

function build({ build: root, input }: ZooNetwork, weights: "initial" | "absent"): Graph {
  return sound(nn.buildNet(root(), { input, output: "y", seed: 1, weights }));
}

const structure = (net: nn.Layer, size: number): Graph =>
  build({ build: () => net, input: { name: "image", shape: [3, size, size] } }, "absent");

describe("networks without skips", () => {
  test.each(Object.entries(plainZoo))("%s has the published parameters and no skip", (_, model) => {
    const graph = build(model, "absent");
    expect(parameters(graph)).toBe(model.published?.parameters);
    expect(graph.outputs[0]?.shape).toEqual(["N", 1000]);
    expect(census(graph).skips).toEqual([]);
  });

  test("sizes of the tables: the last picture before the pooling", () => {
    const last = (graph: Graph) =>
      graph.values.get(graph.nodes.find((node) => node.op === "GlobalAveragePool")?.inputs[0] ?? "")
        ?.shape;
    expect(last(structure(nn.googlenet(), 224))).toEqual(["N", 1024, 7, 7]);
    expect(last(structure(nn.inceptionV3(), 299))).toEqual(["N", 2048, 8, 8]);
    expect(last(structure(nn.squeezenet(), 224))).toEqual(["N", 1000, 13, 13]);
  });

  test("weights are named after the table's rows", () => {
    const names = (net: nn.Layer): string[] => [...structure(net, 224).initializers.keys()];
    expect(names(nn.googlenet())).toContain("inception4c.branch2.unit2.conv.weight");
    expect(names(nn.squeezenet())).toContain("fire9.expand.three.conv.weight");
    expect(names(nn.vgg(16))).toContain("stage5.conv3.weight");
  });
});

describe("the small networks run", () => {
  const all = Object.entries({ ...plainZoo, ...variousZoo });
  test.each(all)("%s", async (_, { small }) => {
    if (small === undefined) throw new TypeError("every network here has a small form");
    const graph = build(small, "initial");
    const feeds = graph.inputs.map(({ name, shape }, i): [string, Tensor] => {
      const bound: Shape = shape?.map((dim) => (dim === "N" ? 2 : dim)) ?? [];
      if (!isStatic(bound)) throw new TypeError(`the size of ${name} varies`);
      const count = bound.reduce((a, b) => a * b, 1);
      return [name, float32(bound, numbers(count, i + 1))];
    });
    const found = await run(graph, Object.fromEntries(feeds));
    for (const { name, shape } of graph.outputs) {
      const values = found.get(name) ?? [];
      const each = shape?.slice(1).reduce((a: number, b) => a * Number(b), 1) ?? Number.NaN;
      expect(values).toHaveLength(2 * each);
      // A fresh network neither explodes nor dies.
      expect(Math.max(...values.map(Math.abs))).toBeLessThan(1e3);
      expect(new Set(values).size).toBeGreaterThan(1);
    }
  });
});
