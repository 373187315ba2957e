// Whether a conditional block really skips: wall time of one run with its gate shut beside open, for heavy
// branches and one that is not worth a gate. Open and shut take turns in one session.

import { execFileSync } from "node:child_process";
import { median } from "./command.ts";
import type { Bench } from "./main.ts";

interface Side {
  readonly gate: number;
  readonly ms: readonly number[];
}

const BRANCHES = [
  ["conv", "8 convolutions 3x3, 64 channels, 56x56", 64, 8, 56],
  ["conv", "2 convolutions 3x3, 64 channels, 56x56", 64, 2, 56],
  ["dense", "8 dense layers of 1024", 1024, 8, 1],
  ["conv", "1 convolution 3x3, 16 channels, 28x28", 16, 1, 28],
] as const;

/** The conditional block, open and shut. */
export const conditional: Bench = {
  run({ small, log }) {
    const rounds = small ? 5 : 60;
    const rows = BRANCHES.map(([kind, branch, ...sizes]) => {
      const args = [kind, ...sizes.map(String), String(rounds)];
      const out = execFileSync(process.execPath, ["bench/conditional-child.mjs", ...args]);
      const sides = JSON.parse(out.toString()) as Side[];
      const [shut, open] = sides.toSorted((a, b) => a.gate - b.gate);
      const [shutMs, openMs] = [median(shut?.ms ?? []), median(open?.ms ?? [])];
      log(branch);
      return {
        branch,
        openGate: Number(open?.gate.toFixed(3)),
        shutGate: Number(shut?.gate.toFixed(3)),
        openMs: Number(openMs.toFixed(3)),
        shutMs: Number(shutMs.toFixed(3)),
        shutOverOpen: `${((100 * shutMs) / openMs).toFixed(1)} %`,
        runs: rounds,
      };
    });
    return Promise.resolve({ settings: { rounds, batch: 1, threads: 1 }, rows });
  },
};
