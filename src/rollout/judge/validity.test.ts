import { describe, expect, test } from "vitest";
import { Random } from "../../base/random.ts";
import { BETTER, logEvidence, type Tally, WORSE } from "./evidence.ts";
import { Judge } from "./judge.ts";
import { Ledger } from "./ledger.ts";
import { REHEARSED_LIMIT_MS, type Rehearsal, rehearse, rehearseRelease } from "./rehearsal.ts";
import type { Arm, JudgePolicy } from "./types.ts";

// That the e-values are e-values: their mean, over every outcome that there is, is at most 1.

const POLICY: JudgePolicy = {
  alpha: 0.001,
  thresholdMs: REHEARSED_LIMIT_MS,
  effect: 2,
  gates: {},
  disagreementAllowed: 0.02,
};

test("events with a chance each: the mean over all outcomes is 1 where chances are those of the null", () => {
  const shares = [0.01, 0.05, 0.05, 0.25, 0.5, 0.5, 0.9, 0.3, 0.3, 0.02];
  for (const ratio of [1, 2]) {
    for (const against of [WORSE, BETTER]) {
      let mean = 0;
      for (let outcome = 0; outcome < 2 ** shares.length; outcome++) {
        let chance = 1;
        const tallies = shares.map((share, i): Tally => {
          const odds = (share / (1 - share)) * ratio;
          const candidate = (outcome >> i) & 1;
          chance *= candidate === 1 ? odds / (1 + odds) : 1 / (1 + odds);
          return { share, candidate, stable: 1 - candidate };
        });
        mean += chance * Math.exp(logEvidence(tallies, against, ratio));
      }
      expect(mean).toBeCloseTo(1, 9);
    }
  }
});

describe("batches, whose arms may depend on everything before them", () => {
  const COUNT = 10;

  /** Mean of the e-value over all outcomes; arms and shares by a rule that sees the past. */
  function meanOf(seed: number, way: "up" | "down", chances: Record<Arm, number>, ratio: number) {
    let mean = 0;
    for (let outcome = 0; outcome < 2 ** COUNT; outcome++) {
      const ledger = new Ledger();
      const tallies: Tally[] = [];
      let chance = 1;
      for (let i = 0; i < COUNT; i++) {
        const past = outcome & (2 ** i - 1);
        const random = new Random(seed * 4096 + past, i);
        const arm: Arm = random.uniform() < 0.5 ? "candidate" : "stable";
        // The share changes too, and by what was seen.
        const stake = ledger.stake("one", arm, i < 3 || past % 2 === 0 ? 1 : 2);
        const bad = ((outcome >> i) & 1) === 1;
        chance *= bad ? chances[arm] : 1 - chances[arm];
        if (bad && stake[way] > 0) {
          tallies.push({
            share: stake[way],
            candidate: Number(arm === "candidate"),
            stable: Number(arm === "stable"),
          });
        }
      }
      mean += chance * Math.exp(logEvidence(tallies, way === "up" ? WORSE : BETTER, ratio));
    }
    return mean;
  }

  test.each([1, 2, 3, 4, 5, 6])("the mean is at most 1 (rule %d)", (seed) => {
    for (const p of [0.02, 0.3, 0.9]) {
      expect(meanOf(seed, "up", { stable: p, candidate: p }, 1)).toBeLessThanOrEqual(1 + 1e-9);
      const worse = { stable: p / 2, candidate: p };
      expect(meanOf(seed, "down", worse, 2)).toBeLessThanOrEqual(1 + 1e-9);
    }
  });

  test("where the candidate is worse, it grows", () => {
    expect(meanOf(1, "up", { stable: 0.05, candidate: 0.9 }, 1)).toBeGreaterThan(2);
  });
});

describe("an equal candidate", () => {
  const COUNT = 40;
  const steps = [
    { share: 0.05, requests: 1000 },
    { share: 0.25, requests: 2000 },
  ];
  const usual = { steps, ratePerSecond: 200, slowRate: 0.01, ratio: 1 };

  /** How often each rolls back: the judge, and the same e-process with every request as an event of its own. */
  function rolledBack(kind: Partial<Rehearsal>): { ours: number; naive: number } {
    let [ours, naive] = [0, 0];
    for (let seed = 1; seed <= COUNT; seed++) {
      const judge = new Judge(POLICY);
      const tallies = new Map<number, { share: number; candidate: number; stable: number }>();
      let highest = 0;
      rehearse({ ...usual, ...kind, seed }, (one) => {
        judge.observe(one);
        if (one.kind !== "request" || (one.latencyMs ?? 0) <= REHEARSED_LIMIT_MS) return true;
        const tally = tallies.get(one.share) ?? { share: one.share, candidate: 0, stable: 0 };
        tally[one.arm]++;
        tallies.set(one.share, tally);
        highest = Math.max(highest, logEvidence([...tallies.values()], WORSE));
        return true;
      });
      ours += Number(judge.regressed !== undefined);
      naive += Number(highest >= Math.log(1 / POLICY.alpha));
    }
    return { ours, naive };
  }

  test("with sticky clients of unequal traffic: counted by request it is rolled back, by client not", () => {
    const { ours, naive } = rolledBack({ stickyClients: 2000, slowClients: 0.02 });
    expect(naive).toBeGreaterThanOrEqual(0.05 * COUNT);
    expect(ours).toBe(0);
  });

  test("in batches of 8: counted by request it is rolled back, by batch not", () => {
    const { ours, naive } = rolledBack({ batchRows: 8, fullBatches: true });
    expect(naive).toBeGreaterThanOrEqual(0.2 * COUNT);
    expect(ours).toBe(0);
  });

  test.each([
    ["by itself", {}],
    ["in bursts and cycles", { restless: true }],
    ["in batches as its own load makes them", { batchRows: 8, restless: true }],
  ] as const)("is not rolled back, and passes: requests %s", (_, kind) => {
    const ends = { promoted: 0, "rolled back": 0, frozen: 0, waiting: 0 };
    const long = { share: 0.5, requests: 30_000 };
    for (let seed = 1; seed <= 15; seed++) {
      const rehearsal = { ...usual, ...kind, steps: [...steps, long], seed };
      ends[rehearseRelease(rehearsal, POLICY).end]++;
    }
    expect(ends["rolled back"] + ends.frozen).toBe(0);
    expect(ends.promoted).toBeGreaterThanOrEqual(14);
  });
});

test("a candidate at the edge of what is allowed passes seldom", () => {
  let promoted = 0;
  for (let seed = 1; seed <= 60; seed++) {
    const steps = [{ share: 0.5, requests: 3000 }];
    const rehearsal = { seed, steps, ratePerSecond: 200, slowRate: 0.01, ratio: 2.05 };
    promoted += Number(rehearseRelease(rehearsal, POLICY).end === "promoted");
  }
  expect(promoted).toBeLessThanOrEqual(6);
});
