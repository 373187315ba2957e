import { expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import type { RequestOutcome } from "../serve/outcomes.ts";
import { type Answered, Feedback } from "./feedback.ts";
import { MemoryRecords } from "./memory-records.ts";
import { served } from "./served.test-helper.ts";

function request(requestId: string, more: Partial<RequestOutcome> = {}): RequestOutcome {
  return {
    ...{ kind: "request", model: "m", version: 2, role: "candidate", requestId, share: 0.2 },
    ...{ atMs: systemClock.nowMs(), monotonicMs: 0, endedMs: 1, rows: 1, outcome: "good" },
    ...{ outOfMemory: false, finite: true, shape: "" },
    ...more,
  };
}

class Taker {
  readonly got: string[] = [];
  label({ arm, share }: Answered, correct: boolean): void {
    this.got.push(`${arm} ${share} ${correct}`);
  }
  outcome({ arm }: Answered, name: string, value: number): void {
    this.got.push(`${arm} ${name} ${value}`);
  }
}

test("late, twice, out of order, or of nobody: each fact counts once", async () => {
  const feedback = new Feedback(new MemoryRecords(), systemClock);
  feedback.note("r", "candidate", request("a"), false);
  feedback.note("r", "stable", request("b", { version: 1, role: "stable" }), false);
  // What failed, and what stable answered in the candidate's place, is no answer of the arm.
  feedback.note("r", "candidate", request("c", { outcome: "runtime" }), false);
  feedback.note("r", "stable", request("d", { role: "pinned" }), false);
  const taker = new Taker();
  const items = [
    { requestId: "b", correct: true },
    { requestId: "a", correct: false, outcome: { paid: 3 } },
    { requestId: "a", correct: true, outcome: { paid: 4, stayed: 1 } },
    ...["c", "d", "nobody"].map((requestId) => ({ requestId, correct: true })),
  ];
  expect(await feedback.take(items, () => taker)).toEqual({
    schema: "skipway.feedback/1",
    ...{ taken: 4, duplicates: 2, late: 0 },
    unknown: { count: 3, first: ["c", "d", "nobody"] },
  });
  expect(taker.got).toEqual([
    "stable 0.2 true",
    "candidate 0.2 false",
    "candidate paid 3",
    "candidate stayed 1",
  ]);
  feedback.note("r", "candidate", request("e"), false);
  const late = await feedback.take([{ requestId: "e", correct: true }], () => undefined);
  expect(late).toMatchObject({ taken: 0, late: 1 });
});

test("ten thousand unknown ids hold nothing up: the store is asked for hundreds at a time", async () => {
  const records = new MemoryRecords();
  const [asked, turns] = [[] as number[], [] as number[]];
  const requests = async (ids: readonly string[]) => {
    asked.push(ids.length);
    setImmediate(() => turns.push(asked.length));
    return [];
  };
  const feedback = new Feedback(Object.assign(records, { requests }), systemClock);
  const items = Array.from({ length: 10_000 }, (_, i) => ({ requestId: `${i}`, correct: true }));
  const { unknown } = await feedback.take(items, () => undefined);
  expect(unknown.count).toBe(10_000);
  expect(asked).toEqual(Array(20).fill(500));
  expect(turns).toEqual(asked.map((_, i) => i + 1));
});

test("after a restart the store knows who answered, and what was told already", async () => {
  const records = new MemoryRecords();
  const before = new Feedback(records, systemClock);
  for (const id of ["a", "b"]) before.note("r", "candidate", request(id), true);
  await before.take([{ requestId: "a", correct: true }], () => new Taker());
  await before.write();
  const after = new Feedback(records, systemClock);
  const taker = new Taker();
  const items = ["a", "b"].map((requestId) => ({ requestId, correct: false }));
  expect(await after.take(items, () => taker)).toMatchObject({ taken: 1, duplicates: 1 });
  expect(taker.got).toEqual(["candidate 0.2 false"]);
});

test("memory is bounded: the oldest requests are forgotten", async () => {
  const feedback = new Feedback(new MemoryRecords(), systemClock, 1000);
  for (let i = 0; i <= 1000; i++) feedback.note("r", "candidate", request(`${i}`), false);
  const items = ["0", "1", "1000"].map((requestId) => ({ requestId, correct: true }));
  const report = await feedback.take(items, () => new Taker());
  expect(report).toMatchObject({ taken: 2, unknown: { first: ["0"] } });
});

test("wrong labels take a version back, and outcomes are compared, over HTTP", async () => {
  await using here = await served();
  const policy = {
    steps: [{ share: 0.5, seconds: 0, requests: 1_000_000 }],
    ...{ shadow: false, thresholdMs: 1000, autoPromote: false },
  };
  await here.api("POST", "models/m/rollout", { to: 2, policy });
  await here.until(({ phase }) => phase === "canary");
  let asked = 0;
  const tell = async (): Promise<void> => {
    const requestId = `q${asked++}`;
    const inputs = [{ name: "x", datatype: "FP32", shape: [1, 1], data: [1] }];
    const answer = await fetch(`${here.url}/v2/models/m/infer`, {
      method: "POST",
      headers: { "x-request-id": requestId },
      body: JSON.stringify({ inputs }),
    });
    const { model_version: version } = (await answer.json()) as { model_version: string };
    const correct = version === "1";
    const outcome = { paid: correct ? 1 : 0 };
    await here.api("POST", "feedback", { requestId, correct, outcome });
  };
  for (;;) {
    await Promise.all(Array.from({ length: 8 }, tell));
    const now = await here.rollouts.last("m");
    if (now?.over === true) {
      expect(now).toMatchObject({ phase: "rolled-back", reason: { cause: "wrong" } });
      break;
    }
    if (asked === 64) {
      const { body } = await here.api("GET", "models/m/ab");
      expect(body).toMatchObject({ outcomes: { paid: { verdict: "too few" } } });
    }
  }
  expect(asked).toBeLessThan(500);
  const wrong = await here.api("POST", "feedback", [{ requestId: "x" }, { correct: 1 }]);
  expect(wrong).toMatchObject({
    status: 400,
    body: {
      error: expect.stringMatching(
        /\[0\]\.correct or "outcome" is missing; \[1\]\.correct is true/,
      ),
    },
  });
});
