// How long from an event to the frame of the on-call page that shows it, in Chromium: a rollout that is held and
// resumed again and again on a real server, alone and beside requests.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { withFolder } from "./command.ts";
import type { Bench } from "./main.ts";

interface Measured {
  readonly found: readonly { readonly eventMs: number; readonly askedMs: number }[];
  readonly browser: string;
}

/** From event to pixel. */
export const pixel: Bench = {
  async run({ small, log }) {
    const events = small ? 10 : 60;
    const rows: Record<string, unknown>[] = [];
    for (const perSecond of small ? [0] : [0, 100]) {
      const { found, browser } = await withFolder((folder) => measured(folder, events, perSecond));
      rows.push({
        requestsPerSecond: perSecond,
        n: found.length,
        ...quantiles(
          "eventToPixel",
          found.map((one) => one.eventMs),
        ),
        ...quantiles(
          "askedToPixel",
          found.map((one) => one.askedMs),
        ),
        chromium: browser,
      });
      log(`${perSecond} requests a second: done`);
    }
    return { settings: { events }, rows };
  },
};

async function measured(folder: string, events: number, perSecond: number): Promise<Measured> {
  const args = ["bench/pixel-child.mjs", folder, String(events), String(perSecond)];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return JSON.parse(stdout) as Measured;
}

/** With the largest: of sixty the 95th percentile is the fourth largest. */
function quantiles(name: string, values: readonly number[]): Readonly<Record<string, number>> {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (p: number): number => sorted[Math.ceil(p * sorted.length) - 1] ?? Number.NaN;
  return { [`${name}P50Ms`]: at(0.5), [`${name}P95Ms`]: at(0.95), [`${name}MaxMs`]: at(1) };
}
