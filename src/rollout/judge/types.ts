// What the judge of a release is told, what it is asked to keep, and what it answers. Everything here is plain
// JSON, so that a decision can be stored beside its reasons and made again bit for bit.

/** The two versions that serve side by side. */
export type Arm = "stable" | "candidate";

/** What rolls a release back. */
export type GateName = "slow" | "slow-run" | "failed" | "out-of-memory" | "wrong" | "disagreement";

/** A request that was answered or given up. */
export interface RequestObservation {
  readonly kind: "request";
  /** Milliseconds since the epoch, when it ended. */
  readonly atMs: number;
  readonly arm: Arm;
  /** The chance that it had of going to the candidate when it was routed. */
  readonly share: number;
  /** 32-bit hash of its sticky key; undefined: it was assigned by itself. */
  readonly key?: number | undefined;
  /** Number of the batch that answered it, unique within its arm; undefined: it ran alone by rule. */
  readonly batch?: number | undefined;
  /** How many requests that batch answered, where known: its event counts as soon as all are told. */
  readonly batchSize?: number | undefined;
  /** Rows of that batch, where known: batches of about as many are compared. */
  readonly batchRows?: number | undefined;
  /** When it was routed; default: `latencyMs` before `atMs`. */
  readonly routedMs?: number | undefined;
  /** End to end inside the server, milliseconds; undefined where there was no answer. */
  readonly latencyMs?: number | undefined;
  readonly outcome: "good" | "failed" | "out-of-memory" | "not-finite" | "excluded";
  /** What its process does like work for, such as input shapes: the first runs of each are its warm-up. Default: all. */
  readonly form?: string | undefined;
  /** Input shape, tenant, node pool: whatever requests are told apart by. */
  readonly stratum: string;
}

/** A batch that ran. */
export interface BatchObservation {
  readonly kind: "batch";
  readonly atMs: number;
  readonly arm: Arm;
  /** Shape and size class: batches of one bucket are compared. */
  readonly bucket: string;
  readonly rows: number;
  /** Execution alone, without waiting, milliseconds. */
  readonly executeMs: number;
  readonly outcome: "good" | "failed" | "out-of-memory";
}

/** A shadow copy beside the answer that counted. */
export interface PairObservation {
  readonly kind: "pair";
  readonly atMs: number;
  readonly agrees: boolean;
  /** Both times measured in the same way, milliseconds; without the candidate's the pair says nothing of speed. */
  readonly stableMs: number;
  readonly candidateMs?: number | undefined;
  readonly outcome: "good" | "failed" | "out-of-memory" | "not-finite";
}

/** What turned out to be true: late, and in any order. */
export interface LabelObservation {
  readonly kind: "label";
  readonly atMs: number;
  readonly arm: Arm;
  readonly share: number;
  readonly key?: number | undefined;
  readonly correct: boolean;
}

/** A question whose answer is known. */
export interface GoldenObservation {
  readonly kind: "golden";
  readonly atMs: number;
  readonly arm: Arm;
  readonly right: boolean;
}

/** Another process answers for a version from here on. */
export interface ProcessObservation {
  readonly kind: "process";
  readonly atMs: number;
  readonly arm: Arm;
}

/** What the judge is told. */
export type Observation =
  | RequestObservation
  | BatchObservation
  | PairObservation
  | LabelObservation
  | GoldenObservation
  | ProcessObservation;

/** So many of so many. */
export interface Counts {
  readonly events: number;
  readonly of: number;
}

/** What one gate says. */
export interface GateReading {
  readonly gate: GateName;
  /** Natural logarithm of the e-value. */
  readonly logE: number;
  /** Rolls back at or above. */
  readonly limit: number;
  readonly candidate: Counts;
  readonly stable: Counts;
  /** Candidate's rate over stable's, or over the allowed rate where there is no stable one. */
  readonly ratio: number | null;
  /** Bounds of the ratio that hold at every look; the upper one is over the larger of stable's rate and the floor. */
  readonly lower: number | null;
  readonly upper: number | null;
  /** What the upper bound must stay under to pass. */
  readonly allowed: number;
  readonly verdict: "pass" | "regress" | "underpowered";
  /** Whether a release may pass only if this gate does. */
  readonly required?: boolean;
  /** The stratum where the candidate looks worst, if there is more than one. */
  readonly stratum?: string;
  /** Batches of the candidate that were left out of this gate, as the warm-up of a process. */
  readonly leftOut?: number;
  /** Labels so far, where any came or must come: wrong ones of all. */
  readonly labels?: LabelReading;
  /** Candidate requests (or batches, labels, pairs) that the gate still needs to pass; null: never at these rates. */
  readonly needed?: number | null;
}

/** What labels say by themselves. */
export interface LabelReading {
  readonly candidate: Counts;
  readonly stable: Counts;
  /** Further ones of the candidate that would pass the gate by labels alone; null: not known, or never at these rates. */
  readonly needed: number | null;
  /** Whether the gate waits for them: the policy wants them, or those that came speak against the candidate. */
  readonly decide: boolean;
}

/** Whether requests went where they should have. */
export interface SampleRatio {
  readonly logE: number;
  readonly limit: number;
  readonly fault: boolean;
  /** Where the fault is; undefined: overall. */
  readonly stratum?: string;
}

/** What the judge answers. */
export interface Verdict {
  readonly verdict: "PASS" | "REGRESS" | "UNDERPOWERED";
  readonly cause?: GateName;
  readonly text: string;
  readonly gates: readonly GateReading[];
  readonly sampleRatio: SampleRatio;
  readonly candidateRequests: number;
  readonly stableRequests: number;
  /** Candidate requests still needed; null: never at this rate and effect. */
  readonly requestsNeeded: number | null;
  /** How long that is at today's rate; null: never. */
  readonly secondsNeeded: number | null;
}

/** How one gate is judged. */
export interface GatePolicy {
  /** Its part of the error rate, beside those of the others. */
  readonly weight?: number;
  /** Ratio that the upper bound must stay under to pass; default: the effect. */
  readonly allowed?: number;
  /** Rate that nobody minds: a candidate below `allowed` times this passes whatever stable's rate is. */
  readonly floor?: number;
  /** Whether a release passes only if this gate does. */
  readonly required?: boolean;
  readonly off?: boolean;
}

/** The rules of a rollout, frozen when it begins. */
export interface JudgePolicy {
  /** Chance of rolling an equal candidate back, over all gates and all looks; default 0.001. */
  readonly alpha: number;
  /** A request that took longer is slow, milliseconds; frozen. */
  readonly thresholdMs: number;
  /** Ratio of rates that must be ruled out to pass, such as 2. */
  readonly effect: number;
  readonly gates: Partial<Record<GateName, GatePolicy>>;
  /** Share of pairs that may disagree. */
  readonly disagreementAllowed: number;
  /** Runs of each form that are left out of gates of time while a process is new, 0 to 10,000; default 8. */
  readonly warmup?: number;
  /** A release passes only if labels say that it may: where feedback is sure to come. */
  readonly labelsRequired?: boolean;
  /** Chance that a candidate worse than `effect` passes a gate; default 0.05. */
  readonly passAlpha?: number;
  /** Rows of evidence that are kept one by one; default 50,000. */
  readonly logRows?: number;
}

/** A point of the path of the evidence. */
export interface PathPoint {
  readonly atMs: number;
  readonly gate: GateName;
  readonly logE: number;
}
