// A rollout as a document for tests: one that is at 5 %, and whatever is changed of it.

import type { RolloutDocument, RolloutStatus } from "./document.ts";
import type { GateName, GateReading, Verdict } from "./judge/types.ts";

/** A gate that knows little yet. */
export function fakeGate(gate: GateName, change: Partial<GateReading> = {}): GateReading {
  return {
    ...{ gate, logE: 0, limit: Math.log(6000) },
    candidate: { events: 2, of: 150 },
    stable: { events: 30, of: 3000 },
    ...{ ratio: 1.33, lower: 0.2, upper: 4.1, allowed: 2, verdict: "underpowered" },
    ...change,
  };
}

/** Nothing is sure yet. */
export function fakeVerdict(change: Partial<Verdict> = {}): Verdict {
  return {
    verdict: "UNDERPOWERED",
    text: "nothing speaks against version 2 yet",
    gates: [fakeGate("slow"), fakeGate("failed", { ratio: null, lower: null, upper: null })],
    sampleRatio: { logE: 0, limit: 9, fault: false },
    ...{ candidateRequests: 150, stableRequests: 3000 },
    ...{ requestsNeeded: 420, secondsNeeded: 350 },
    ...change,
  };
}

/** Version 1 of `net` to 2, in the second step. */
export function fakeRollout(change: Partial<RolloutStatus> = {}): RolloutStatus {
  return {
    ...{ schema: "skipway.rollout/1", id: "r1", model: "net", from: 1, to: 2 },
    ...{ phase: "canary", step: 1, share: 0.05 },
    steps: [{ share: 0.01 }, { share: 0.05 }, { share: 0.25 }, { share: 0.5 }],
    ...{ startedMs: 1000, updatedMs: 61_000, held: false, frozen: false, waiting: false },
    verdict: fakeVerdict(),
    threshold: { ms: 12, source: "stable's P99 of 1,000 requests" },
    reason: null,
    ...change,
  };
}

/** The same with its past. */
export function fakeRolloutDocument(change: Partial<RolloutDocument> = {}): RolloutDocument {
  return { ...fakeRollout(), policy: {}, plan: {}, path: [], events: [], ...change };
}
