// A rollout as a document for tests: one that is at 5 %, and whatever is changed of it.

import type { RolloutStatus } from "./document.ts";
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
    ...{ phase: "canary", over: false, step: 1, share: 0.05, actor: "she" },
    steps: [0.01, 0.05, 0.25, 0.5].map((share) => ({ share, requests: 500, minSeconds: 60 })),
    ...{ startedMs: 1000, updatedMs: 61_000, held: false, frozen: false, waiting: false },
    ...{ automaticRollback: true, aliasElsewhere: null, ready: { stable: true, candidate: true } },
    verdict: fakeVerdict(),
    advisory: null,
    threshold: { ms: 12, source: "stable p99", n: 1200, slowRate: 0.01 },
    ...{ reason: null, fault: null },
    ...change,
  };
}
