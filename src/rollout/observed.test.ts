import { expect, test } from "vitest";
import { model, setUp } from "../serve/fleet.test-helper.ts";
import type { Outcome } from "../serve/outcomes.ts";
import { Judge } from "./judge/judge.ts";
import type { RequestObservation } from "./judge/types.ts";
import { observationOf } from "./observed.ts";

const ARMS = { model: "m", from: 1, to: 2 };

test("the judge is told how many requests a batch had, and counts it with the last of them", async () => {
  const { serve, fleet, ask, runner } = setUp({ probeEveryMs: 1e6 });
  await serve(model(1), model(2));
  const judge = new Judge({
    ...{ alpha: 0.001, thresholdMs: 1000, effect: 2, gates: {}, disagreementAllowed: 0.02 },
  });
  const told: RequestObservation[] = [];
  const incomplete: number[] = [];
  fleet.outcomes.subscribe((outcome: Outcome) => {
    const observation = observationOf(ARMS, outcome);
    if (observation?.kind !== "request") return;
    told.push(observation);
    // At one moment, so that no batch is closed by time.
    judge.observe({ ...observation, atMs: 1e12 });
    incomplete.push(judge.snapshot().units.length);
  });
  fleet.setSplit("m", { stable: 1, candidate: 2, share: 0.5 }, { by: "rollout" });
  for (const process of runner.processes) process.script.runMs = 5;
  await Promise.all(Array.from({ length: 24 }, (_, i) => ask({ key: `user-${i}` })));
  const batches = new Map<string, RequestObservation[]>();
  for (const one of told) {
    const name = `${one.arm} ${one.batch}`;
    batches.set(name, [...(batches.get(name) ?? []), one]);
  }
  const sizes = [...batches.values()].map(({ length }) => length);
  expect(Math.max(...sizes)).toBeGreaterThan(1);
  for (const requests of batches.values()) {
    for (const { batchSize, batchRows } of requests) {
      expect([batchSize, batchRows]).toEqual([requests.length, requests.length]);
    }
  }
  expect(told).toHaveLength(24);
  expect(new Set(told.map(({ arm }) => arm)).size).toBe(2);
  expect(incomplete.at(-1)).toBe(0);
});
