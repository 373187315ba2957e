import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fakeRollout } from "../rollout/document.test-helper.ts";
import type { VersionStatus } from "./api.ts";
import { fakeStatus, fakeVersion } from "./on-call.test-helper.ts";
import { OnCallRecord, type OutsideEvent } from "./on-call.ts";
import { changesBetween } from "./on-call-changes.ts";
import { POINTS_MAX } from "./on-call-history.ts";

const told = (was: Partial<VersionStatus>, now: Partial<VersionStatus>) =>
  changesBetween(fakeStatus([fakeVersion(was)]), fakeStatus([fakeVersion(now)])).map(
    ({ kind, cause, text }) => [kind, cause, text],
  );

describe("what happened between two looks", () => {
  test("nothing, where nothing changed but counts and memory", () => {
    const outcomes = { good: 9, failed: { runtime: 1 }, refused: {}, client: { invalid: 2 } };
    expect(told({}, { outcomes, ratePerSecond: 9, saturation: 1 })).toEqual([]);
  });

  test("a process that dies, with its cause, once; and its successor", () => {
    const reason = "the process of the model ended by signal SIGKILL";
    const down = { state: "restarting", pid: null, restarts: { killed: 1 }, reason } as const;
    expect(told({}, down)).toEqual([
      ["restart", "killed", `its process was given up: ${reason}`],
      ["state", null, "ready → restarting"],
    ]);
    expect(told(down, { pid: 101, restarts: { killed: 1 } })).toEqual([
      ["state", null, "restarting → ready"],
    ]);
  });

  test("a spare that takes over is a restart, not a reload", () => {
    expect(told({ restarts: { killed: 1 } }, { pid: 101, restarts: { killed: 3 } })).toEqual([
      ["restart", "killed", "its process was given up 2 times"],
    ]);
  });

  test("a reload: another process, whose counts begin anew; another file is told as one", () => {
    expect(told({ restarts: { crash: 2 } }, { pid: 101 })).toEqual([
      ["load", "reload", "loaded again: process 101 took over from 100"],
    ]);
    expect(told({}, { pid: 101, digest: "sha256:bb" })[0]?.slice(0, 2)).toEqual([
      "load",
      "new-file",
    ]);
  });

  test("a load that failed while the version before serves", () => {
    expect(told({}, { reason: "the last load failed" })).toEqual([
      ["state", null, "the last load failed"],
    ]);
  });

  test("memory that ran out", () => {
    expect(told({}, { outOfMemory: { killed: 1 } })).toEqual([
      ["out-of-memory", "killed", "memory ran out"],
    ]);
  });

  test("versions that come and go, the split, and the server itself", () => {
    const split = {
      model: "net",
      candidate: null,
      share: 0,
      shadow: null,
      byHand: false,
      owner: "source",
    } as const;
    const before = fakeStatus([fakeVersion()], { splits: [{ ...split, stable: 1 }] });
    const after = fakeStatus([fakeVersion({ version: 2 })], {
      server: { ready: false, draining: true },
      splits: [{ ...split, stable: 1, candidate: 2, share: 0.05, byHand: true, owner: "hand" }],
    });
    expect(
      changesBetween(before, after).map(({ kind, version, text }) => [kind, version, text]),
    ).toEqual([
      ["server", null, "the server is shutting down: what is under way is finished"],
      ["load", 2, "there now: ready"],
      ["unload", 1, "gone: it was ready"],
      ["split", null, "version 1 → 95 % version 1, 5 % version 2"],
    ]);
  });
});

describe("the record", () => {
  const refusing = (count: number): VersionStatus =>
    fakeVersion({
      outcomes: { good: 0, failed: {}, refused: { "queue-full": count }, client: {} },
    });

  test("refusals are told at once, then once a minute with their number, until they end", () => {
    const record = new OnCallRecord();
    const seen: [number, string][] = [];
    for (let second = 0; second < 300; second++) {
      // Two a second, from the tenth to the hundredth.
      const count = 2 * Math.min(90, Math.max(0, second - 9));
      const { events } = record.look(fakeStatus([refusing(count)]), 1000 * second);
      for (const { text } of events) seen.push([second, text]);
    }
    expect(seen).toEqual([
      [10, "2 requests were refused"],
      [70, "120 requests were refused"],
      [130, "58 requests were refused"],
    ]);
  });

  test("an overload does not push out why it began, and nothing grows without bound", () => {
    const record = new OnCallRecord();
    record.look(fakeStatus([fakeVersion()]), 0);
    record.look(fakeStatus([fakeVersion({ restarts: { crash: 1 } })]), 1);
    for (let minute = 1; minute < 1000; minute++)
      record.look(fakeStatus([refusing(minute)]), 60_001 * minute);
    expect(record.events[0]?.cause).toBe("crash");
    expect(record.events.length).toBeLessThanOrEqual(200);
    const [series] = record.history.series();
    expect(series?.atMs).toHaveLength(POINTS_MAX);
    expect(series?.good).toHaveLength(POINTS_MAX);
  });

  test("what others have seen has its own time, is cut to a line, and counts up with the rest", () => {
    const record = new OnCallRecord();
    record.look(fakeStatus([fakeVersion()]), 0);
    const rollouts = [fakeRollout()];
    const told: OutsideEvent = {
      ...{ atMs: 7, kind: "rolled-back", model: "net", version: 2, cause: "slow" },
      ...{ text: "a".repeat(9999), rollout: "r1", eventId: "e1" },
    };
    const restarted = fakeStatus([fakeVersion({ restarts: { crash: 1 } })]);
    const { stats, events } = record.look(restarted, 10, { rollouts, events: [told] });
    expect(stats.rollouts).toBe(rollouts);
    expect(events.map(({ id, atMs, kind }) => [id, atMs, kind])).toEqual([
      [1, 10, "restart"],
      [2, 7, "rolled-back"],
    ]);
    expect(events[1]).toMatchObject({ rollout: "r1", eventId: "e1", text: "a".repeat(500) });
    expect(record.events).toEqual(events);
  });

  test("any run of looks: ids count up, the bounds hold, and no event is lost or told twice", () => {
    const look = fc.record({
      atMs: fc.integer({ min: 0, max: 10_000_000 }),
      versions: fc.uniqueArray(fc.integer({ min: 1, max: 4 })),
      state: fc.constantFrom("ready", "restarting"),
      crash: fc.nat(3),
    });
    fc.assert(
      fc.property(fc.array(look, { maxLength: 400 }), (looks) => {
        const record = new OnCallRecord();
        let last = 0;
        for (const { atMs, versions, state, crash } of looks) {
          const models = versions.map((version) =>
            fakeVersion({ version, state, restarts: { crash } }),
          );
          for (const { id } of record.look(fakeStatus(models), atMs).events) {
            expect(id).toBe(last + 1);
            last = id;
          }
          expect(
            record.history
              .series()
              .map(({ version }) => version)
              .sort(),
          ).toEqual(
            [...new Set([...record.history.series().map(({ version }) => version)])].sort(),
          );
        }
        expect(record.events.length).toBe(Math.min(200, last));
        expect(record.events.at(-1)?.id ?? 0).toBe(last);
      }),
      { numRuns: 40 },
    );
  });

  test("the history has a point each five seconds, and forgets versions that are gone", () => {
    const record = new OnCallRecord();
    for (let second = 0; second < 21; second++)
      record.look(fakeStatus([fakeVersion()]), 1000 * second);
    expect(record.history.series()[0]?.atMs).toEqual([0, 5000, 10_000, 15_000, 20_000]);
    record.look(fakeStatus([fakeVersion({ version: 2 })]), 25_000);
    expect(record.history.series().map(({ version }) => version)).toEqual([2]);
  });
});
