import { beforeAll, describe, expect, test } from "vitest";
import * as nn from "../nn/index.ts";
import { type Dataset, digits } from "./data.ts";
import { train } from "./train.ts";

// Residual blocks learn, whatever shortcut they have and however their branches start.

let data: Dataset;
beforeAll(async () => {
  const full = await digits();
  const { inputs, labels } = full.train;
  const count = 256;
  const head = { inputs: inputs.subarray(0, count * 64), labels: labels.subarray(0, count), count };
  data = { ...full, train: head };
});

/** Two stages of two blocks; the second halves the image and doubles the channels. */
function network(options: nn.ResidualOptions): nn.Layer {
  return nn.sequential(
    nn.conv(8, 3),
    nn.batchNorm(),
    nn.residual(8, options),
    nn.residual(16, { ...options, stride: 2 }),
    ...(options.order === "pre" ? [nn.relu()] : []),
    nn.flatten(),
    nn.dense(10),
  );
}

const OPTIONS: readonly nn.ResidualOptions[] = [
  { shortcut: "padded" },
  { order: "pre", branchScale: "zero" },
  { branchScale: "zero" },
  { branchScale: "rezero" },
  { branchScale: { skipInit: 0.5 }, norm: "none" },
  { branchScale: { layerScale: 0.1 } },
  { branchScale: { fixup: 2 } },
  { dropPath: 0.3 },
  { squeeze: 4 },
];

describe("residual blocks learn", () => {
  test.each(OPTIONS.map((options) => [JSON.stringify(options), options] as const))(
    "%s",
    async (_name, options) => {
      const run = await train(network(options), data, {
        loss: "cross-entropy",
        optimizer: nn.sgd({ rate: 0.05, momentum: 0.9 }),
        epochs: 3,
        batch: 32,
      });
      const [first = 0, last = 0] = [run.losses[0], run.losses.at(-1)];
      expect(last).toBeLessThan(0.8 * first);
      // What scales a branch is learned, too, and stochastic depth leaves nothing in the model.
      const { initializers, nodes } = run.model.graph;
      const start = nn.buildNet(network(options), { input: data.input, output: "y", seed: 1 });
      for (const [name, ref] of start.initializers) {
        if (/scale\.weight$/.test(name)) expect(initializers.get(name), name).not.toEqual(ref);
      }
      expect(nodes.map((node) => node.op)).not.toContain("Dropout");
    },
  );
});
