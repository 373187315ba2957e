// The eight drills. Faulty candidates are files that really are so; crashes and stops are signals.

import { failing, hungry, wrong } from "../faults/model-faults.ts";
import type { Hypothesis, Scenario } from "./scenario.ts";

/** What a laptop that does other things as well answers with ease. */
const RATE = 60;

/** Straight to the clients, so that the canary and not the shadow is drilled. What is rare is seen soon with half of them. */
const CANARY = {
  shadow: null,
  copies: false,
  steps: [
    { share: 0.1, seconds: 5, requests: 50 },
    // Until something is found: a plan would rest on the rate of a server that has just begun.
    { share: 0.5, seconds: 5, requests: 100_000 },
  ],
} as const;

const STARTED = [{ kind: "started" }, { kind: "step" }] as const;

function takenBack(text: string, ...causes: string[]): Hypothesis {
  const phase = "rolled-back";
  return {
    text,
    phase,
    causes,
    events: [...STARTED, { kind: "verdict" }, { kind: phase }],
    besides: ["step"],
  };
}

/** Stable's P99 rests on a thousand requests. */
const BASE = {
  labels: false,
  policy: CANARY,
  rate: RATE,
  warmUp: 1050,
  limitSeconds: 180,
} as const;

/** Where no time is judged, nothing has to be known of stable's before. */
const UNTIMED = { ...BASE, policy: { ...CANARY, thresholdMs: 5000 }, warmUp: 60 } as const;

/** All drills. */
export const SCENARIOS: readonly Scenario[] = [
  {
    ...BASE,
    name: "latency-x3",
    title: "a candidate three times as slow",
    hypothesis: takenBack(
      "Every run takes three times as long, so nearly every request of the candidate is over stable's P99: rolled back as slow within seconds, and no request fails.",
      "slow",
      "slow-run",
    ),
    candidate: ({ slower }) => slower(3),
  },
  {
    ...BASE,
    name: "errors-2pct",
    title: "a candidate that fails for 2 % of the inputs",
    hypothesis: takenBack(
      "Two of a hundred inputs make the runtime fail, where stable never fails: rolled back as failing, and each failed request is answered by stable.",
      "failed",
    ),
    candidate: ({ successor }) => failing(successor, { share: 0.02 }),
  },
  {
    ...BASE,
    name: "wrong-labels-5pct",
    title: "a candidate with 5 % wrong labels",
    labels: true,
    hypothesis: takenBack(
      "Five of a hundred answers have another label and are as fast as ever; the labels that come later tell: rolled back as wrong.",
      "wrong",
    ),
    candidate: ({ successor }) => wrong(successor, { share: 0.05 }),
  },
  {
    ...BASE,
    name: "out-of-memory",
    title: "a candidate that asks for memory that is not there",
    hypothesis: takenBack(
      "Two of a hundred inputs ask for far more memory than the model's shapes tell: rolled back as out of memory, no process of the server dies, and no request fails.",
      "out-of-memory",
    ),
    candidate: ({ successor }) => hungry(successor, { share: 0.02 }),
  },
  {
    ...UNTIMED,
    name: "crash",
    title: "the candidate's process is killed",
    hypothesis: {
      text: "The process is killed once, in the middle of the canary: rolled back at once, and what it had is answered by stable.",
      phase: "rolled-back",
      causes: ["killed"],
      events: [...STARTED, { kind: "rolled-back" }],
      besides: ["step", "verdict", "candidate-down"],
    },
    candidate: ({ successor }) => successor,
    inject: "crash",
  },
  {
    ...UNTIMED,
    name: "frozen",
    title: "the candidate's process stops where it is",
    hypothesis: {
      text: "The process lives and answers nothing: found by the server's own question within two of its periods, rolled back, and what it had is answered by stable.",
      phase: "rolled-back",
      causes: ["stuck"],
      events: [...STARTED, { kind: "rolled-back" }],
      besides: ["step", "verdict", "candidate-down"],
    },
    candidate: ({ successor }) => successor,
    inject: "freeze",
  },
  {
    ...UNTIMED,
    name: "corrupt-artifact",
    title: "the candidate's file is damaged on the disk",
    hypothesis: {
      text: "Bits of the file are not what they were registered as: it is not loaded, the rollout fails before any request, and stable serves on.",
      phase: "failed",
      causes: ["load-failed"],
      events: [{ kind: "started" }, { kind: "failed" }],
      besides: [],
    },
    candidate: ({ successor }) => successor,
    inject: "corrupt",
  },
  {
    ...BASE,
    name: "good-version",
    title: "a candidate as good as stable",
    labels: true,
    hypothesis: {
      text: "The same network, trained for longer: promoted, nobody is paged, and no request fails.",
      phase: "promoted",
      causes: ["passed"],
      events: [...STARTED, { kind: "verdict" }, { kind: "promoting" }, { kind: "promoted" }],
      besides: ["step", "shadow", "verdict"],
    },
    candidate: ({ successor }) => successor,
    policy: {
      shadow: { pairs: 50, seconds: 10 },
      steps: [
        { share: 0.1, seconds: 3 },
        { share: 0.5, seconds: 3 },
      ],
      effect: 4,
    },
    limitSeconds: 420,
  },
];
