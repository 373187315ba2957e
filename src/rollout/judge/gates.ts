// The gates, and the sources of evidence that each of them averages.

import { SkipwayError } from "../../base/errors.ts";
import type { GateName, GatePolicy, JudgePolicy } from "./types.ts";

/** Where evidence comes from. `pair`: shadow copies; there is no stable rate, but one that is allowed. */
export type SourceName =
  | "slow"
  | "pair-slow"
  | "slow-run"
  | "failed"
  | "pair-failed"
  | "out-of-memory"
  | "pair-out-of-memory"
  | "not-finite"
  | "pair-not-finite"
  | "label"
  | "disagreement";

/** A source of evidence of a gate. */
export interface Source {
  readonly name: SourceName;
  /** Its weight in the average of the gate's e-values. */
  readonly weight: number;
  /** A pair that is bad is so with at most this chance; undefined: stable and candidate are compared. */
  readonly allowedRate?: (policy: JudgePolicy) => number;
  /** Whether its events are those of requests, which are told apart by stratum. */
  readonly strata?: boolean;
}

interface Gate {
  /** Its part of the error rate. */
  readonly weight: number;
  /** The candidate may be worse by this much without being rolled back: it runs in a process of its own. */
  readonly tolerated: number;
  readonly floor: number;
  readonly required: boolean;
  /** The first source is the one that is shown, and that decides whether the gate is passed. */
  readonly sources: readonly Source[];
}

/** An answer of a shadow copy that did not come: rare where stable answered the same question. */
const PAIR_FAILURES = 0.01;
const PAIR_NOT_FINITE = 0.001;

const GATES: Readonly<Record<GateName, Gate>> = {
  slow: {
    weight: 0.5,
    tolerated: 1.05,
    floor: 0.01,
    required: true,
    sources: [
      { name: "slow", weight: 0.8, strata: true },
      { name: "pair-slow", weight: 0.2 },
    ],
  },
  "slow-run": {
    weight: 0.1,
    tolerated: 1.25,
    floor: 0.05,
    required: false,
    sources: [{ name: "slow-run", weight: 1 }],
  },
  failed: {
    weight: 0.15,
    tolerated: 1,
    floor: 0.005,
    required: true,
    sources: [
      { name: "failed", weight: 0.7, strata: true },
      { name: "pair-failed", weight: 0.3, allowedRate: () => PAIR_FAILURES },
    ],
  },
  "out-of-memory": {
    weight: 0.05,
    tolerated: 1,
    floor: 0.005,
    required: true,
    sources: [
      { name: "out-of-memory", weight: 0.7, strata: true },
      { name: "pair-out-of-memory", weight: 0.3, allowedRate: () => PAIR_FAILURES },
    ],
  },
  wrong: {
    weight: 0.15,
    tolerated: 1,
    floor: 0.005,
    required: true,
    sources: [
      { name: "not-finite", weight: 0.3, strata: true },
      { name: "label", weight: 0.5 },
      { name: "pair-not-finite", weight: 0.2, allowedRate: () => PAIR_NOT_FINITE },
    ],
  },
  disagreement: {
    weight: 0.05,
    tolerated: 1,
    floor: 1,
    required: false,
    sources: [
      { name: "disagreement", weight: 1, allowedRate: (policy) => policy.disagreementAllowed },
    ],
  },
};

/** All gates, in the order in which they are shown. */
export const GATE_NAMES: readonly GateName[] = [
  "slow",
  "slow-run",
  "failed",
  "out-of-memory",
  "wrong",
  "disagreement",
];

/** A gate with what the policy says about it. */
export interface GateRules extends Gate {
  readonly name: GateName;
  /** Natural logarithm of the e-value at which it rolls back. */
  readonly limit: number;
  readonly allowed: number;
}

/** The rules that hold, of the gates that are on. */
export interface Rules {
  readonly policy: JudgePolicy;
  readonly gates: readonly GateRules[];
  readonly gateOf: ReadonlyMap<SourceName, GateRules>;
  /** Of an assignment that is off. */
  readonly faultLimit: number;
  readonly passAlpha: number;
  readonly logRows: number;
  /** Runs of each form that are left out while a process is new. */
  readonly warmup: number;
}

/** What the judge can compute with; whoever reads a policy refuses the rest before it comes here. */
export const LIMITS: Readonly<
  Record<
    "alpha" | "effect" | "weight" | "allowed" | "warmup",
    readonly [least: number, most: number]
  >
> = {
  alpha: [1e-12, 0.5],
  effect: [1.01, 1000],
  weight: [1e-6, 1e6],
  allowed: [1.01, 1000],
  warmup: [0, 10_000],
};

const PASS_ALPHA = 0.05;
const LOG_ROWS = 50_000;
/** The first run is the slow one; a few more, for batches of other sizes, and two that run at a time. */
export const WARMUP = 8;

/**
 * What follows from a policy.
 *
 * @throws SkipwayError with code `usage` where a number is out of its range.
 */
export function rulesOf(policy: JudgePolicy): Rules {
  const passAlpha = policy.passAlpha ?? PASS_ALPHA;
  const logRows = policy.logRows ?? LOG_ROWS;
  const warmup = policy.warmup ?? WARMUP;
  within("warmup", warmup, ...LIMITS.warmup);
  within("alpha", policy.alpha, ...LIMITS.alpha);
  within("passAlpha", passAlpha, ...LIMITS.alpha);
  within("effect", policy.effect, ...LIMITS.effect);
  within("thresholdMs", policy.thresholdMs, 0, Number.MAX_VALUE);
  within("disagreementAllowed", policy.disagreementAllowed, 0, 1);
  within("logRows", logRows, 16, 1_000_000);
  const on = GATE_NAMES.filter((name) => policy.gates[name]?.off !== true);
  const weightOf = (name: GateName): number => policy.gates[name]?.weight ?? GATES[name].weight;
  const total = on.reduce((sum, name) => sum + weightOf(name), 0);
  const gates = on.map((name): GateRules => {
    const own: GatePolicy = policy.gates[name] ?? {};
    within(`gates.${name}.weight`, weightOf(name), ...LIMITS.weight);
    const gate = GATES[name];
    const allowed = own.allowed ?? (name === "disagreement" ? 1 : policy.effect);
    const [least, most] = LIMITS.allowed;
    within(`gates.${name}.allowed`, allowed, name === "disagreement" ? 0.01 : least, most);
    const floor = own.floor ?? (name === "disagreement" ? policy.disagreementAllowed : gate.floor);
    within(`gates.${name}.floor`, floor, 0, 1);
    return {
      ...gate,
      name,
      allowed,
      floor,
      required: own.required ?? gate.required,
      limit: Math.log(total / (policy.alpha * weightOf(name))),
    };
  });
  const gateOf = new Map(
    gates.flatMap((gate) => gate.sources.map(({ name }) => [name, gate] as const)),
  );
  return { policy, gates, gateOf, faultLimit: -Math.log(policy.alpha), passAlpha, logRows, warmup };
}

function within(name: string, value: number, least: number, most: number): void {
  if (value >= least && value <= most) return;
  throw new SkipwayError(
    "usage",
    `rollout policy: ${name} is ${value}, not from ${least} to ${most}`,
  );
}
