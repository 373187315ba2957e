import { expect, test } from "vitest";
import { fakeGate, fakeRollout, fakeVerdict } from "../../rollout/document.test-helper.ts";
import type { RolloutStatus } from "../../rollout/document.ts";
import type { GateReading } from "../../rollout/judge/types.ts";
import type { RolloutPlan } from "../../rollout/plan.ts";
import { DEFAULT_POLICY, type RolloutPolicy } from "../../rollout/policy.ts";
import { planLines, rolloutLines } from "./rollout.ts";

const PAPER = { width: 200, color: false, unicode: false };
const THRESHOLD = { ms: 12, source: "stable p99", n: 1200, slowRate: 0.01 } as const;
const PLAN: RolloutPlan = {
  ...{ ratePerSecond: 100, windowSeconds: 60, secondsToPromote: 20 },
  steps: [{ share: 0.5, requests: 100_000, seconds: 700, detects: null }],
  ...{ warnings: [], refusal: null },
};

function planned(plan: Partial<RolloutPlan>, change: Partial<RolloutPolicy>) {
  const ramp = { steps: [], copies: true, autoPromote: true, evidenceMsMax: 1, deathsMax: 1 };
  const policy = { ...DEFAULT_POLICY, ...change };
  const versions = { model: "net", from: 1, to: 2, threshold: THRESHOLD };
  const schema = "skipway.rollout-plan/1";
  const lines = planLines({ schema, ...versions, policy, ramp, plan: { ...PLAN, ...plan } }, PAPER);
  return lines.join("\n");
}

test("a plan says when an equal version passes, and nothing of a promotion that does not come", () => {
  expect(planned({}, {})).toMatch(/is promoted after about 20.* s: the judge is sure before all/);
  expect(planned({ secondsToPromote: 700 }, {})).toMatch(/is promoted after about 11 min[^:]*$/);
  expect(planned({}, { autoPromote: false })).toMatch(/has passed after .* waits for somebody/);
  expect(planned({}, { labelsRequired: true })).toMatch(/20.* s, where its labels have come/);
  for (const text of [
    planned({}, { maxSeconds: 1 }),
    planned({ refusal: "every gate is off", secondsToPromote: null }, {}),
    planned({ refusal: "an equal candidate would wait 200 hours" }, {}),
    planned({ secondsToPromote: null }, {}),
  ]) {
    expect(text).not.toContain("promoted");
  }
  expect(planned({}, { maxSeconds: 1 })).toMatch(
    /would take about 20.* s, and is taken back before/,
  );
});

test("the status says how many labels came, how many were wrong, and what they are good for", () => {
  const labels = {
    ...{ candidate: { events: 5, of: 25 }, stable: { events: 0, of: 60 } },
    ...{ needed: 480, decide: false },
  };
  const lines = (given?: GateReading["labels"]): string => {
    const gate = fakeGate("wrong", given === undefined ? {} : { labels: given });
    const rollout = fakeRollout({ verdict: fakeVerdict({ gates: [gate] }) });
    const rest = { policy: DEFAULT_POLICY, plan: PLAN, path: [], events: [] };
    return rolloutLines({ ...rollout, ...rest }, PAPER).join("\n");
  };
  expect(lines()).not.toContain("labels");
  expect(lines(labels)).toMatch(
    /labels: 5 of 25 wrong, stable's 0 of 60; about 480 more of the candidate .* by them$/m,
  );
  expect(lines({ ...labels, decide: true })).toMatch(/by them, and wrong waits for that$/m);
  expect(lines({ ...labels, needed: 0 })).toMatch(/they prove it$/m);
});

function stateLine(change: Partial<RolloutStatus>): string | undefined {
  return rolloutLines({ ...fakeRollout(change), events: [] }, PAPER)[1];
}

test("what stops a rollout is said, and whether a bad candidate is taken back by itself", () => {
  const canary = "canary, step 2 of 4, 5 % of the requests";
  expect(stateLine({})).toBe(canary);
  expect(stateLine({ held: true })).toBe(`${canary}, held`);
  const kept = { frozen: true, automaticRollback: false };
  expect(stateLine(kept)).toBe(`${canary}, frozen, no automatic rollback`);
  expect(stateLine({ phase: "aborted", over: true })).toBe("aborted");
});

test("a reason that nobody gave leaves no gap", () => {
  const reason = { cause: "operator", text: "", actor: "she" };
  const lines = rolloutLines({ ...fakeRollout({ reason }), events: [] }, PAPER);
  expect(lines[2]).toBe("operator (she)");
});

test("an alias that others have moved is a line of its own, with what to do", () => {
  const lines = (change: Partial<RolloutStatus>) =>
    rolloutLines({ ...fakeRollout(change), events: [] }, PAPER).join("\n");
  expect(lines({})).not.toContain("moved");
  expect(lines({ aliasElsewhere: 7 })).toMatch(
    /stable to version 7, so .* alias net stable 1\), or/,
  );
  expect(lines({ aliasElsewhere: 7, over: true })).toContain("7, which answers since");
});
