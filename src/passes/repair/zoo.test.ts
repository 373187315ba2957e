// Networks of the zoo that were exported for one batch size answer for any batch after the repair, as the network
// itself does.

import { describe, expect, test } from "vitest";
import { Random } from "../../base/random.ts";
import type { Graph, Value } from "../../graph/graph.ts";
import { float32, float32Values, int64, type Tensor } from "../../graph/tensor.ts";
import * as nn from "../../nn/index.ts";
import { zoo } from "../../nn/models/index.ts";
import type { Model } from "../../onnx/model.ts";
import { modelOf, withGraph } from "../../onnx/onnx-model.ts";
import { encodeModel } from "../../onnx/write.ts";
import { exportModel } from "../../runtime/export.ts";
import { inProcessRunner } from "../../runtime/in-process.ts";
import { repair } from "./repair.ts";

const LENGTH = 8;

function feedOf({ dtype, shape = [] }: Value, batch: number): Tensor {
  const random = new Random(7);
  const sizes = shape.map((dim, axis) =>
    axis === 0 ? batch : dim === "S" || dim === "T" ? LENGTH : Number(dim),
  );
  const count = sizes.reduce((a, b) => a * b, 1);
  return dtype === "int64"
    ? int64(
        sizes,
        Array.from({ length: count }, () => random.integer(2)),
      )
    : float32(
        sizes,
        Float32Array.from({ length: count }, () => random.normal()),
      );
}

type Answers = readonly { readonly shape: readonly number[]; readonly values: Float32Array }[];

async function answers(model: Model, inputs: Graph["inputs"], batch: number): Promise<Answers> {
  await using session = await inProcessRunner().load({ bytes: encodeModel(model) });
  const feeds = new Map(inputs.map((input) => [input.name, feedOf(input, batch)]));
  const found = await session.run(feeds);
  return [...found.values()].map((one) => ({ shape: one.shape, values: float32Values(one) }));
}

/** To the rounding of other fusions: the runtime sees more in a graph whose sizes are all numbers. */
function same(found: Answers, expected: Answers): void {
  expect(found.map(({ shape }) => shape)).toEqual(expected.map(({ shape }) => shape));
  for (const [i, { values }] of expected.entries()) {
    const other = found[i]?.values ?? [];
    expect(
      values.findIndex(
        (x, at) => !(Math.abs(x - (other[at] ?? Number.NaN)) <= 1e-4 * (1 + Math.abs(x))),
      ),
    ).toBe(-1);
  }
}

/** A class token and tokens, joined scales, lengths that are symbols, several inputs. */
const NETWORKS = ["vit-b-16", "unet", "densenet121", "gpt-2", "mobilenet-v2"].flatMap((name) => {
  const small = zoo[name]?.small;
  return small === undefined ? [] : [{ name, small }];
});

test("all of them are there", () => {
  expect(NETWORKS).toHaveLength(5);
});

describe.each(NETWORKS)("$name", ({ small }) => {
  const graph = nn.buildNet(small.build(), { input: small.input, output: "y", seed: 1 });
  const feeds = graph.inputs.filter(({ name }) => !graph.initializers.has(name));
  test.each([
    ["functions", 1],
    ["optimized", 2],
  ] as const)("%s, for a batch of %i", async (form, batch) => {
    const fixed = await exportModel(graph, { form, batch });
    const { graph: mended, unfixed } = repair(fixed.graph, {
      wanted: (id) => id === "batch/fixed-size",
    });
    expect(unfixed).toEqual([]);
    const model = withGraph(fixed, mended);
    expect(model.graph).not.toBe(fixed.graph);
    same(await answers(model, feeds, batch), await answers(fixed, feeds, batch));
    same(await answers(model, feeds, 3), await answers(modelOf(graph), feeds, 3));
  });
});
