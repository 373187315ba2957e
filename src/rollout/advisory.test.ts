import { expect, test } from "vitest";
import { float32, type Tensor } from "../graph/tensor.ts";
import type { BatchOutcome, PairOutcome, RequestOutcome } from "../serve/outcomes.ts";
import { Advisory } from "./advisory.ts";

const OF = { model: "m", version: 2, atMs: 0 } as const;

function request(y: Tensor): RequestOutcome {
  return {
    ...{ ...OF, kind: "request", role: "candidate", share: 0.5, monotonicMs: 0, endedMs: 1 },
    ...{ rows: 1, outcome: "good", outOfMemory: false, finite: true, shape: "" },
    outputs: new Map([["y", y]]),
  };
}

const answer = new Map([["y", float32([1, 2], [0, 1])]]);
const pair: PairOutcome = {
  ...{ ...OF, kind: "pair", agrees: true, stableMs: 1, candidateMs: 1, outcome: "good" },
  ...{ outOfMemory: false, finite: true, answers: { stable: answer, candidate: answer } },
};
const batch: BatchOutcome = {
  ...{ ...OF, kind: "batch", role: "candidate", bucket: "a#1", rows: 1, executeMs: 2 },
  outcome: "good",
};

test("samples of the split and batches that were answered count; copies while there is nothing else", () => {
  const advisory = new Advisory();
  advisory.take("candidate", request(float32([1, 2], [1, 0])), false);
  advisory.take("candidate", { ...request(float32([1, 2], [1, 0])), role: "pinned" }, false);
  advisory.take("candidate", pair, false);
  advisory.take("candidate", pair, true);
  advisory.take("candidate", batch, false);
  advisory.take("candidate", { ...batch, role: "shadow" }, false);
  advisory.take("candidate", { ...batch, outcome: "failed" }, false);
  const { drift, cost } = new Advisory(advisory.saved()).reading();
  expect(drift).toMatchObject([{ output: "y", stable: 1, candidate: 2 }]);
  expect(cost.candidate).toMatchObject({ inferences: 1, msPerInference: 2 });
});

test("a defect in it is told, and ends nothing else", () => {
  const advisory = new Advisory();
  const broken: Tensor = { ...float32([1, 2], [1, 0]), shape: [9, 9] };
  for (let i = 0; i < 50; i++) advisory.take("candidate", request(broken), false);
  expect(advisory.reading().fault).toMatch(/defect/);
  advisory.take("candidate", batch, false);
  expect(advisory.reading().cost.candidate.inferences).toBe(0);
});
