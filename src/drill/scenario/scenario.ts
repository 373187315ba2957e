// What a drill is: a candidate that is good or bad in a known way, and what the rollout of it is expected to do,
// stated before anything runs.

import type { Model } from "../../onnx/model.ts";

/** The names of the drills, in the order in which `all` runs them. */
export const DRILLS = [
  "latency-x3",
  "errors-2pct",
  "wrong-labels-5pct",
  "out-of-memory",
  "crash",
  "frozen",
  "corrupt-artifact",
  "good-version",
] as const;
export type DrillName = (typeof DRILLS)[number];

/** An event of the rollout that has to come. */
export interface ExpectedEvent {
  readonly kind: string;
  /** Left out: any. */
  readonly cause?: string;
}

/** What is stated beforehand. */
export interface Hypothesis {
  /** In a sentence, for people. */
  readonly text: string;
  /** How the rollout ends. */
  readonly phase: "rolled-back" | "promoted" | "failed";
  /** Why. Where two gates see the same fault, either may be first. */
  readonly causes: readonly string[];
  /** All events, in this order. */
  readonly events: readonly ExpectedEvent[];
  /** Kinds of events that may come any number of times between them. */
  readonly besides: readonly string[];
}

/** What a drill makes a candidate of. */
export interface Material {
  /** The model that is stable. */
  readonly stable: Model;
  /** The same network, trained for longer, as fast. */
  readonly successor: Model;
  /** The successor, so many times as slow. */
  slower(factor: number): Model;
}

/** What is done to a candidate from outside. */
export type Injection = "crash" | "freeze" | "corrupt";

/** A drill. */
export interface Scenario {
  readonly name: DrillName;
  readonly title: string;
  readonly hypothesis: Hypothesis;
  candidate(material: Material): Model;
  /** Before the rollout (`corrupt`), or once the candidate has answered requests. */
  readonly inject?: Injection;
  /** Whether the right labels are told to the server, some time after each answer. */
  readonly labels: boolean;
  /** Of the rollout. */
  readonly policy: Readonly<Record<string, unknown>>;
  /** Requests a second. */
  readonly rate: number;
  /** Answers of stable before the rollout is ordered. */
  readonly warmUp: number;
  /** A rollout that has not ended by then is a drill that failed. Seconds. */
  readonly limitSeconds: number;
}
