// What an operator may say of how a rollout goes: one JSON document, all of it optional. What is left out is
// filled in here, so that the stored policy of a rollout says all that it was judged by.

import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { Fields } from "./fields.ts";
import { GATE_NAMES, LIMITS, WARMUP } from "./judge/gates.ts";
import type { GateName, GatePolicy } from "./judge/types.ts";

/** One step: a share of the requests, and how long it lasts at the least. */
export interface PolicyStep {
  readonly share: number;
  /** With traffic, at the least. */
  readonly seconds: number;
  /** Of the candidate; where it is left out the planner says how many. */
  readonly requests?: number;
  /** Times as many slow requests that it is to see, for the planner. */
  readonly detects?: number;
}

/** What a threshold of slowness comes from, where it is no number. */
export const THRESHOLDS = ["stable p99", "slo"] as const;

/** How a rollout goes. */
export interface RolloutPolicy {
  readonly steps: readonly PolicyStep[];
  /** Copies before the first request of a client: until so many were compared, or for so long with traffic. */
  readonly shadow: { readonly pairs: number; readonly seconds: number } | null;
  /** Whether copies go on during the canary. */
  readonly copies: boolean;
  /** Chance of taking an equal candidate back, over all gates and looks. */
  readonly alpha: number;
  /** Ratio of bad requests, candidate to stable, that must be ruled out. */
  readonly effect: number;
  /** Chance of seeing such a ratio within the steps. */
  readonly power: number;
  /** Milliseconds, or where they come from. */
  readonly thresholdMs: number | (typeof THRESHOLDS)[number];
  readonly gates: Readonly<Partial<Record<GateName, GatePolicy>>>;
  /** Share of pairs that may disagree. */
  readonly disagreement: number;
  /** How far numbers of a pair may be apart; null: scores agree by the largest. */
  readonly tolerance: number | null;
  /** Runs of each shape that are left out of the gates of time while a process is new. */
  readonly warmup: number;
  /** Whether it is promoted only where labels prove it. Left out in policies that were stored before it was. */
  readonly labelsRequired?: boolean;
  readonly autoPromote: boolean;
  /** With traffic, after which an unproven candidate is taken back; null: four times the plan. */
  readonly maxSeconds: number | null;
  /** How many times more often than stable's the candidate's process may die. */
  readonly deaths: number;
  /** Names of configured webhooks; null: all of them. */
  readonly webhooks: readonly string[] | null;
  /** Whether the store remembers which version answered which request, so that feedback finds it after a restart. */
  readonly feedback: boolean;
  /** Requests that are remembered in memory for feedback. Left out in policies that were stored before it was. */
  readonly remember?: number;
}

const STEPS_MAX = 20;
/** Where stable gets nothing there is nothing to compare with. */
const SHARE_MAX = 0.99;
const SECONDS_MAX = 30 * 86_400;
const COUNT_MAX = 100_000_000;
const WEBHOOKS_MAX = 20;
/** Requests of one rollout that are remembered in memory where nothing is said, and at the most. */
const REMEMBERED = 100_000;
const REMEMBERED_MAX = 1_000_000;

/** Where nothing is said. */
export const DEFAULT_POLICY: RolloutPolicy = {
  steps: [0.01, 0.05, 0.25, 0.5].map((share) => ({ share, seconds: 10 })),
  shadow: { pairs: 100, seconds: 30 },
  copies: true,
  alpha: 0.001,
  effect: 2,
  power: 0.9,
  thresholdMs: "stable p99",
  gates: {},
  disagreement: 0.02,
  tolerance: null,
  warmup: WARMUP,
  labelsRequired: false,
  autoPromote: true,
  maxSeconds: null,
  deaths: 1,
  webhooks: null,
  feedback: false,
  remember: REMEMBERED,
};

/**
 * Reads a policy.
 *
 * @param where the file, or whatever else the document came from.
 * @throws SkipwayError `input` with every fault.
 */
export function readPolicy(document: unknown, where: string): RolloutPolicy {
  const faults: string[] = [];
  const fields = new Fields(document, "", faults);
  const given = {
    steps: stepsOf(fields),
    shadow: shadowOf(fields),
    copies: fields.boolean("copies"),
    alpha: fields.number("alpha", { min: LIMITS.alpha[0], max: 0.1 }),
    effect: fields.number("effect", { min: LIMITS.effect[0], max: 100 }),
    power: fields.number("power", { min: 0.5, max: 0.999 }),
    thresholdMs: thresholdOf(fields),
    gates: gatesOf(fields),
    disagreement: fields.number("disagreement", { min: 0, max: 0.5, above: true }),
    tolerance: fields.number("tolerance", { min: 0, max: 1e9 }),
    warmup: fields.number("warmup", { min: 0, max: LIMITS.warmup[1], whole: true }),
    labelsRequired: fields.boolean("labelsRequired"),
    autoPromote: fields.boolean("autoPromote"),
    maxSeconds: fields.number("maxSeconds", { min: 1, max: SECONDS_MAX }),
    deaths: fields.number("deaths", { min: 1, max: 1000, whole: true }),
    webhooks: webhooksOf(fields),
    feedback: fields.boolean("feedback"),
    remember: fields.number("remember", { min: 0, max: REMEMBERED_MAX, whole: true }),
  };
  fields.end();
  if (faults.length > 0) throw invalid(where, faults);
  const said = Object.entries(given).filter(([, value]) => value !== undefined);
  return { ...DEFAULT_POLICY, ...Object.fromEntries(said) };
}

function stepsOf(fields: Fields): PolicyStep[] | undefined {
  const list = fields.list("steps", STEPS_MAX);
  if (list === undefined) return undefined;
  if (list.length === 0) return fields.fault("steps", "has no step");
  const faults: string[] = [];
  const steps = list.map((one, i) => stepOf(one, `steps[${i}]`, faults));
  for (const fault of faults) fields.fault(fault, "");
  for (let i = 1; i < steps.length; i++) {
    if ((steps[i]?.share ?? 0) > (steps[i - 1]?.share ?? 0)) continue;
    if (faults.length === 0) fields.fault("steps", "do not rise: each has a larger share");
    break;
  }
  return steps;
}

function stepOf(value: unknown, name: string, faults: string[]): PolicyStep {
  const one = new Fields(typeof value === "number" ? { share: value } : value, `${name}.`, faults);
  const share = one.number("share", { min: 0, max: SHARE_MAX, above: true });
  const seconds = one.number("seconds", { min: 0, max: SECONDS_MAX }) ?? 10;
  const requests = one.number("requests", { min: 1, max: COUNT_MAX, whole: true });
  const detects = one.number("detects", { min: 1, max: 1000, above: true });
  one.end();
  if (one.value("share") === undefined && faults.length === 0) one.fault("share", "is missing");
  return {
    share: share ?? 0,
    seconds,
    ...(requests !== undefined && { requests }),
    ...(detects !== undefined && { detects }),
  };
}

function shadowOf(fields: Fields): RolloutPolicy["shadow"] | undefined {
  const value = fields.value("shadow");
  if (value === false || fields.isNull("shadow")) return null;
  if (value === undefined) return undefined;
  const shadow = fields.object("shadow");
  const pairs = shadow?.number("pairs", { min: 1, max: COUNT_MAX, whole: true });
  const seconds = shadow?.number("seconds", { min: 0, max: SECONDS_MAX });
  shadow?.end();
  // One that names the other alone is over with that one.
  if (pairs !== undefined && seconds === undefined) return { pairs, seconds: SECONDS_MAX };
  return { pairs: pairs ?? COUNT_MAX, seconds: seconds ?? 30 };
}

function thresholdOf(fields: Fields): RolloutPolicy["thresholdMs"] | undefined {
  const value = fields.value("thresholdMs");
  const source = THRESHOLDS.find((one) => one === value);
  if (value === undefined || source !== undefined) return source;
  if (typeof value === "number" && value > 0 && value <= 86_400_000) return value;
  const words = THRESHOLDS.map((one) => `"${one}"`).join(" or ");
  return fields.fault("thresholdMs", `is a number of milliseconds above 0, or ${words}`);
}

function gatesOf(fields: Fields): RolloutPolicy["gates"] | undefined {
  const gates = fields.object("gates");
  if (gates === undefined) return undefined;
  const found = GATE_NAMES.flatMap((name): [GateName, GatePolicy][] => {
    const value = gates.value(name);
    if (value === undefined) return [];
    return [[name, value === false ? { off: true } : gateOf(gates, name)]];
  });
  gates.end();
  return Object.fromEntries(found);
}

function gateOf(gates: Fields, name: GateName): GatePolicy {
  const gate = gates.object(name);
  const weight = gate?.number("weight", { min: LIMITS.weight[0], max: 1000 });
  const allowed = gate?.number("allowed", { min: LIMITS.allowed[0], max: 100 });
  const floor = gate?.number("floor", { min: 0, max: 1 });
  const required = gate?.boolean("required");
  const off = gate?.boolean("off");
  gate?.end();
  return {
    ...(weight !== undefined && { weight }),
    ...(allowed !== undefined && { allowed }),
    ...(floor !== undefined && { floor }),
    ...(required !== undefined && { required }),
    ...(off !== undefined && { off }),
  };
}

function webhooksOf(fields: Fields): readonly string[] | undefined {
  const list = fields.list("webhooks", WEBHOOKS_MAX);
  if (list === undefined) return undefined;
  const names = list.filter((one) => typeof one === "string");
  if (names.length < list.length) return fields.fault("webhooks", "are names of webhooks");
  return names;
}

function invalid(where: string, faults: readonly string[]): SkipwayError {
  return SkipwayError.fromDiagnostics(
    "input",
    faults.map((fault) =>
      diagnostic({
        id: "rollout/policy",
        severity: "error",
        where,
        text: fault.trim(),
        fix: "Leave out what is to be as usual; docs/guide/rollout.md has every field.",
      }),
    ),
  );
}
