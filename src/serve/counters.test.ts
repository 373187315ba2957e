import { expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { Counters } from "./counters.ts";

// perf_analyzer divides the sums by the number of requests: a run that counts once for its batch would make
// a batch of four look four times as fast as it is.
test("each request counts with the whole run of its batch, in the statistics by batch the run counts once", () => {
  const counters = new Counters(systemClock);
  counters.ran({ rows: 4, requests: 3, inputMs: 1, inferMs: 10, outputMs: 2 });
  counters.ran({ rows: 4, requests: 0, inputMs: 1, inferMs: 5, outputMs: 0 });
  const counts = counters.snapshot();
  expect(counts.computeInput).toEqual({ count: 3, ms: 3 });
  expect(counts.computeInfer).toEqual({ count: 3, ms: 30 });
  expect(counts.computeOutput).toEqual({ count: 3, ms: 6 });
  expect(counts.executions).toBe(2);
  expect(counts.batches).toMatchObject([{ rows: 4, computeInfer: { count: 2, ms: 15 } }]);
});
