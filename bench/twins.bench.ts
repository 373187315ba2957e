// What skips do to a deep network, over several seeds: training loss and holdout accuracy of the starter
// and of its plain twin.

import { skipway, withFolder } from "./command.ts";
import type { Bench } from "./main.ts";

interface Twin {
  readonly loss: number;
  readonly accuracy: number;
  readonly gradientRatio: number;
}

/** The starter and its twin, seed by seed. */
export const twins: Bench = {
  async run({ small, log }) {
    const seeds = small ? [1] : [1, 2, 3, 4, 5];
    const rows: Record<string, unknown>[] = [];
    const accuracies: number[] = [];
    for (const seed of seeds) {
      const args = ["up", "--once", "--json", "--seed", String(seed)];
      const { out } = await withFolder((folder) =>
        skipway([...args, "--data", folder, ...(small ? ["--epochs", "3"] : [])]),
      );
      // The document of `up --once --json`, docs/guide/command-line.md.
      const { training, model } = JSON.parse(out) as {
        training: { residual: Twin; plain: Twin; seconds: number };
        model: { digest: string };
      };
      const { residual, plain } = training;
      accuracies.push(residual.accuracy);
      rows.push({
        seed,
        residualAccuracy: Number(residual.accuracy.toFixed(4)),
        residualLoss: Number(residual.loss.toFixed(5)),
        plainAccuracy: Number(plain.accuracy.toFixed(4)),
        plainLoss: Number(plain.loss.toFixed(5)),
        lossRatio: Number((plain.loss / residual.loss).toFixed(1)),
        residualGradientRatio: Number(residual.gradientRatio.toFixed(1)),
        plainGradientRatio: Number(plain.gradientRatio.toFixed(1)),
        seconds: Number(training.seconds.toFixed(1)),
        digest: model.digest.slice(7, 19),
      });
      log(`seed ${seed} done`);
    }
    const mean = accuracies.reduce((a, b) => a + b, 0) / accuracies.length;
    rows.push({ seed: "mean", residualAccuracy: Number(mean.toFixed(4)) });
    return { settings: { epochs: small ? 3 : 15, batch: 64, peakRate: 0.1 }, rows };
  },
};
