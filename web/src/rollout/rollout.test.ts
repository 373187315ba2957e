import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ServingEvent } from "../../../src/dashboard/api.ts";
import { fakeVersion } from "../../../src/dashboard/on-call.test-helper.ts";
import type { DecidedEvidence } from "../../../src/rollout/certificate.ts";
import type { CostReading } from "../../../src/rollout/cost.ts";
import { fakeGate, fakeRollout, fakeVerdict } from "../../../src/rollout/document.test-helper.ts";
import type { RolloutStatus } from "../../../src/rollout/document.ts";
import type { GateReading, PathPoint } from "../../../src/rollout/judge/types.ts";
import type { DriftReading } from "../../../src/rollout/output-drift.ts";
import { apart } from "../on-call/apart.ts";
import { filtered, kindChoices, kindOf, LETTERS, markOf } from "../on-call/kinds.ts";
import { actOf, actPlan, actsOf, rolloutOf } from "./acts.ts";
import { compare } from "./compare.ts";
import { answerOf } from "./dry-run.ts";
import { evidenceLines, withVerdict } from "./evidence.ts";
import { effectTexts } from "./forecast.ts";
import { drawnPath, isOfEnd, shown, withDecided, withDocument, withStatus } from "./known.ts";
import {
  durationText,
  eText,
  gatesOf,
  phaseWords,
  reasonTexts,
  stepsOf,
  verdictText,
  verdictWord,
} from "./view.ts";

// The pure parts of the canary card; test/browser has the card itself.

const ENDS = ["promoted", "rolled-back", "aborted", "failed"] as const;

function judged(
  change: Parameters<typeof fakeVerdict>[0],
  rest: Partial<RolloutStatus> = {},
): RolloutStatus {
  return fakeRollout({ ...rest, verdict: fakeVerdict(change) });
}

describe("what a card says", () => {
  test("the steps: done, now and to come; where it stopped; all done", () => {
    const states = (change: Partial<RolloutStatus>) =>
      stepsOf(fakeRollout(change)).map(({ text, state }) => `${text} ${state}`);
    expect(states({})).toEqual(["1 % done", "5 % now", "25 % next", "50 % next", "all next"]);
    expect(states({ phase: "shadow", step: -1 })[0]).toBe("shadow now");
    expect(states({ phase: "rolled-back" })[1]).toBe("5 % stopped");
    expect(states({ phase: "promoting", step: 3 }).at(-1)).toBe("all now");
    expect(states({ phase: "promoted" })).toEqual([
      ...["1 % done", "5 % done", "25 % skipped", "50 % skipped", "all done"],
    ]);
    expect(
      new Set(states({ phase: "promoted", step: 3 }).map((one) => one.split(" ").at(-1))),
    ).toEqual(new Set(["done"]));
  });

  test("while it is not sure, what is missing and how long that is at today's rate", () => {
    const gates = [
      fakeGate("slow"),
      fakeGate("failed", { verdict: "pass" }),
      fakeGate("slow-run", { required: false }),
      fakeGate("out-of-memory"),
    ];
    expect(verdictText(judged({ gates }))).toBe(
      "slow, out of memory: 420 more requests of the candidate, 6 min at today's rate",
    );
    expect(verdictText(judged({ secondsNeeded: null }))).toContain("none come now");
    expect(verdictText(judged({ requestsNeeded: null }))).toContain("never sure at these rates");
    const { text } = fakeVerdict();
    expect(verdictText(judged({ verdict: "PASS" }))).toBe(text);
    expect(verdictText(fakeRollout({ verdict: null }))).toBe("nothing is known yet");
    for (const phase of ENDS) {
      expect(verdictText(fakeRollout({ phase }))).toBe("slow, failed: not sure when it ended");
    }
  });

  test("why it ended, and who said so", () => {
    const actor = "she";
    const texts = (cause: string, text: string, said = "") =>
      reasonTexts({ cause, text, actor }, said);
    expect(texts("operator", "")).toEqual(["by she"]);
    expect(texts("operator", "enough")).toEqual(["enough", "by she"]);
    expect(texts("slow", "", "x")).toEqual(["slow", "by she"]);
    expect(texts("slow", "5 of 9", "5 of 9")).toEqual(["by she"]);
  });

  test("a split that is not as it should be takes the word from the verdict", () => {
    const { sampleRatio } = fakeVerdict();
    expect(verdictWord(judged({ verdict: "PASS" })).text).toBe("PASS");
    expect(
      verdictWord(judged({ verdict: "PASS", sampleRatio: { ...sampleRatio, fault: true } })).text,
    ).toBe("SPLIT FAULT");
  });

  test("what stops it is said while it goes on, and not after its end", () => {
    const words = (change: Partial<RolloutStatus>) =>
      phaseWords(fakeRollout(change)).map(({ text }) => text);
    expect(words({ held: true })).toEqual(["canary", "held"]);
    expect(words({ held: true, frozen: true })).toEqual(["canary", "frozen"]);
    expect(words({ frozen: true, automaticRollback: false })[2]).toBe("no rollback by itself");
    expect(words({ aliasElsewhere: 7 })[1]).toBe("stopped: the alias was moved to version 7");
    expect(words({ frozen: true, phase: "aborted" })).toEqual(["taken back by hand"]);
  });

  test("each verdict has a sign and a word of its own, so that no colour is needed", () => {
    const gates = (["pass", "regress", "underpowered"] as const).map((verdict) =>
      fakeGate("slow", { verdict }),
    );
    const words = gatesOf(judged({ gates })).map(({ word }) => word);
    expect(new Set(words.map(({ sign }) => sign)).size).toBe(3);
    expect(words.map(({ text }) => text)).toEqual(["PASS", "REGRESS", "UNDERPOWERED"]);
  });

  test("a gate says what it lacks, and whether it has to pass at all", () => {
    const lacks = (change: Partial<GateReading>) =>
      gatesOf(judged({ gates: [fakeGate("wrong", change)] }))[0]?.lacks;
    expect(lacks({ needed: 1200 })).toBe("needs 1,200 more");
    expect(lacks({ needed: null, required: false })).toBe("may be open, never sure at these rates");
    expect(lacks({ needed: 5, verdict: "pass" })).toBe("");
  });

  test("any reading: places stay on their scale and in order, and over is what reaches the allowed", () => {
    const positive = fc.double({ min: 1e-6, max: 1e6, noNaN: true });
    const reading = fc
      .record({
        logE: fc.double({ min: -1e4, max: 1e4, noNaN: true }),
        limit: fc.double({ min: 0.1, max: 100, noNaN: true }),
        sorted: fc.tuple(positive, positive, positive).map((all) => all.toSorted((a, b) => a - b)),
        allowed: positive,
        known: fc.boolean(),
      })
      .map(({ sorted: [lower = 0, ratio = 0, upper = 0], known, ...rest }): GateReading => {
        const nothing = { ratio: null, lower: null, upper: null };
        return fakeGate("slow", { ...rest, ...(known ? { lower, ratio, upper } : nothing) });
      });
    fc.assert(
      fc.property(reading, (one) => {
        const [view] = gatesOf(judged({ gates: [one] }));
        const { from, at, to, allowed, over } = view?.ratio ?? {};
        const places = [from ?? 0, at ?? from ?? 0, to ?? 1];
        expect(places).toEqual(places.toSorted((a, b) => a - b));
        for (const place of [...places, allowed ?? -1, view?.way ?? -1]) {
          expect(place).toBeGreaterThanOrEqual(0);
          expect(place).toBeLessThanOrEqual(1);
        }
        expect(over).toBe(one.upper === null || one.upper >= one.allowed);
        expect(view?.way === 1).toBe(one.logE >= one.limit);
      }),
    );
  });

  test.each([
    [0, "1"],
    [Math.log(0.2), "0.2"],
    [-30, "0"],
    [Math.log(20_000), "20,000"],
    [Math.log(3.1e9), "3.1e9"],
    [10_000, "8.8e4342"],
  ])("the e-value of logarithm %f is %s", (logE, text) => expect(eText(logE)).toBe(text));

  test.each([
    [12.1, "13 s"],
    [350, "6 min"],
    [7560, "2.1 h"],
    [400_000, "4.6 days"],
  ])("%d seconds are %s", (seconds, text) => expect(durationText(seconds)).toBe(text));
});

describe("evidence over time", () => {
  const points = fc.array(
    fc.record({
      more: fc.nat(1000),
      logE: fc.double({ min: -5, max: 9, noNaN: true }),
      gate: fc.constantFrom("slow" as const, "failed" as const),
    }),
    { minLength: 1, maxLength: 60 },
  );

  test("a line has the evidence of each moment until it changes, and ends now", () => {
    fc.assert(
      fc.property(points, (steps) => {
        let atMs = 0;
        const path = steps.map(({ more, logE, gate }): PathPoint => {
          atMs += more + 1;
          return { atMs, gate, logE };
        });
        const gates = [fakeGate("slow", { limit: 2 }), fakeGate("failed", { limit: 4 })];
        const lines = evidenceLines(path, judged({ gates }, { startedMs: 0 }), atMs + 10);
        expect(lines.atMs).toEqual([0, ...path.map((one) => one.atMs), atMs + 10]);
        for (const { gate, values } of lines.gates) {
          const limit = gate === "slow" ? 2 : 4;
          for (const [i, at] of lines.atMs.entries()) {
            const last = path.findLast((one) => one.gate === gate && one.atMs <= at);
            expect(values[i]).toBe((last?.logE ?? 0) / limit);
          }
        }
      }),
    );
  });

  test("what the stream tells is added once, and a page that is open for days stays small", () => {
    let path: readonly PathPoint[] = [];
    for (let i = 1; i <= 6000; i++) {
      const gates = [fakeGate("slow", { logE: i / 1e4 })];
      path = withVerdict(path, judged({ gates }), i);
      expect(withVerdict(path, judged({ gates }), i + 1)).toBe(path);
    }
    expect(path.length).toBeLessThanOrEqual(4000);
    expect(path.at(-1)).toEqual({ atMs: 6000, gate: "slow", logE: 0.6 });
    expect(path.map(({ atMs }) => atMs)).toEqual(
      path.map(({ atMs }) => atMs).toSorted((a, b) => a - b),
    );
  });

  test("the document brings what was before; what the stream told since stays", () => {
    const gates = (logE: number) => ({ gates: [fakeGate("slow", { logE })] });
    const known = withStatus(new Map(), [judged(gates(3), { updatedMs: 300 })], 310);
    const path = [100, 200].map((atMs): PathPoint => ({ atMs, gate: "slow", logE: atMs / 100 }));
    const document = { ...judged(gates(2), { updatedMs: 200 }), path, events: [] };
    const { status, path: all } = withDocument(known, document, 320).get("r1") ?? {};
    expect(status?.updatedMs).toBe(300);
    expect(all?.at(-1)?.atMs).toBe(310);
    expect(all?.map(({ logE }) => logE)).toEqual([1, 2, 3]);
  });

  test("names beside lines stand apart, in their order, above the bottom", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 100 }), { maxLength: 6 }), (wanted) => {
        const places = apart(wanted, 12, 100);
        const sorted = places.toSorted((a, b) => a - b);
        for (const [i, one] of sorted.slice(1).entries())
          expect(one - (sorted[i] ?? 0)).toBeGreaterThanOrEqual(12);
        for (const one of places) expect(one).toBeLessThanOrEqual(100);
        for (const [i, a] of wanted.entries())
          for (const [j, b] of wanted.entries())
            if (a < b) expect(places[i]).toBeLessThan(places[j] ?? 0);
      }),
    );
  });
});

describe("cards and the comparison", () => {
  test("a card stays for a while after the end, longer only where it was chosen", () => {
    const ended = fakeRollout({ phase: "rolled-back", updatedMs: 0 });
    const known = withStatus(new Map(), [ended, fakeRollout({ id: "r2", startedMs: 2000 })], 0);
    const ids = (chosen: string | undefined, nowMs: number) =>
      shown(known, chosen, nowMs).map(({ status }) => status.id);
    expect(ids(undefined, 60_000)).toEqual(["r2", "r1"]);
    expect(ids(undefined, 3_600_000)).toEqual(["r2"]);
    expect(ids("r1", 3_600_000)).toEqual(["r2", "r1"]);
  });

  test("one that a server has forgotten is forgotten here, one that has ended is not", () => {
    const known = withStatus(
      new Map(),
      [fakeRollout(), fakeRollout({ id: "r2", phase: "failed" })],
      0,
    );
    expect([...withStatus(known, [], 1).keys()]).toEqual(["r2"]);
  });

  test("of one that is over is drawn from the certificate of its end, and not from one of a step before", () => {
    const ended = fakeRollout({ phase: "promoted" });
    const known = withDocument(
      withStatus(new Map(), [ended], 0),
      {
        ...ended,
        ...{ path: [{ atMs: 5, gate: "slow", logE: 1 }], events: [] },
      },
      9,
    );
    const decided: DecidedEvidence = {
      ...{ schema: "skipway.rollout-evidence/1", rollout: "r1", decision: "promote", atMs: 4 },
      ...{ digest: "sha256:aa", path: [{ atMs: 4, gate: "slow", logE: 0.5 }] },
    };
    const after = withStatus(withDecided(known, decided), [ended], 10).get("r1");
    expect(after && drawnPath(after)).toBe(decided.path);
    expect(isOfEnd(ended, decided)).toBe(true);
    expect(isOfEnd(ended, { ...decided, decision: "step" })).toBe(false);
    expect(isOfEnd(fakeRollout({ phase: "aborted" }), { ...decided, decision: "rollback" })).toBe(
      true,
    );
    expect(isOfEnd(ended, { ...decided, decision: null })).toBe(false);
    expect(withDecided(new Map(), decided).size).toBe(0);
  });

  test("what informs only: drift of each output with where it is, and the cost of an inference", () => {
    const drift: DriftReading = {
      ...{ output: "y", kind: "class", stable: 400, candidate: 200, psi: 0.31, limit: 0.12 },
      ...{ verdict: "drifted", bins: [{ name: "3", stable: 124, candidate: 12 }] },
    };
    const unknown: DriftReading = {
      ...drift,
      output: "z",
      psi: null,
      limit: null,
      verdict: "too few",
    };
    const cost: CostReading = {
      stable: {
        inferences: 4000,
        batches: 900,
        msPerInference: 1.2,
        byteSecondsPerInference: 2048,
      },
      candidate: {
        inferences: 200,
        batches: 90,
        msPerInference: 1.4,
        byteSecondsPerInference: null,
      },
      ...{ ratio: 1.1, lower: 1.02, upper: 1.2, alpha: 0.05, verdict: "dearer" },
      compared: { stable: 90, candidate: 90 },
    };
    const advisory = { drift: [drift, unknown], cost, fault: null };
    const lines = compare(fakeRollout({ advisory }), { models: [] });
    const line = (name: string) => lines.find((one) => one.name === name);
    expect(line("drift of y")?.candidate).toEqual({
      text: "drifted",
      note: "n = 200",
      line: "PSI 0.310 of 0.12; class 3: 6 %, stable 31 %",
    });
    expect(line("drift of z")?.candidate).toEqual({ text: "unknown", note: "n = 200" });
    expect(line("run time of an inference")).toMatchObject({
      stable: { text: "1.20 ms", note: "n = 4,000", line: "2.0 KiB for a second" },
      candidate: {
        text: "1.40 ms",
        note: "n = 200",
        line: "×1.10 (1.02 to 1.20) in like batches: dearer",
      },
    });
    expect(compare(fakeRollout(), { models: [] }).map(({ name }) => name)).not.toContain(
      "drift of y",
    );
  });

  test("both versions with their n; what is not known is not zero", () => {
    const latency = { windowSeconds: 60, n: 1200, p50Ms: 4, p99Ms: 9 };
    const gates = [
      fakeGate("slow"),
      fakeGate("wrong", { candidate: { events: 0, of: 0 } }),
      fakeGate("disagreement", { candidate: { events: 1, of: 2000 } }),
    ];
    const lines = compare(judged({ gates }), {
      models: [fakeVersion({ latency }), fakeVersion({ version: 3 })],
    });
    const line = (name: string) => lines.find((one) => one.name === name);
    expect(line("P99")?.stable).toEqual({ text: "9.00 ms", note: "n = 1,200" });
    expect(line("P99")?.candidate.text).toBe("–");
    expect(line("slower than 12.0 ms")?.candidate).toEqual({ text: "1.3 %", note: "2 of 150" });
    expect(line("wrong answers")?.candidate.text).toBe("unknown");
    expect(line("same answer")?.candidate).toEqual({
      ...{ text: "99.95 %", note: "1,999 of 2,000 copies" },
    });
  });
});

describe("acts", () => {
  test("one key each, for what may be done now; nothing after the end", () => {
    const acts = (change: Partial<RolloutStatus>) =>
      actsOf(fakeRollout(change)).map(({ act, command }) => `${command} ${act}`);
    expect(acts({})).toEqual(["roll-back abort", "freeze freeze", "hold hold", "promote promote"]);
    expect(acts({ frozen: true })).toEqual(["roll-back abort", "freeze resume", "promote promote"]);
    expect(acts({ held: true })).toEqual([
      ...["roll-back abort", "freeze freeze", "hold resume", "promote promote"],
    ]);
    for (const phase of ENDS) expect(acts({ phase })).toEqual([]);
    expect(actOf(fakeRollout({ frozen: true }), "hold")?.act).toBe("resume");
  });

  test("a key means the rollout of the selected model, or the only one", () => {
    const [a, b] = [fakeRollout(), fakeRollout({ id: "r2", model: "other" })];
    expect(rolloutOf([a, b], "other")).toBe(b);
    expect(rolloutOf([a], "third")).toBe(a);
    expect(rolloutOf([a, b], "third")).toBeUndefined();
    expect(rolloutOf([fakeRollout({ phase: "failed" })], "net")).toBeUndefined();
  });

  test("names go into paths as names, a reason into the body", () => {
    const plan = actPlan(
      fakeRollout({ model: "a/../b?" }),
      { act: "abort", label: "Roll back" },
      " slow ",
    );
    expect(plan.path).toBe("/api/v1/models/a%2F..%2Fb%3F/rollout/abort");
    expect(plan.body).toEqual({ reason: "slow" });
  });

  test("a refusal stops an act, a server that is ill does not", () => {
    expect(answerOf(409, { error: "it has ended" })).toEqual({
      kind: "refused",
      text: "it has ended",
    });
    expect(answerOf(500, {})).toEqual({ kind: "unknown", text: "the server answers 500" });
    expect(answerOf(200, { effects: [] }).kind).toBe("known");
    expect(answerOf(200, "<html>").kind).toBe("unknown");
  });
});

describe("a dry run", () => {
  test("is told as the server foresees it, in its order", () => {
    const notice = { kind: "aborted", cause: "operator", text: "enough", actor: "she" } as const;
    const texts = effectTexts([
      { kind: "split", split: { stable: 1, share: 0 } },
      { kind: "split", split: { stable: 1, candidate: 2, share: 0.05, shadow: 2 } },
      { kind: "notice", notice },
      { kind: "alias", version: 1 },
      { kind: "certify", decision: "rollback" },
    ]);
    expect(texts).toEqual([
      "all requests go to version 1",
      "5 % of the requests go to version 2, 95 % to version 1, copies to version 2",
      "event aborted: enough",
      "the alias is moved to version 1",
      "the evidence so far is kept as the certificate of this decision",
    ]);
    expect(effectTexts([])).toEqual(["nothing changes at once"]);
  });
});

describe("kinds of events", () => {
  const event = (change: Partial<ServingEvent>): ServingEvent => ({
    ...{ id: 1, atMs: 0, kind: "state", model: "net", version: 1, cause: null, text: "" },
    ...change,
  });
  const all = [
    event({ kind: "rolled-back", rollout: "r1" }),
    event({ kind: "step", rollout: "r1", model: "other" }),
    event({ kind: "server", model: null, version: null }),
    event({ kind: "restart" }),
  ];

  test("are narrowed by model, kind and group; what concerns the server concerns every model", () => {
    const kinds = (model?: string, kind?: string) =>
      filtered(all, { model, kind }).map((one) => one.kind);
    expect(kinds()).toEqual(["rolled-back", "step", "server", "restart"]);
    expect(kinds("net")).toEqual(["rolled-back", "server", "restart"]);
    expect(kinds(undefined, "rollouts")).toEqual(["rolled-back", "step"]);
    expect(kinds(undefined, "alarms")).toEqual(["rolled-back", "restart"]);
    expect(kinds("net", "step")).toEqual([]);
    expect(kinds("net", "constructor")).toEqual([]);
    expect(kindChoices(all, "gone")).toEqual([
      ...["rollouts", "alarms", "gone", "restart", "rolled-back", "server", "step"],
    ]);
  });

  test("every letter on a chart is in the legend; a kind that is new has a sign", () => {
    const letters = new Set(LETTERS.map(([letter]) => letter));
    for (const one of all) for (const { letter } of markOf(one)) expect(letters).toContain(letter);
    expect(kindOf("toString").sign).toBe("○");
  });
});
