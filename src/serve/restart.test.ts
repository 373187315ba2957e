import { expect, test } from "vitest";
import { afterDeath, NO_FAILURES, restMs } from "./restart.ts";

test("a process is started again at once after a first death, then after longer pauses up to a bound", () => {
  let state = NO_FAILURES;
  const delays = Array.from({ length: 10 }, () => {
    const next = afterDeath(state, 50);
    state = next.state;
    return next.delayMs;
  });
  expect(delays).toEqual([0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
  expect(afterDeath(state, 60_000).delayMs).toBe(0);
});

test("starts of a process for which no client waits take one part in 200 of the time, whatever it lived", () => {
  expect(restMs(400, 0, 0)).toBe(80_000);
  expect(restMs(400, 30_000, 0)).toBe(50_000);
  expect(restMs(400, 100_000, 0)).toBe(0);
  // It is started no sooner than if clients waited, and not forgotten.
  expect(restMs(0.4, 0, 6400)).toBe(6400);
  expect(restMs(60_000, 0, 100)).toBe(300_000);
});
