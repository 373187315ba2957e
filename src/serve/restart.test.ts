import { expect, test } from "vitest";
import { afterDeath, NO_FAILURES } from "./restart.ts";

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
