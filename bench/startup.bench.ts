// How long a start takes: the first with its training, and the following ones, from the launch of the
// process to the model answering (and the process gone again, which adds a little).

import { median, skipway, withFolder } from "./command.ts";
import type { Bench } from "./main.ts";

/** First and later starts of `skipway up --once`. */
export const startup: Bench = {
  async run({ small, log }) {
    const rounds = small ? 1 : 3;
    const later = small ? 2 : 5;
    const first: number[] = [];
    const second: number[] = [];
    for (let round = 0; round < rounds; round++) {
      await withFolder(async (folder) => {
        const args = [
          "up",
          "--once",
          "--data",
          folder,
          ...(small ? ["--epochs", "3", "--seed", "4"] : []),
        ];
        first.push((await skipway(args)).seconds);
        for (let i = 0; i < later; i++) second.push((await skipway(args)).seconds);
        log(`round ${round + 1} of ${rounds}: first start ${first.at(-1)?.toFixed(1)} s`);
      });
    }
    const row = (start: string, seconds: readonly number[]) => ({
      start,
      medianSeconds: Number(median(seconds).toFixed(2)),
      maxSeconds: Number(Math.max(...seconds).toFixed(2)),
      n: seconds.length,
    });
    return {
      settings: { epochs: small ? 3 : 15, threadsPerTwin: 1 },
      rows: [row("first", first), row("later", second)],
    };
  },
};
