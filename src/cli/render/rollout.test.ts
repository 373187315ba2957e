import { expect, test } from "vitest";
import { fakeRollout } from "../../rollout/document.test-helper.ts";
import type { RolloutStatus } from "../../rollout/document.ts";
import { rolloutLines } from "./rollout.ts";

const PAPER = { width: 100, color: false, unicode: false };

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
