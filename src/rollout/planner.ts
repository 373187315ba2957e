// How long a rollout must last: from today's rate of requests and of slow ones, which changes each step would see, and
// when an equal candidate will be let through. Said before it starts, because a canary that passes on 30 requests
// proves nothing.

import { present } from "../base/assert.ts";
import { type Alternative, BETTER, WORSE } from "./judge/evidence.ts";
import { type GateRules, type Rules, rulesOf } from "./judge/gates.ts";
import { known, requestLimit } from "./judge/state.ts";
import type { JudgePolicy } from "./judge/types.ts";
import { endings, eventsWithin, type Rates, requestsWithin } from "./planner-passage.ts";

/** A step of a policy. */
export interface StepInput {
  readonly share: number;
  readonly minSeconds?: number | undefined;
  /** Candidate requests after which it is over; left out: as many as it takes to see `detects`. */
  readonly requests?: number | undefined;
  /** Times as many slow requests that the step is to see; default: 10 in the first, down to 5 before the last. */
  readonly detects?: number | undefined;
}

/** What is known before a rollout begins. */
export interface PlanInput {
  /** Requests a second of the whole model. */
  readonly ratePerSecond: number;
  /** Share of requests that are slow today, against the frozen threshold; undefined: not known, taken for none. */
  readonly slowRate: number | undefined;
  /** Share of requests that fail today; default 0. */
  readonly failedRate?: number | undefined;
  /** Chance that a step sees what it is to see, and that an equal candidate passes in time. */
  readonly power: number;
  readonly steps: readonly StepInput[];
  readonly policy: Omit<JudgePolicy, "thresholdMs">;
  /** Copies that can be compared before the last step ends; left out: as many as it takes. */
  readonly pairs?: number | undefined;
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
  /** Candidate requests after which it is over where the judge is not sure before. Infinite: he alone ends it. */
  readonly requests: number;
  readonly seconds: number;
  /** Candidate requests that an equal candidate has in it: the judge may let it through before. */
  readonly equal: number;
  /**
   * The least ratio of slow requests that it sees with the wanted power; null: none up to 1,000. Over stable's rate,
   * or over the rate that the gate minds least where stable's is smaller (`slowBase`).
   */
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
  const rates = { share, stable: slowRate, candidate: Math.min(1, slowRate * ratio) };
  const within = detection(slowGate(rules), rates);
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
  const steps = stepsOf(input, rules);
  const requests = steps.reduce((sum, { equal }) => sum + equal, 0);
  const lengths = steps.map(({ share, equal }) => equal / (input.ratePerSecond * share));
  const seconds = lengths.reduce((sum, one) => sum + one, 0);
  const late = lateText(steps, lengths, input);
  return {
    steps,
    requests,
    seconds,
    warnings: warningsOf(input, rules, steps),
    ...(late === undefined ? {} : { refusal: late }),
  };
}

/** One after the other, as an equal candidate goes through them. */
function stepsOf(input: PlanInput, rules: Rules): PlannedStep[] {
  const gate = slowGate(rules);
  const rows = (input.rowsPerBatch ?? 1) * dispersion(input);
  const soonest = soonestToPass(rules, input) * rows;
  /** Candidate requests so far that gates of time count, and those of a new process that they leave out. */
  let before = 0;
  let warmup = Math.ceil(rules.warmup * (input.rowsPerBatch ?? 1));
  let passed = false;
  return input.steps.map((step, i): PlannedStep => {
    const { share, minSeconds = 0 } = step;
    const last = i === input.steps.length - 1;
    const perSecond = input.ratePerSecond * share;
    const least = Math.max(1, Math.ceil(minSeconds * perSecond));
    const toSee = (): number => {
      const rates = slowRates(input, gate, share, targetOf(input.steps, i));
      return warmup + Math.ceil(detection(gate, rates)(input.power) * rows);
    };
    const planned = last ? 0 : Math.max(least, step.requests ?? toSee());
    // That nobody is sure so early need not be computed at length.
    const early = !last && before + planned - warmup <= soonest;
    const passes = passed
      ? 0
      : early
        ? Number.POSITIVE_INFINITY
        : warmup + Math.ceil(requestsToPass(rules, input, share, before / rows) * rows);
    const requests = last ? Math.max(least, passes) : planned;
    const equal = Math.max(least, Math.min(requests, passes));
    passed = passes <= equal;
    // In the last one whatever came before counts too.
    const counted = (last ? before : 0) + requests - warmup;
    const left = Math.min(warmup, equal);
    warmup -= left;
    before += equal - left;
    const detects = seesSlow(rules) ? leastDetected(gate, share, input, counted / rows) : null;
    return { share, requests, seconds: requests / perSecond, equal, detects };
  });
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

function seesSlow(rules: Rules): boolean {
  return rules.gates.some(({ name }) => name === "slow");
}

/**
 * The rate that times as many slow requests are times of. A candidate below the floor passes whatever stable does, so
 * where stable is slow less often than that, or was not seen to be, a multiple of its rate is nothing to look for.
 */
function slowBase(input: PlanInput, gate: GateRules): number {
  return Math.max(input.slowRate ?? 0, gate.name === "slow" ? gate.floor : 0, RATE_MIN);
}

/** Of slow requests that count as events, where the candidate has `ratio` times as many as it may. */
function slowRates(input: PlanInput, gate: GateRules, share: number, ratio: number): Rates {
  const { slowRate = 0, distinct = 1 } = input;
  const candidate = Math.min(1, slowBase(input, gate) * ratio);
  return { share, stable: slowRate * distinct, candidate: candidate * distinct };
}

/** Candidate requests within which a change is seen with a chance. */
function detection(gate: GateRules, rates: Rates): (chance: number) => number {
  const { share, stable, candidate } = rates;
  const event = share * candidate + (1 - share) * stable;
  if (event === 0) return () => Number.POSITIVE_INFINITY;
  const ended = endings({
    share,
    against: WORSE,
    ratio: gate.tolerated,
    chance: (share * candidate) / event,
    limit: requestLimit(gate),
  });
  return (chance) => requestsWithin(chance, ended, rates);
}

/** Candidate requests without a single bad one that the gate needs least of which stable has none bad either. */
function soonestToPass(rules: Rules, input: PlanInput): number {
  const needs = passable(rules)
    .filter((gate) => badRate(gate, input) === 0 && gate.floor > 0)
    .map((gate) => fixedToPass(gate, 0, passLimit(gate, rules), input.power));
  return Math.max(0, ...needs);
}

/** Gates that an equal candidate has to pass by its requests. */
function passable(rules: Rules): readonly GateRules[] {
  return rules.gates.filter(({ required, name }) => required && name !== "disagreement");
}

/** How often stable's requests are bad in the sense of a gate. */
function badRate({ name }: GateRules, { slowRate, failedRate }: PlanInput): number {
  return (name === "slow" ? slowRate : name === "failed" ? failedRate : undefined) ?? 0;
}

/** A gate is passed in one of two ways where it has a floor: each has half of the stake. */
function passLimit(gate: GateRules, rules: Rules): number {
  return Math.log((gate.floor > 0 ? 2 : 1) / rules.passAlpha);
}

/** Candidate requests that an equal candidate needs at this share, after those that it has had, to pass every gate. */
function requestsToPass(rules: Rules, input: PlanInput, share: number, before: number): number {
  const { power, distinct = 1 } = input;
  const needs = passable(rules).map((gate) => {
    const rate = badRate(gate, input);
    const limit = passLimit(gate, rules);
    const events = gate.name === "slow" ? rate * distinct : rate;
    const fixed = gate.floor > 0 ? fixedToPass(gate, rate, limit, power) : Number.POSITIVE_INFINITY;
    const left = Number.isFinite(fixed) ? fixed - before : fixed;
    return Math.min(comparedToPass(gate, share, events, limit, power), left);
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
  const sees = (ratio: number): boolean => {
    const needed = detection(gate, slowRates(input, gate, share, ratio))(input.power);
    return Number.isFinite(needed) && needed <= requests;
  };
  const most = Math.min(RATIO_MAX, 1 / slowBase(input, gate));
  if (!sees(most)) return null;
  let low = Math.log(gate.tolerated);
  let high = Math.log(most);
  // Of a step that only the judge ends, roughly is enough: the walks are long.
  const width = Number.isFinite(requests) ? 0.02 : 0.1;
  while (high - low > width) {
    const middle = (low + high) / 2;
    if (sees(Math.exp(middle))) high = middle;
    else low = middle;
  }
  return Math.exp(high);
}

function refusalOf(input: PlanInput, rules: Rules): string | undefined {
  const { ratePerSecond, slowRate = 0, steps, policy, power } = input;
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
  return pairsText(input, rules);
}

/** Why copies cannot prove what the policy wants them to; undefined where they can. */
function pairsText(
  { pairs = Number.POSITIVE_INFINITY }: PlanInput,
  rules: Rules,
): string | undefined {
  const gate = rules.gates.find(({ name }) => name === "disagreement");
  if (gate?.required !== true) return undefined;
  const allowed = { ...gate, floor: rules.policy.disagreementAllowed };
  const needed = fixedToPass(allowed, 0, -Math.log(rules.passAlpha), 1);
  if (pairs >= needed) return undefined;
  const known = pairs === 0 ? "no copies are compared" : `only ${pairs} copies are compared`;
  return (
    `the gate disagreement is required and ${known}: it needs ${needed} that all agree, so no candidate can pass. ` +
    "Let copies go on (shadow, copies), or do not require it"
  );
}

function warningsOf(input: PlanInput, rules: Rules, steps: readonly PlannedStep[]): string[] {
  const slow = seesSlow(rules);
  const warnings = slow
    ? rateWarnings(input, slowGate(rules))
    : ["the gate slow is off: no step sees slow requests"];
  for (const { name, floor: least, allowed, required } of rules.gates) {
    if (required && least * allowed >= 1) {
      warnings.push(
        `the gate ${name} lets every candidate pass: with a floor of ${percent(least)} and ${allowed} times that allowed, nothing is too bad`,
      );
    }
  }
  const wrong = rules.gates.find(({ name }) => name === "wrong");
  if (rules.policy.labelsRequired === true && wrong?.required !== true) {
    warnings.push("labels are required, and the gate wrong is not: they are not waited for");
  } else if (rules.policy.labelsRequired === true && wrong !== undefined) {
    const needed = fixedToPass(wrong, 0, passLimit(wrong, rules), input.power);
    const least = Number.isFinite(needed)
      ? `${needed} right ones of the candidate`
      : "those of both";
    warnings.push(
      `labels are required: nothing passes before ${least} have come, however long that takes`,
    );
  }
  steps.forEach((step, i) => {
    warnings.push(...stepWarnings(step, input.steps, i, slow));
  });
  return warnings;
}

/** What today's rate of slow requests means for what can be seen. */
function rateWarnings(input: PlanInput, gate: GateRules): string[] {
  const { slowRate } = input;
  const base = slowBase(input, gate);
  const passes = gate.floor * gate.allowed;
  const from =
    `the steps look for so many times ${percent(base)}` +
    (passes > 0 ? `, and below ${percent(passes)} a candidate passes` : "");
  if (slowRate === undefined) {
    return [`how many of stable's requests are slow is not known yet: ${from}`];
  }
  if (slowRate === 0) return [`none of stable's requests were slow lately: ${from}`];
  // What is less by chance alone is not worth a word.
  if (slowRate < base / 2) {
    const late = `${percent(slowRate)} of requests are slow today, and a ratio of so few is known late`;
    return [`${late}: ${from}. Lower the threshold to stable's P99`];
  }
  if (slowRate <= passes) return [];
  return [
    `${percent(slowRate)} of requests are slow today, above ${percent(passes)}: the candidate can only pass by comparison with stable, which takes longer`,
  ];
}

function stepWarnings(
  { share, requests, detects }: PlannedStep,
  steps: readonly StepInput[],
  i: number,
  slow: boolean,
): string[] {
  const { requests: own, detects: wanted } = steps[i] ?? {};
  const step = `the step of ${percent(share)}`;
  if (i === steps.length - 1) {
    return wanted === undefined
      ? []
      : [
          `${step} is the last one, which is over when the judge is sure: its detects is not looked at`,
        ];
  }
  const warnings: string[] = [];
  if (own !== undefined && wanted !== undefined) {
    warnings.push(`${step} has its requests: its detects is not looked at`);
  }
  if (!slow) return warnings;
  if (!Number.isFinite(requests)) {
    const times = Number(targetOf(steps, i).toPrecision(3));
    warnings.push(
      `${step} is to see ${times} times as many slow requests, which no number of requests shows: it is over when the judge is sure. Let it detect a larger change`,
    );
  } else if (detects === null) {
    warnings.push(
      `${step} is over after ${requests === 1 ? "one request" : `${requests} requests`}, before even a candidate that is always slow is seen`,
    );
  }
  return warnings;
}

function lateText(
  steps: readonly PlannedStep[],
  lengths: readonly number[],
  input: PlanInput,
): string | undefined {
  const seconds = lengths.reduce((sum, one) => sum + one, 0);
  const longest = input.longestSeconds ?? LONGEST_S;
  if (seconds <= longest) return undefined;
  const slowest = steps[lengths.indexOf(Math.max(...lengths))];
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
