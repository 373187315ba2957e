// How long a rollout must last: from today's rate of requests and of slow ones, which changes each step would see, and
// when an equal candidate will be let through. Said before it starts, because a canary that passes on 30 requests
// proves nothing.

import { present } from "../base/assert.ts";
import { type Alternative, BETTER, WORSE } from "./judge/evidence.ts";
import { type GateRules, type Rules, rulesOf } from "./judge/gates.ts";
import { known, requestLimit } from "./judge/state.ts";
import type { JudgePolicy } from "./judge/types.ts";
import { endings, eventsWithin, requestsWithin } from "./planner-passage.ts";

/** A step of a policy. */
export interface StepInput {
  readonly share: number;
  readonly minSeconds?: number | undefined;
  /** Times as many slow requests that the step is to see; default: 10 in the first, down to 5 before the last. */
  readonly detects?: number | undefined;
}

/** What is known before a rollout begins. */
export interface PlanInput {
  /** Requests a second of the whole model. */
  readonly ratePerSecond: number;
  /** Share of requests that are slow today, against the frozen threshold. */
  readonly slowRate: number;
  /** Share of requests that fail today; default 0. */
  readonly failedRate?: number | undefined;
  /** Chance that a step sees what it is to see, and that an equal candidate passes in time. */
  readonly power: number;
  readonly steps: readonly StepInput[];
  readonly policy: Omit<JudgePolicy, "thresholdMs">;
  /** Requests of a batch, on average: they count as one. Default 1. */
  readonly rowsPerBatch?: number | undefined;
  /**
   * Of slow requests, the share that comes from different clients, where clients keep their version: each counts once.
   * Over about as many requests as the rollout takes. Default 1.
   */
  readonly distinct?: number | undefined;
  /** A rollout that would take longer is refused; default: 7 days. */
  readonly longestSeconds?: number | undefined;
}

/** What a step takes, and what it would see. */
export interface PlannedStep {
  readonly share: number;
  /** Candidate requests. */
  readonly requests: number;
  readonly seconds: number;
  /** The least ratio of slow requests that it sees with the wanted power; null: none up to 1,000. */
  readonly detects: number | null;
}

/** A plan. */
export interface RolloutPlan {
  readonly steps: readonly PlannedStep[];
  /** Candidate requests and seconds from start to end, if the candidate is equal. */
  readonly requests: number;
  readonly seconds: number;
  readonly warnings: readonly string[];
  /** Why this rollout could never see what it is for; undefined: it can. */
  readonly refusal?: string;
}

/** When a change is seen, in candidate requests. */
export interface Detection {
  readonly median: number;
  readonly p95: number;
}

const LONGEST_S = 7 * 24 * 3600;
const FIRST_DETECTS = 10;
const BEFORE_LAST_DETECTS = 5;
const RATIO_MAX = 1000;
/** Neither the frozen threshold nor the ratio means much below this rate: ten slow requests in 10,000. */
const RATE_MIN = 1e-3;

/** When a candidate with `ratio` times as many slow requests is rolled back. Infinite: not within any sensible time. */
export function forecastDetection(
  policy: Omit<JudgePolicy, "thresholdMs">,
  share: number,
  slowRate: number,
  ratio: number,
): Detection {
  const rules = rulesOf({ ...policy, thresholdMs: 0 });
  const within = detection(slowGate(rules), share, slowRate, ratio);
  const { warmup } = rules;
  return { median: warmup + within(0.5), p95: warmup + within(0.95) };
}

/**
 * What each step takes.
 *
 * @throws SkipwayError with code `usage` where the policy has a number that is out of its range.
 */
export function planRollout(input: PlanInput): RolloutPlan {
  const rules = rulesOf({ ...input.policy, thresholdMs: 0 });
  const refusal = refusalOf(input, rules);
  if (refusal !== undefined) return { steps: [], requests: 0, seconds: 0, warnings: [], refusal };
  const gate = slowGate(rules);
  const rowsPerBatch = input.rowsPerBatch ?? 1;
  const rows = rowsPerBatch * dispersion(input);
  const steps: PlannedStep[] = [];
  let before = 0;
  for (const [i, step] of input.steps.entries()) {
    const last = i === input.steps.length - 1;
    const perSecond = input.ratePerSecond * step.share;
    const wanted = last
      ? requestsToPass(rules, input, step.share, before / rows)
      : detection(gate, step.share, countedRate(input), targetOf(input.steps, i))(input.power);
    const least = Math.ceil((step.minSeconds ?? 0) * perSecond);
    // What a process does first is left out.
    const warmup = i === 0 ? Math.ceil(rules.warmup * rowsPerBatch) : 0;
    const requests = Math.max(1, least, warmup + Math.ceil(wanted * rows));
    before += requests - warmup;
    const detects = Number.isFinite(requests)
      ? leastDetected(gate, step.share, input, (requests - warmup) / rows)
      : null;
    steps.push({ share: step.share, requests, seconds: requests / perSecond, detects });
  }
  const seconds = steps.reduce((sum, step) => sum + step.seconds, 0);
  const late = lateText(steps, seconds, input);
  return {
    steps,
    requests: steps.reduce((sum, { requests }) => sum + requests, 0),
    seconds,
    warnings: warningsOf(input, rules, steps),
    ...(late === undefined ? {} : { refusal: late }),
  };
}

/** Slow requests that count as events. */
function countedRate({ slowRate, distinct }: PlanInput): number {
  return slowRate * (distinct ?? 1);
}

/** Where clients keep their version and share batches, which of them a version has matters: measured in `bench judge`. */
const DISPERSED = 1.5;

function dispersion({ rowsPerBatch, distinct }: PlanInput): number {
  return (rowsPerBatch ?? 1) > 1 && (distinct ?? 1) < 1 ? DISPERSED : 1;
}

/** Ratio that a step before the last is to see. */
function targetOf(steps: readonly StepInput[], i: number): number {
  const own = steps[i]?.detects;
  if (own !== undefined) return own;
  const apart = steps.length - 2;
  const part = apart < 1 ? 0 : i / apart;
  return FIRST_DETECTS * (BEFORE_LAST_DETECTS / FIRST_DETECTS) ** part;
}

function slowGate(rules: Rules): GateRules {
  const gate = rules.gates.find(({ name }) => name === "slow") ?? rules.gates[0];
  return present(gate, "a policy has a gate");
}

/** Candidate requests within which a change is seen with a chance. */
function detection(
  gate: GateRules,
  share: number,
  slowRate: number,
  ratio: number,
): (chance: number) => number {
  const rates = { share, stable: slowRate, candidate: Math.min(1, slowRate * ratio) };
  const event = share * rates.candidate + (1 - share) * rates.stable;
  if (event === 0) return () => Number.POSITIVE_INFINITY;
  const ended = endings({
    share,
    against: WORSE,
    ratio: gate.tolerated,
    chance: (share * rates.candidate) / event,
    limit: requestLimit(gate),
  });
  return (chance) => requestsWithin(chance, ended, rates);
}

/** Candidate requests that an equal candidate needs in the last step, after those that it has had, to pass every gate. */
function requestsToPass(rules: Rules, input: PlanInput, share: number, before: number): number {
  const needs = rules.gates
    .filter(({ required, name }) => required && name !== "disagreement")
    .map((gate) => {
      const failed = gate.name === "failed" ? (input.failedRate ?? 0) : 0;
      const isSlow = gate.name === "slow";
      const ways = gate.floor > 0 ? 2 : 1;
      const limit = Math.log(ways / rules.passAlpha);
      const compared = comparedToPass(
        gate,
        share,
        isSlow ? countedRate(input) : failed,
        limit,
        input.power,
      );
      const fixed =
        gate.floor > 0
          ? fixedToPass(gate, isSlow ? input.slowRate : failed, limit, input.power)
          : Number.POSITIVE_INFINITY;
      return Math.min(compared, fixed - before);
    });
  return Math.max(0, ...needs);
}

/** Against stable's rate. */
function comparedToPass(
  gate: GateRules,
  share: number,
  rate: number,
  limit: number,
  power: number,
): number {
  if (rate === 0) return Number.POSITIVE_INFINITY;
  const ended = endings({ share, against: BETTER, ratio: gate.allowed, chance: share, limit });
  return requestsWithin(power, ended, { share, candidate: rate, stable: rate });
}

/** Against the floor: every candidate request is a step of the walk. */
function fixedToPass(gate: GateRules, rate: number, limit: number, power: number): number {
  const { share } = known(gate.floor * gate.allowed, 0, 0);
  if (rate >= share) return Number.POSITIVE_INFINITY;
  const against: readonly Alternative[] = BETTER;
  return eventsWithin(power, endings({ share, against, ratio: 1, chance: rate, limit }));
}

/** The least ratio that is seen within so many candidate requests. */
function leastDetected(
  gate: GateRules,
  share: number,
  input: PlanInput,
  requests: number,
): number | null {
  const { power } = input;
  const slowRate = countedRate(input);
  if (slowRate === 0) return null;
  const sees = (ratio: number): boolean =>
    detection(gate, share, slowRate, ratio)(power) <= requests;
  const most = Math.min(RATIO_MAX, 1 / slowRate);
  if (!sees(most)) return null;
  let low = Math.log(gate.tolerated);
  let high = Math.log(most);
  while (high - low > 0.02) {
    const middle = (low + high) / 2;
    if (sees(Math.exp(middle))) high = middle;
    else low = middle;
  }
  return Math.exp(high);
}

function refusalOf(
  { ratePerSecond, slowRate, steps, policy, power }: PlanInput,
  rules: Rules,
): string | undefined {
  if (steps.length === 0) return "the policy has no step";
  if (!steps.every(({ share }) => share > 0 && share < 1)) {
    return "a step's share lies between 0 and 1: at 0 and at 1 there is nothing to compare";
  }
  if (!steps.every(({ share }, i) => i === 0 || share > (steps[i - 1]?.share ?? 0))) {
    return "the shares of the steps do not grow";
  }
  if (!(power > 0 && power < 1)) return "power lies between 0 and 1";
  if (!(ratePerSecond > 0)) return "there is no traffic: nothing can be seen";
  if (!(slowRate >= 0 && slowRate < 1)) return "the rate of slow requests lies between 0 and 1";
  if (slowRate * policy.effect >= 1) {
    return `${percent(slowRate)} of requests are slow today: ${policy.effect} times as many cannot be. Raise the threshold`;
  }
  if (rules.gates.length === 0) return "every gate is off";
  return undefined;
}

function warningsOf(input: PlanInput, rules: Rules, steps: readonly PlannedStep[]): string[] {
  const { slowRate, policy } = input;
  const warnings: string[] = [];
  if (slowRate < RATE_MIN) {
    warnings.push(
      `${percent(slowRate)} of requests are slow today: a ratio of so few is known late. Lower the threshold to stable's P99`,
    );
  }
  const floor = slowGate(rules).floor;
  if (slowRate > floor * policy.effect) {
    warnings.push(
      `${percent(slowRate)} of requests are slow today, above ${percent(floor * policy.effect)}: the candidate can only pass by comparison with stable, which takes longer`,
    );
  }
  for (const { name, floor: least, allowed, required } of rules.gates) {
    if (required && least * allowed >= 1) {
      warnings.push(
        `the gate ${name} lets every candidate pass: with a floor of ${percent(least)} and ${allowed} times that allowed, nothing is too bad`,
      );
    }
  }
  for (const { share, detects } of steps) {
    if (detects === null) {
      warnings.push(
        `the step of ${percent(share)} would not even see a candidate that is always slow`,
      );
    }
  }
  return warnings;
}

function lateText(
  steps: readonly PlannedStep[],
  seconds: number,
  input: PlanInput,
): string | undefined {
  const longest = input.longestSeconds ?? LONGEST_S;
  if (seconds <= longest) return undefined;
  const slowest = steps.toSorted((a, b) => b.seconds - a.seconds)[0];
  const time = Number.isFinite(seconds) ? `${Math.ceil(seconds / 3600)} hours` : "for ever";
  const perSecond = Number((input.ratePerSecond * (slowest?.share ?? 0)).toPrecision(2));
  return (
    `an equal candidate would wait ${time}: at ${percent(slowest?.share ?? 0)} it gets ${perSecond} requests a second. ` +
    "Give the step a larger share, allow a larger effect, or lower the threshold"
  );
}

function percent(share: number): string {
  return `${Number((100 * share).toPrecision(3))} %`;
}
