import { expect, test } from "vitest";
import { Random } from "../base/random.ts";
import { Comparison } from "./comparison.ts";

interface Scene {
  readonly seed: number;
  readonly requests: number;
  readonly effect: number;
  /** Stable's mean drifts while the share rises: what turns plain means round. */
  readonly drift: number;
  readonly clients?: number;
}

function run({ seed, requests, effect, drift, clients }: Scene): {
  comparison: Comparison;
  outside: boolean;
} {
  const random = new Random(seed);
  const comparison = new Comparison();
  let outside = false;
  for (let i = 0; i < requests; i++) {
    const share = [0.05, 0.25, 0.5][Math.floor((3 * i) / requests)] ?? 0.5;
    const client = clients === undefined ? undefined : random.integer(clients);
    const place = client === undefined ? random.uniform() : ((client * 7919) % 1000) / 1000;
    const arm = place < share ? "candidate" : "stable";
    const own = client === undefined ? random.normal() : ((client * 31) % 17) / 8 - 1;
    const value = 10 + (drift * i) / requests + own + (arm === "candidate" ? effect : 0);
    comparison.take({ arm, share, key: client, value });
    if (i % 50 !== 0) continue;
    const { lower, upper } = comparison.reading();
    outside ||= (lower ?? effect) > effect || (upper ?? effect) < effect;
  }
  return { comparison, outside };
}

test("the interval holds the truth at every look, while the share rises and the world drifts", () => {
  let wrong = 0;
  for (let seed = 0; seed < 200; seed++) {
    if (run({ seed, requests: 1500, effect: 0.2, drift: 3 }).outside) wrong++;
  }
  // At most 5 % in the long run; of 200 more than 20 would be one case in ten thousand.
  expect(wrong).toBeLessThanOrEqual(20);
});

test("plain means would have been turned round by the ramp", () => {
  const { comparison } = run({ seed: 1, requests: 6000, effect: -0.3, drift: 3 });
  const { stable, candidate, difference, verdict } = comparison.reading();
  expect((candidate.mean ?? 0) - (stable.mean ?? 0)).toBeGreaterThan(0);
  expect(difference).toBeLessThan(0);
  expect(verdict).toBe("worse");
});

test("a difference is seen, none is not, and too few are said to be", () => {
  expect(run({ seed: 3, requests: 4000, effect: 1, drift: 0 }).comparison.reading()).toMatchObject({
    verdict: "better",
  });
  const none = run({ seed: 4, requests: 4000, effect: 0, drift: 0 }).comparison.reading();
  expect(none.verdict).toBe("no difference seen");
  expect(none.detectable).toBeGreaterThan(0);
  expect(run({ seed: 5, requests: 60, effect: 0, drift: 0 }).comparison.reading().verdict).toBe(
    "too few",
  );
});

test("a key counts once, and what is saved goes on with the same bits", () => {
  const { comparison } = run({ seed: 6, requests: 5000, effect: 0, drift: 0, clients: 300 });
  const { stable, candidate } = comparison.reading();
  // Once for each step, at the most.
  expect(stable.n + candidate.n).toBeLessThanOrEqual(3 * 300);
  const again = new Comparison(JSON.parse(JSON.stringify(comparison.saved())));
  for (const one of [comparison, again]) one.take({ arm: "stable", share: 0.5, value: 3 });
  expect(again.reading()).toEqual(comparison.reading());
});
