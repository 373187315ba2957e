// What an engine tells the batcher and the request's observer, with a process and a batcher that do as they are told.

import { expect, test } from "vitest";
import { float32 } from "../graph/tensor.ts";
import type { BatcherAction, BatcherEvent } from "./batcher/types.ts";
import { Counters } from "./counters.ts";
import { Engine } from "./engine.ts";
import { ScriptedRunner } from "./scripted-runner.test-helper.ts";
import type { PhaseSink } from "./tracing.ts";

/** An engine on a clock that stands still, and what its batcher was told. */
async function setUp(answer: (event: BatcherEvent) => readonly BatcherAction[]) {
  const told: BatcherEvent[] = [];
  const clock = { now: 1000, nowMs: () => 0, monotonicMs: () => clock.now };
  const decider = {
    step: (event: BatcherEvent) => {
      told.push(event);
      return answer(event);
    },
    load: () => ({ requests: 0, rows: 0, bytes: 0, running: 0, backlogMs: 0 }),
  };
  const engine = new Engine({ version: 1, clock, decider, counters: new Counters(clock) });
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
  const ask = (deadlineMs?: number) =>
    engine.submit({ inputs: new Map([["x", float32([1, 1], [1])]]), deadlineMs, observe });
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
