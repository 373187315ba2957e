import { expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { float32, tensor } from "../graph/tensor.ts";
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

const KEPT = { model: "m", rollout: "r", stored: false };

/** An answer of scores of three classes, a row for each winner. */
function scores(...winners: number[]): Pick<RequestOutcome, "outputs"> {
  const values = winners.flatMap((winner) => [0, 1, 2].map((i) => (i === winner ? 1 : 0)));
  return { outputs: new Map([["y", float32([winners.length, 3], values)]]) };
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
  feedback.note(KEPT, "candidate", request("a"));
  feedback.note(KEPT, "stable", request("b", { version: 1, role: "stable" }));
  // What failed, and what stable answered in the candidate's place, is no answer of the arm.
  feedback.note(KEPT, "candidate", request("c", { outcome: "runtime" }));
  feedback.note(KEPT, "stable", request("d", { role: "pinned" }));
  const taker = new Taker();
  const items = [
    { requestId: "b", correct: true },
    { requestId: "a", correct: false, outcome: { paid: 3 } },
    { requestId: "a", correct: true, outcome: { paid: 4, stayed: 1 } },
    ...["c", "d", "nobody"].map((requestId) => ({ requestId, correct: true })),
  ];
  expect(await feedback.take(items, () => taker)).toEqual({
    schema: "skipway.feedback/1",
    ...{ taken: 4, duplicates: 2, late: 0, lateFirst: [] },
    unknown: { count: 3, first: ["c", "d", "nobody"] },
    unclassified: { count: 0, first: [] },
    outside: { count: 0, first: [] },
  });
  expect(taker.got).toEqual([
    "stable 0.2 true",
    "candidate 0.2 false",
    "candidate paid 3",
    "candidate stayed 1",
  ]);
  feedback.note(KEPT, "candidate", request("e"));
  const late = await feedback.take([{ requestId: "e", correct: true }], () => undefined);
  expect(late).toMatchObject({ taken: 0, late: 1, lateFirst: ["e"] });
});

test("a label is right where the answer named that class; an answer that named none takes none", async () => {
  const feedback = new Feedback(new MemoryRecords(), systemClock);
  feedback.note(KEPT, "candidate", request("a", scores(2)));
  feedback.note(KEPT, "candidate", request("b", scores(1)));
  feedback.note(KEPT, "candidate", request("rows", scores(1, 1)));
  const price = { outputs: new Map([["price", float32([1, 1], [3])]]) };
  feedback.note(KEPT, "candidate", request("price", price));
  const taker = new Taker();
  const items = [
    { requestId: "a", label: 2 },
    { requestId: "b", label: 2 },
    { requestId: "b", label: 1 },
    { requestId: "rows", label: 1 },
    { requestId: "price", label: 3, outcome: { paid: 1 } },
  ];
  expect(await feedback.take(items, () => taker)).toMatchObject({
    ...{ taken: 3, duplicates: 1 },
    unclassified: { count: 2, first: ["rows", "price"] },
  });
  expect(taker.got).toEqual(["candidate 0.2 true", "candidate 0.2 false", "candidate paid 1"]);
});

test("a label that is none of the classes is no mistake of the version: it is told, and counts for nothing", async () => {
  const feedback = new Feedback(new MemoryRecords(), systemClock);
  for (const id of ["a", "b", "c"]) feedback.note(KEPT, "candidate", request(id, scores(1)));
  // Of a class number itself nobody knows which others there are.
  const number = { outputs: new Map([["y", tensor("int64", [1], new Uint8Array(8))]]) };
  feedback.note(KEPT, "stable", request("n", { ...number, version: 1, role: "stable" }));
  const taker = new Taker();
  const items = [
    { requestId: "a", label: 3, outcome: { paid: 1 } },
    { requestId: "b", label: -1 },
    { requestId: "c", label: 99 },
    { requestId: "n", label: -1 },
  ];
  expect(await feedback.take(items, () => taker)).toMatchObject({
    ...{ taken: 2, duplicates: 0 },
    outside: { count: 3, first: ["a", "b", "c"] },
    unclassified: { count: 0 },
  });
  expect(taker.got).toEqual(["candidate paid 1", "stable 0.2 false"]);
  // Whoever labels may say it again.
  expect(await feedback.take([{ requestId: "a", label: 1 }], () => taker)).toMatchObject({
    taken: 1,
  });
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
  for (const id of ["a", "b"])
    before.note({ ...KEPT, stored: true }, "candidate", request(id, scores(1)));
  await before.take([{ requestId: "a", correct: true }], () => new Taker());
  await before.write();
  const after = new Feedback(records, systemClock);
  const taker = new Taker();
  const items = ["a", "b"].map((requestId) => ({ requestId, label: 0 }));
  expect(await after.take(items, () => taker)).toMatchObject({ taken: 1, duplicates: 1 });
  expect(taker.got).toEqual(["candidate 0.2 false"]);
});

test("memory is bounded: the oldest requests are forgotten, and those of the rollout before", async () => {
  const feedback = new Feedback(new MemoryRecords(), systemClock);
  const how = { ...KEPT, remember: 1000 };
  for (let i = 0; i <= 1000; i++) feedback.note(how, "candidate", request(`${i}`));
  const ask = async () => {
    const items = ["0", "1", "1000"].map((requestId) => ({ requestId, correct: true }));
    return feedback.take(items, () => new Taker());
  };
  expect(await ask()).toMatchObject({ taken: 2, unknown: { first: ["0"] } });
  feedback.note(
    { ...how, model: "other", rollout: "o" },
    "stable",
    request("x", { role: "stable" }),
  );
  expect(await ask()).toMatchObject({ duplicates: 2 });
  feedback.note({ ...how, rollout: "next", remember: 0 }, "candidate", request("y"));
  const { unknown } = await feedback.take([{ requestId: "y", correct: true }], () => undefined);
  expect(unknown.count).toBe(1);
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
      const labels = now.verdict?.gates.find(({ gate }) => gate === "wrong")?.labels;
      expect(labels?.candidate.of).toBeGreaterThan(3);
      expect(labels?.candidate.events).toBe(labels?.candidate.of);
      expect(labels?.stable).toMatchObject({ events: 0, of: expect.any(Number) });
      break;
    }
    if (asked === 64) {
      const { body } = await here.api("GET", "models/m/ab");
      expect(body).toMatchObject({ outcomes: { paid: { verdict: "too few" } } });
    }
  }
  expect(asked).toBeLessThan(500);
  const named = '{"requestId": "x", "outcome": {"__proto__": 1}}';
  const refused = await fetch(`${here.url}/api/v1/feedback`, { method: "POST", body: named });
  expect(refused.status).toBe(400);
  expect(await refused.text()).toMatch(
    /outcome\.__proto__ is no name of an outcome: .*not __proto__/,
  );
  const wrong = await here.api("POST", "feedback", [{ requestId: "x" }, { correct: 1 }]);
  expect(wrong).toMatchObject({
    status: 400,
    body: {
      error: expect.stringMatching(
        /\[0\]\.correct or "label" or "outcome" is missing; \[1\]\.correct is true/,
      ),
    },
  });
});

test("classes that turn out to be others take a version back, over HTTP", async () => {
  await using here = await served({ 2: { gain: -1 } }, { outputs: 3 });
  const policy = {
    steps: [{ share: 0.5, seconds: 0, requests: 1_000_000 }],
    ...{ shadow: false, thresholdMs: 1000, autoPromote: false },
  };
  await here.api("POST", "models/m/rollout", { to: 2, policy });
  await here.until(({ phase }) => phase === "canary");
  let asked = 0;
  const tell = async (): Promise<void> => {
    const requestId = `q${asked++}`;
    // Stable says 2, the largest; the candidate turns the scores round.
    const inputs = [{ name: "x", datatype: "FP32", shape: [1, 3], data: [1, 2, 3] }];
    await fetch(`${here.url}/v2/models/m/infer`, {
      method: "POST",
      headers: { "x-request-id": requestId },
      body: JSON.stringify({ inputs }),
    });
    const { body } = await here.api("POST", "feedback", { requestId, label: 2 });
    // What ends after the decision is remembered no more.
    if ((await here.rollouts.last("m"))?.over === true) return;
    expect(body).toMatchObject({ unclassified: { count: 0 }, unknown: { count: 0 } });
  };
  while ((await here.rollouts.last("m"))?.over !== true && asked < 600) {
    await Promise.all(Array.from({ length: 8 }, tell));
  }
  const end = await here.rollouts.last("m");
  expect(end).toMatchObject({ phase: "rolled-back", reason: { cause: "wrong" } });
  expect(end?.advisory?.drift).toMatchObject([{ output: "y", kind: "class" }]);
  const late = await here.api("POST", "feedback", [
    { requestId: "q0", label: 2, outcome: { a: 1 } },
  ]);
  expect(late.body).toMatchObject({ taken: 0, duplicates: 1, late: 1, lateFirst: ["q0"] });
  const both = await here.api("POST", "feedback", { requestId: "q0", label: 2, correct: true });
  expect(both).toMatchObject({ status: 400, body: { error: expect.stringMatching(/beside/) } });
});
