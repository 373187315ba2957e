import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { OnCallDocument, ServingEvent, StatsEvent } from "../../../src/dashboard/api.ts";
import { fakeStatus, fakeVersion } from "../../../src/dashboard/on-call.test-helper.ts";
import { drainPlan, outcomeOf, reloadPlan, splitForm, splitPlan } from "./acts.ts";
import { beginFeed, withEvent, withStats } from "./feed.ts";
import { increase, windowStart, withPoint } from "./history.ts";
import { commandOf, KEYS, rowAfter } from "./keys.ts";
import { type Around, rowOf, shareText } from "./rows.ts";
import { nextWindow, readChoice, WINDOWS, writeChoice } from "./url.ts";

// The pure parts of the on-call page; test/browser has the page itself.

const none = { models: {}, fault: null };
const around: Around = { objectives: none, budget: null, series: undefined, atMs: 0, minutes: 5 };

function stats(
  atMs: number,
  change: Parameters<typeof fakeVersion>[0] = {},
  kept = true,
): StatsEvent {
  return { ...fakeStatus([fakeVersion(change)]), atMs, rollouts: [], kept };
}

describe("rows", () => {
  const promised = (model: string) => ({
    models: { [model]: { latency: [{ p: 0.99, ms: 50 }], availability: 0.99, windowDays: 28 } },
    fault: null,
  });

  test("a quantile comes with its n and what was promised; with too few it is unknown", () => {
    const latency = { windowSeconds: 60, n: 40, p50Ms: 4, p99Ms: null };
    const row = rowOf(fakeVersion({ latency }), { ...around, objectives: promised("net") });
    expect(row.p99).toEqual({ text: "unknown", note: "n = 40 · ≤ 50 ms", over: false });
    expect(row.p50).toEqual({ text: "4.00 ms", note: "n = 40", over: false });
  });

  test("over the objective is a sign and words, not colour alone; * is for who has none", () => {
    const latency = { windowSeconds: 60, n: 2000, p50Ms: 4, p99Ms: 51 };
    for (const model of ["net", "*"]) {
      const { p99 } = rowOf(fakeVersion({ latency }), { ...around, objectives: promised(model) });
      expect(p99).toEqual({ text: "▲ 51.0 ms", note: "n = 2000 · over 50 ms", over: true });
    }
    const other = rowOf(fakeVersion({ latency }), { ...around, objectives: promised("other") });
    expect(other.p99.over).toBe(false);
  });

  test("a name that every object has is no promise", () => {
    const row = rowOf(fakeVersion({ model: "constructor" }), around);
    expect(row.objectiveMs).toBeUndefined();
  });

  test("availability is judged by what the server is to blame for, in the window", () => {
    const outcomes = {
      good: 98,
      failed: { runtime: 1 },
      refused: { memory: 1 },
      client: { invalid: 500 },
    };
    const series = withPoint(new Map(), stats(0), 360).get("net/1");
    const row = rowOf(fakeVersion({ outcomes }), {
      ...around,
      objectives: promised("net"),
      series,
    });
    expect(row.outcome).toEqual({ text: "▲ 98 / 1", note: "98 % under 99 %", over: true });
    expect(row.refused).toEqual({ text: "1", note: "memory", over: false });
  });

  test("memory of all processes against the budget", () => {
    const processes = [
      { slot: "serving", residentBytes: 100, peakResidentBytes: 200, predictedBytes: 250 },
      { slot: "spare", residentBytes: 50, peakResidentBytes: 50 },
    ];
    const readings = { ...fakeVersion().readings, processes };
    const budget = { budgetBytes: 1000, usedBytes: 300 };
    const { memory } = rowOf(fakeVersion({ readings }), { ...around, budget });
    expect(memory).toMatchObject({ resident: 0.15, peak: 0.25, predicted: 0.25 });
  });

  test.each([
    [0, "0 %"],
    [0.004, "0.40 %"],
    [0.123, "12 %"],
    [0.9999, "100 %"],
    [1, "100 %"],
  ])("a share of %f is %s", (share, text) => expect(shareText(share)).toBe(text));

  test("each state has a sign; one that is new has one too", () => {
    const signs = ["ready", "loading", "restarting", "failed", "draining", "something"].map(
      (state) => rowOf(fakeVersion({ state }), around).state.sign,
    );
    expect(new Set(signs).size).toBe(signs.length);
  });
});

describe("history", () => {
  test("however long the page is open, it keeps no more points than the server", () => {
    let histories = new Map() as ReturnType<typeof withPoint>;
    for (let i = 0; i < 1000; i++) histories = withPoint(histories, stats(5000 * i), 360);
    const series = histories.get("net/1");
    expect(series?.atMs).toHaveLength(360);
    expect(series?.atMs.at(-1)).toBe(999 * 5000);
    expect(series?.p99Ms).toHaveLength(360);
  });

  test("only kept points count, none twice, and versions that are gone are forgotten", () => {
    const one = withPoint(new Map(), stats(0), 360);
    expect(withPoint(one, stats(1000, {}, false), 360)).toBe(one);
    expect(withPoint(one, stats(0), 360).get("net/1")?.atMs).toEqual([0]);
    expect([...withPoint(one, stats(5000, { version: 2 }), 360).keys()]).toEqual(["net/2"]);
  });

  test("what a new version does before its first kept point counts", () => {
    const outcomes = (good: number) => ({ good, failed: {}, refused: {}, client: {} });
    const first = withPoint(new Map(), stats(0, { outcomes: outcomes(0) }, false), 360);
    const later = withPoint(first, stats(4000, { outcomes: outcomes(30) }), 360);
    const grown = increase(later.get("net/1"), "good", { value: 31, atMs: 5000, minutes: 5 });
    expect(grown).toBe(31);
  });

  test("the window begins at its first point, like a search from the front", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(10_000_000)), fc.nat(10_000_000), (times, now) => {
        const sorted = times.toSorted((a, b) => a - b);
        const inside = sorted.filter((at) => at >= now - 300_000);
        expect(sorted.length - windowStart(sorted, now, 5)).toBe(inside.length);
      }),
    );
  });

  test("an increase is the sum of what was counted, also over a counter that begins anew", () => {
    const step = fc.record({ more: fc.nat(50), anew: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 50 }), (steps) => {
        let histories = withPoint(new Map(), stats(0), 360);
        let [count, expected] = [0, 0];
        for (const [i, { more, anew }] of steps.entries()) {
          // One that begins anew and has as much as before cannot be told from one that stands still.
          const begins = anew && more < count;
          count = begins ? more : count + more;
          expected += more;
          const outcomes = { good: count, failed: {}, refused: {}, client: {} };
          histories = withPoint(histories, stats(5000 * (i + 1), { outcomes }), 360);
        }
        const now = { value: count, atMs: 5000 * steps.length, minutes: 30 };
        expect(increase(histories.get("net/1"), "good", now)).toBe(expected);
      }),
    );
  });
});

describe("the feed", () => {
  const event = (id: number): ServingEvent => ({
    ...{ id, atMs: id, kind: "state", model: "net", version: 1, cause: null, text: `${id}` },
  });
  const document = (ids: readonly number[]): OnCallDocument => ({
    ...{ schema: "skipway.on-call/1", version: "1", objectives: none },
    status: stats(0),
    events: ids.map(event),
    history: { stepMs: 5000, pointsMax: 3, series: [] },
  });

  test("events that came while the document was on its way are there once, the newest first", () => {
    const feed = beginFeed(document([1, 2, 3]), [event(2), event(3), event(4)]);
    expect(feed.events.map(({ id }) => id)).toEqual([4, 3, 2, 1]);
    expect(withEvent(feed, event(4))).toBe(feed);
    expect(withEvent(feed, event(5)).events[0]?.id).toBe(5);
  });

  test("after a day it is no larger", () => {
    let feed = beginFeed(document([]), []);
    for (let i = 1; i < 3000; i++) feed = withStats(withEvent(feed, event(i)), stats(5000 * i));
    expect(feed.events).toHaveLength(200);
    expect(feed.histories.get("net/1")?.atMs).toHaveLength(3);
  });
});

describe("acts", () => {
  const two = fakeStatus([fakeVersion(), fakeVersion({ version: 2, role: "candidate" })]);

  test("what will happen is said, and names go into paths as names", () => {
    const plan = reloadPlan(fakeVersion({ model: "a/../b?" }));
    expect(plan.path).toBe("/v2/repository/models/a%2F..%2Fb%3F/load");
    expect(plan.text).toContain("goes on");
  });

  test("the only version is unloaded, one of several is drained", () => {
    expect(drainPlan(fakeVersion(), fakeStatus([fakeVersion()])).path).toMatch(/\/unload$/);
    const plan = drainPlan(fakeVersion({ version: 2, role: "candidate" }), two);
    expect(plan.path).toBe("/api/v1/models/net/versions/2/drain");
    expect(drainPlan(fakeVersion(), two).text).toContain("the server will refuse");
  });

  test("a split as it is typed is a split as the server takes it", () => {
    const split = {
      model: "net",
      stable: 1,
      candidate: 2,
      share: 0.07,
      shadow: null,
      byHand: true,
      owner: "hand",
    } as const;
    const form = splitForm(split, fakeVersion());
    expect(form).toEqual({ stable: "1", candidate: "2", percent: "7", shadow: "" });
    expect(splitPlan("net", { ...form, percent: "12.5" }).body).toEqual({
      ...{ stable: 1, candidate: 2, share: 0.125 },
    });
    expect(splitPlan("net", { ...form, candidate: "", percent: "12.5" }).body).toEqual({
      ...{ stable: 1, share: 0 },
    });
    expect(splitForm(undefined, fakeVersion({ version: 3 })).stable).toBe("3");
  });

  test("a refusal is told with its status and the server's words", () => {
    const plan = reloadPlan(fakeVersion());
    expect(outcomeOf(plan, 200, undefined)).toMatchObject({ ok: true, text: "Reload net: done" });
    expect(outcomeOf(plan, 409, "it is stable")).toMatchObject({
      ...{ ok: false, signIn: false, text: "Reload net: refused (409): it is stable" },
    });
    expect(outcomeOf(plan, 401, "a token").signIn).toBe(true);
  });
});

describe("keys and the address", () => {
  const press = { ctrlKey: false, metaKey: false, altKey: false, typing: false };

  test("a key has one meaning, and none in a field or with a modifier", () => {
    const all = KEYS.flatMap(({ keys }) => keys);
    expect(new Set(all).size).toBe(all.length);
    expect(commandOf({ ...press, key: "r" })).toBe("reload");
    expect(commandOf({ ...press, key: "r", ctrlKey: true })).toBeUndefined();
    expect(commandOf({ ...press, key: "r", typing: true })).toBeUndefined();
    expect(commandOf({ ...press, key: "x" })).toBeUndefined();
  });

  test("moves stay inside", () => {
    expect([rowAfter("down", 2, 3), rowAfter("up", 0, 3), rowAfter("last", 0, 3)]).toEqual([
      2, 0, 2,
    ]);
    expect([rowAfter("first", 2, 3), rowAfter("down", 0, 0)]).toEqual([0, 0]);
  });

  test("what is chosen comes back out of the address; what nobody knows is left out", () => {
    const text = fc.option(fc.string({ minLength: 1 }), { nil: undefined });
    const choice = fc.record({
      ...{ row: text, rollout: text, model: text, kind: text },
      minutes: fc.constantFrom(...WINDOWS),
    });
    fc.assert(
      fc.property(choice, (one) => {
        expect(readChoice(writeChoice(one))).toEqual(one);
      }),
    );
    const nothing = readChoice("?minutes=7&other=1&kind=");
    expect(nothing).toEqual({ minutes: 5 });
    expect(writeChoice({ ...nothing, row: "net/1" })).toBe("?row=net/1");
    expect(nextWindow(30)).toBe(5);
  });
});
