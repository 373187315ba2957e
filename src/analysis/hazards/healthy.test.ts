// Networks as their authors drew them have no hazards but those that are told here.

import { describe, expect, test } from "vitest";
import { present } from "../../base/assert.ts";
import { zoo } from "../../nn/models/index.ts";
import { buildNet } from "../../nn/net.ts";
import { lint } from "../lint.ts";

/** Ids of all that is told. */
const TOLD: Readonly<Record<string, readonly string[]>> = {
  starter: [],
  resnet50: [],
  "preact-resnet50": [],
  // Shortcuts without weights: option A of the paper.
  "cifar-resnet20": ["skip/lossy-shortcut"],
  densenet121: [],
  "mobilenet-v2": [],
  "efficientnet-b0": [],
  "shufflenet-v2": [],
  "convnext-tiny": [],
  googlenet: [],
  // The outermost level holds a quarter of the peak.
  unet: ["memory/long-skip"],
  "highway-mlp": [],
  "vit-b-16": [],
  "gpt-2": [],
  // Twelve layers with the norm behind the sum: that depth is trained as a matter of course.
  "bert-base": [],
};

describe("of a healthy network", () => {
  test.each(Object.keys(TOLD))("%s", (name) => {
    const { build, input } = present(zoo[name], "a model of the zoo");
    const graph = buildNet(build(), { input, output: "y", seed: 1, weights: "absent" });
    expect([...new Set(lint(graph).map(({ id }) => id))]).toEqual(TOLD[name]);
  });
});
