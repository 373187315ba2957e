// A sample of `npm run census-truth`: the structures of the zoo against their labels, without weights.

import { describe, expect, test } from "vitest";
import { judge, rowsOf } from "../scripts/census-judge.ts";
import { type Label, zooLabels } from "../scripts/census-labels.ts";
import { census } from "../src/analysis/census.ts";
import { zoo } from "../src/nn/models/index.ts";
import { buildNet } from "../src/nn/net.ts";
import { withFunctions } from "../src/passes/functions.ts";

/** One of a family where sizes differ in depth alone; the command does all. */
const SAMPLE = [
  ...["starter", "resnet18", "resnet50", "preact-resnet50", "cifar-resnet20", "densenet121"],
  ...["mobilenet-v2", "efficientnet-b0", "shufflenet-v2", "convnext-tiny", "squeezenet-1.1"],
  ...["googlenet", "unet", "unet-attention", "linknet", "highway-mlp", "tcn", "two-towers"],
  ...["vit-b-16", "gpt-2", "bert-base", "llama-2-7b", "gpt-j-6b"],
];

test("every model of the zoo has a label", () => {
  expect(Object.keys(zooLabels).toSorted()).toEqual(Object.keys(zoo).toSorted());
});

describe.each(SAMPLE)("%s", (name) => {
  const model = zoo[name] ?? expect.unreachable();
  const { full } = zooLabels[name] ?? expect.unreachable();
  const graph = buildNet(model.build(), { input: model.input, weights: "absent" });

  test("has the skips of its label, as it is and with its layers as functions", () => {
    expect(judge(graph, full).misses).toEqual([]);
    expect(rowsOf(census(withFunctions(graph)))).toEqual(rowsOf(census(graph)));
  });
});

test("a label that is not met is told in words, and counts as neither found nor right", () => {
  const model = zoo["cifar-resnet20"] ?? expect.unreachable();
  const graph = buildNet(model.build(), { input: model.input, weights: "absent" });
  const label: Label = { identity: 8, projection: 2, denseLinks: 1, activation: { pre: 1 } };
  expect(judge(graph, label)).toEqual({
    expected: 10,
    found: 9,
    right: 8,
    misses: [
      "additiveIdentity 9 instead of 8",
      "additiveProjection 0 instead of 2",
      "links 0 instead of 1",
      "activation pre 0 instead of 1",
    ],
  });
});
