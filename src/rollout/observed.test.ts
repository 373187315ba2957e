import { expect, test } from "vitest";
import type { RequestOutcome } from "../serve/outcomes.ts";
import { observationOf } from "./observed.ts";

const ARMS = { model: "digits", from: 1, to: 2 };
const ANSWER: RequestOutcome = {
  kind: "request",
  model: "digits",
  version: 2,
  atMs: 1000,
  role: "candidate",
  monotonicMs: 500,
  share: 0.05,
  batch: 7,
  batchRows: 3,
  rows: 3,
  latencyMs: 12,
  computeMs: 10,
  endedMs: 12,
  outcome: "good",
  outOfMemory: false,
  finite: true,
  shape: "1x8x8",
};

test("a request that had its batch alone is a whole batch, one of several is waited for the others of", () => {
  expect(observationOf(ARMS, ANSWER)).toMatchObject({ batch: 7, batchSize: 1 });
  expect(observationOf(ARMS, { ...ANSWER, batchRows: 4 })).not.toHaveProperty("batchSize");
  expect(observationOf(ARMS, { ...ANSWER, batchRows: undefined })).not.toHaveProperty("batchSize");
  const unbatched = { ...ANSWER, batch: undefined, batchRows: 3 };
  expect(observationOf(ARMS, unbatched)).not.toHaveProperty("batchSize");
});
