// What an engine tells the batcher and the request's observer, with a process and a batcher that do as they are told.

import { expect, test } from "vitest";
import { float32 } from "../graph/tensor.ts";
import type { BatcherAction, BatcherEvent } from "./batcher/types.ts";
import { Counters } from "./counters.ts";
import { Engine } from "./engine.ts";
import { HeldBytes } from "./held-bytes.ts";
import type { InferenceCall } from "./inference.ts";
import { ScriptedRunner } from "./scripted-runner.test-helper.ts";
import type { PhaseSink } from "./tracing.ts";

/** An engine on a clock that stands still, and what its batcher was told. */
async function setUp(answer: (event: BatcherEvent) => readonly BatcherAction[], held?: HeldBytes) {
  const told: BatcherEvent[] = [];
  const clock = { now: 1000, nowMs: () => 0, monotonicMs: () => clock.now };
  const decider = {
    step: (event: BatcherEvent) => {
      told.push(event);
      return answer(event);
    },
    load: () => ({ requests: 0, rows: 0, bytes: 0, running: 0, backlogMs: 0 }),
  };
  const engine = new Engine({ version: 1, clock, decider, counters: new Counters(clock), held });
  const runner = new ScriptedRunner();
  runner.scripts.set("m", { runMs: 3 });
  const session = await runner.load({ path: "m" });
  const { inputs, outputs } = session;
  engine.setModel({ inputs, outputs, batched: true });
  engine.attach("p", session);
  const phases: string[] = [];
  const observe: PhaseSink = {
    requestId: "r",
    tenant: undefined,
    target: () => undefined,
    phase: (phase, fromMs, toMs) => phases.push(`${phase} ${toMs - fromMs}`),
    batched: () => undefined,
    outgoing: () => ({ traceparent: "", tracestate: undefined }),
  };
  const ask = (deadlineMs?: number, more: Partial<InferenceCall> = {}) =>
    engine.submit({ inputs: new Map([["x", float32([1, 1], [1])]]), deadlineMs, observe, ...more });
  return { engine, clock, told, phases, ask, session };
}

test("the batcher learns the time inside the model, not that of a server that hears of it late", async () => {
  const { clock, told, ask } = await setUp((event) =>
    event.kind === "arrive"
      ? [
          {
            ...{ kind: "start", batch: 1, slot: "p", ids: [event.request.id], rows: 1 },
            ...{ bucket: event.request.bucket, expectedMs: 5 },
          },
        ]
      : [],
  );
  const answered = ask();
  clock.now += 250;
  await answered;
  expect(told.at(-1)).toEqual({ kind: "finished", batch: 1, tookMs: 3 });
});

test("who is let in and refused later is told to have waited, who is refused at the door is not", async () => {
  const refuse = (id: number): BatcherAction => {
    return { kind: "refuse", id, reason: "deadline", text: "late", retryAfterMs: 1 };
  };
  const door = await setUp((event) => (event.kind === "arrive" ? [refuse(event.request.id)] : []));
  await expect(door.ask(1100)).rejects.toThrow("late");
  expect(door.phases).toEqual(["admit 0"]);

  let waits = false;
  const later = await setUp((event) => (event.kind === "slots" && waits ? [refuse(1)] : []));
  const asked = later.ask(1100);
  waits = true;
  later.clock.now += 40;
  later.engine.attach("q", later.session);
  await expect(asked).rejects.toThrow("late");
  expect(later.phases).toEqual(["admit 0", "queue 40"]);
});

test("requests to all models hold no more than was kept for them, and one alone always may", async () => {
  const total = new HeldBytes(8);
  // Nothing runs and nothing ends.
  const [one, two] = [await setUp(() => [], total), await setUp(() => [], total)];
  const gone = new AbortController();
  const first = one.ask(undefined, { signal: gone.signal });
  const second = two.ask();
  expect(total.bytes).toBe(8);
  const full = { status: 429, reason: "queue-full", retryAfterSeconds: 1 };
  await expect(one.ask()).rejects.toMatchObject(full);
  await expect(two.ask()).rejects.toMatchObject(full);
  // The server's own questions are neither counted nor refused.
  two.ask(undefined, { internal: true }).catch(() => undefined);
  expect(total.bytes).toBe(8);
  gone.abort();
  await expect(first).rejects.toMatchObject({ status: 499 });
  expect(total.bytes).toBe(4);
  two.engine.close("the end");
  await expect(second).rejects.toMatchObject({ status: 503 });
  expect(total.bytes).toBe(0);
  const large = new Map([["x", float32([3, 1], [1, 2, 3])]]);
  void one.ask(undefined, { inputs: large });
  expect(total.bytes).toBe(12);
  // Bodies share what is kept.
  expect(total.bodyRefusal()).toMatchObject({ status: 503, reason: "queue-full" });
});

test("of a batch that fails, those that were withdrawn meanwhile are not run again", async () => {
  const ids: number[] = [];
  const { engine, told, ask, session } = await setUp((event) => {
    if (event.kind !== "arrive" || ids.includes(event.request.id)) return [];
    ids.push(event.request.id);
    if (ids.length < 2) return [];
    const { bucket } = event.request;
    return [{ kind: "start", batch: 1, slot: "p", ids, rows: 2, bucket, expectedMs: 1 }];
  });
  let fail: (error: Error) => void = () => undefined;
  session.runBatch = () =>
    new Promise((_, reject) => {
      fail = reject;
    });
  const stays = ask();
  const moves = ask(undefined, { again: () => true });
  engine.withdraw();
  await expect(moves).rejects.toMatchObject({ reason: "withdrawn" });
  fail(new Error("it broke"));
  await new Promise((resolve) => setTimeout(resolve, 0));
  const again = told.filter(({ kind }) => kind === "arrive").slice(2);
  expect(again).toMatchObject([{ request: { id: ids[0], batchable: false } }]);
  engine.close("the end");
  await expect(stays).rejects.toMatchObject({ status: 503 });
});
