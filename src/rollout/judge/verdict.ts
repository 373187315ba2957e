// From the evidence to a verdict: what each gate says, what is still needed, and how to say it.

import { present } from "../../base/assert.ts";
import {
  BETTER,
  crossing,
  logAverage,
  logEvidence,
  logGains,
  logTerms,
  type Tally,
  WORSE,
} from "./evidence.ts";
import type { GateRules, Rules, Source } from "./gates.ts";
import {
  assignmentEvidence,
  COUNTS_OF,
  type Counted,
  countOf,
  type Evidence,
  gateEvidence,
  known,
  sourceEvidence,
  tally,
  UNITS_OF,
} from "./state.ts";
import type { Arm, Counts, GateName, GateReading, Verdict } from "./types.ts";

/** What a verdict depends on beside the evidence. */
export interface Circumstances {
  readonly nowMs: number;
  /** Candidate requests a second, lately. */
  readonly candidateRate: number;
  /** Share of requests that go to the candidate now. */
  readonly share: number;
  /** Only shadow copies have been sent: gates of requests cannot be passed, and need not be. */
  readonly shadow?: boolean;
}

/** The verdict that follows from the evidence. */
export function verdictOf(evidence: Evidence, rules: Rules, now: Circumstances): Verdict {
  const gates = rules.gates.map((gate) => reading(evidence, gate, rules, now));
  const assignment = assignmentEvidence(evidence);
  const fault = evidence.fault !== undefined;
  const stratum = evidence.fault === "" ? undefined : evidence.fault;
  const requests = countOf(evidence, "requests", "candidate");
  const wanting = gates.filter((gate) => gate.required === true && gate.verdict !== "pass");
  const needs = wanting.map((gate) => requestsOf(gate, requests));
  const never = needs.includes(null);
  const requestsNeeded = never ? null : Math.max(0, ...needs.map((need) => need ?? 0));
  const perSecond = now.candidateRate;
  const seconds =
    requestsNeeded === 0
      ? 0
      : requestsNeeded === null || perSecond <= 0
        ? null
        : requestsNeeded / perSecond;
  const common = {
    gates,
    sampleRatio: {
      logE: assignment.logE,
      limit: rules.faultLimit,
      fault,
      ...(stratum === undefined ? {} : { stratum }),
    },
    candidateRequests: requests,
    stableRequests: countOf(evidence, "requests", "stable"),
    requestsNeeded,
    secondsNeeded: seconds,
  };
  if (evidence.regressed !== undefined) {
    const cause = evidence.regressed;
    const text = regressText(
      gates.find(({ gate }) => gate === cause),
      evidence,
    );
    return { verdict: "REGRESS", cause, text, ...common };
  }
  const seen = now.shadow === true ? countOf(evidence, "pair", "candidate") : requests;
  if (!fault && seen > 0 && wanting.length === 0) {
    const what = now.shadow === true ? `${seen} shadow copies` : `${seen} requests`;
    const text = [`no worse than allowed, by ${what}`, ...labelTexts(gates)].join("; ");
    return { verdict: "PASS", text, ...common };
  }
  return {
    verdict: "UNDERPOWERED",
    text: fault ? faultText(stratum) : waitingText(wanting, requestsNeeded, seconds),
    ...common,
  };
}

/** Candidate requests that a gate still needs: labels come for some of them. */
function requestsOf({ needed = null, labels }: GateReading, requests: number): number | null {
  if (needed === null || labels?.decide !== true || labels.candidate.of === 0) return needed;
  return Math.ceil((needed * requests) / labels.candidate.of);
}

/** What one gate says now. Labels decide where they must come, and where they speak against the candidate. */
function reading(
  evidence: Evidence,
  gate: GateRules,
  rules: Rules,
  now: Circumstances,
): GateReading {
  const read = (source: Source): GateReading => readingBy(source, evidence, gate, rules, now);
  const regressed = evidence.regressed === gate.name;
  const usual = regressed
    ? gateEvidence(evidence, gate, rules).source
    : passingSource(gate, now.shadow === true);
  const label = gate.sources.find(({ name }) => name === "label");
  if (label === undefined || now.shadow === true) return read(usual);
  const [candidate, stable] = [
    countsOf(evidence, COUNTS_OF.label, "candidate"),
    countsOf(evidence, COUNTS_OF.label, "stable"),
  ];
  const required = rules.policy.labelsRequired === true;
  if (!required && candidate.of + stable.of === 0) return read(usual);
  const byLabels = read(label);
  // How often they are wrong is not known before the first one.
  const needed = candidate.of + stable.of === 0 ? null : (byLabels.needed ?? null);
  const doubted = sourceEvidence(evidence, gate, label, rules).logE >= DOUBT;
  const decide = required || (doubted && needed !== 0);
  const shown = decide && !regressed ? { ...byLabels, needed } : read(usual);
  return { ...shown, labels: { candidate, stable, needed, decide } };
}

/**
 * Labels that need not come may be few, and by themselves prove nothing for long. But where they say this much, which
 * they ever do of an equal candidate with a chance of one in ten, other evidence does not outweigh them.
 */
const DOUBT = Math.log(10);

/** What a gate says by one of its sources. */
function readingBy(
  shown: Source,
  evidence: Evidence,
  gate: GateRules,
  rules: Rules,
  now: Circumstances,
): GateReading {
  const against = gateEvidence(evidence, gate, rules);
  const regressed = evidence.regressed === gate.name;
  const names = COUNTS_OF[shown.name];
  const [candidate, stable] = [
    countsOf(evidence, names, "candidate"),
    countsOf(evidence, names, "stable"),
  ];
  // Rows of one batch are one event here too.
  const unitNames = UNITS_OF[shown.name] ?? names;
  const units = countsOf(evidence, unitNames, "candidate");
  const stableUnits = countsOf(evidence, unitNames, "stable");
  const allowedRate = shown.allowedRate?.(rules.policy);
  const questions = questionsOf(evidence, gate, shown, allowedRate, units);
  const better = (ratio: number): number =>
    logAverage(
      questions.map(({ tallies, fixed }) => [
        1 / questions.length,
        fixed === undefined
          ? logEvidence(tallies, BETTER, ratio)
          : logEvidence([known(fixed * ratio, units.events, units.of)], BETTER),
      ]),
    );
  const worse = (ratio: number): number =>
    allowedRate === undefined
      ? logEvidence(tally(evidence.tables[shown.name] ?? [], "up"), WORSE, ratio)
      : logEvidence([known(allowedRate * ratio, units.events, units.of)], WORSE);
  const limit = -Math.log(rules.passAlpha);
  const upper = crossing((ratio) => better(ratio) - limit, true);
  const passed = upper !== null && upper < gate.allowed;
  const [, , less] = UNITS_OF[shown.name] ?? [];
  const leftOut = less === undefined ? 0 : countOf(evidence, less, "candidate");
  const golden = evidence.goldenRight.candidate === false;
  return {
    gate: gate.name,
    logE: regressed && golden ? Math.max(against.logE, gate.limit) : against.logE,
    limit: gate.limit,
    candidate,
    stable,
    ratio: ratioOf(candidate, stable, allowedRate),
    lower: crossing((ratio) => worse(ratio) - limit, false),
    upper,
    allowed: gate.allowed,
    verdict: regressed ? "regress" : passed ? "pass" : "underpowered",
    required: requiredOf(gate, now),
    ...(against.stratum === "" ? {} : { stratum: against.stratum }),
    ...(leftOut === 0 ? {} : { leftOut }),
    needed: passed
      ? 0
      : neededOf(questions, gate, limit, now.share, units, stableUnits, candidate.of),
  };
}

function countsOf(
  evidence: Evidence,
  [events, of, less]: readonly [Counted, Counted, Counted?],
  arm: Arm,
): Counts {
  const leftOut = less === undefined ? 0 : countOf(evidence, less, arm);
  return { events: countOf(evidence, events, arm), of: countOf(evidence, of, arm) - leftOut };
}

/** What has to be shown to pass where labels do not decide. Of shadow copies, the source that counts pairs. */
function passingSource({ sources }: GateRules, shadow: boolean): Source {
  const pairs = shadow ? sources.find(({ name }) => name.startsWith("pair")) : undefined;
  return pairs ?? present(sources[0], "a gate has a source");
}

/** While there are only shadow copies, they must come, and agree. */
function requiredOf(gate: GateRules, now: Circumstances): boolean {
  if (now.shadow !== true) return gate.required;
  return gate.name === "disagreement" || gate.name === "failed";
}

/** A way to pass: against stable's rate, or against a rate that is fixed. */
interface Question {
  readonly tallies: readonly Tally[];
  readonly fixed?: number;
}

/** A gate is passed against stable's rate or against the floor: the average of the two e-values is one. */
function questionsOf(
  evidence: Evidence,
  gate: GateRules,
  shown: Source,
  allowedRate: number | undefined,
  { events, of }: Counts,
): readonly Question[] {
  const against = (fixed: number): Question => ({
    tallies: [known(fixed * gate.allowed, events, of)],
    fixed,
  });
  if (allowedRate !== undefined) return [against(allowedRate)];
  const table = { tallies: tally(evidence.tables[shown.name] ?? [], "down") };
  return gate.floor > 0 ? [table, against(gate.floor)] : [table];
}

/**
 * How many more of the candidate, if it is as good as stable: what is missing, over what each one adds. Null where
 * nothing is added.
 */
function neededOf(
  questions: readonly Question[],
  gate: GateRules,
  limit: number,
  share: number,
  candidate: Counts,
  stable: Counts,
  requests: number,
): number | null {
  const rate = (candidate.events + stable.events + 0.5) / (candidate.of + stable.of + 1);
  const rows = candidate.of > 0 ? requests / candidate.of : 1;
  const least = questions.flatMap(({ tallies, fixed }) => {
    const compared = fixed === undefined;
    const ratio = compared ? gate.allowed : 1;
    const terms = logTerms(tallies, BETTER, ratio);
    const { share: fixedShare } = known((fixed ?? 0) * gate.allowed, 0, 0);
    if (compared && !(share > 0 && share < 1)) return [];
    const gains = compared
      ? logGains(share, share, BETTER, ratio).map((gain) => (gain * rate) / share)
      : logGains(fixedShare, rate, BETTER);
    const missing = limit + Math.log(questions.length);
    return terms.map((term, i) => {
      const gain = gains[i] ?? 0;
      return gain > 0 ? Math.max(1, (missing - term) / gain) : Number.POSITIVE_INFINITY;
    });
  });
  const needed = Math.min(...least);
  return Number.isFinite(needed) ? Math.ceil(needed * rows) : null;
}

function ratioOf(candidate: Counts, stable: Counts, allowedRate?: number): number | null {
  if (candidate.of === 0) return null;
  const rate = candidate.events / candidate.of;
  if (allowedRate !== undefined) return allowedRate > 0 ? rate / allowedRate : null;
  return stable.events === 0 ? null : rate / (stable.events / stable.of);
}

const MEANS: Readonly<Record<GateName, string>> = {
  slow: "slow requests",
  "slow-run": "slow batches",
  failed: "failed requests",
  "out-of-memory": "requests without memory",
  wrong: "wrong answers",
  disagreement: "answers unlike stable's",
};

function regressText(reading: GateReading | undefined, evidence: Evidence): string {
  if (reading === undefined) return "worse than stable";
  const { gate, candidate, stable, lower, stratum } = reading;
  if (gate === "wrong" && evidence.goldenRight.candidate === false) {
    return "the known answer came out wrong, and stable's did not";
  }
  const rates = `${candidate.events} of ${candidate.of}, stable ${stable.events} of ${stable.of}`;
  const times = lower === null ? "" : `, at least ${lower.toPrecision(2)} times as many as allowed`;
  const where = stratum === undefined ? "" : `, most of all in ${stratum}`;
  return `${MEANS[gate]}: ${rates}${times}${where}`;
}

function faultText(stratum: string | undefined): string {
  const where = stratum === undefined ? "" : ` in ${stratum}`;
  return `requests are not split as they should be${where}: nothing can be concluded from them`;
}

function waitingText(
  wanting: readonly GateReading[],
  requests: number | null,
  seconds: number | null,
): string {
  const names = wanting.map(({ gate }) => gate).join(", ");
  const time =
    seconds === null ? "no traffic now" : `about ${Math.ceil(seconds)} s at today's rate`;
  const decided = wanting.filter(({ labels }) => labels?.decide === true);
  const needed =
    requests === null
      ? decided.some(({ labels }) => labels?.candidate.of === 0)
        ? "not known before labels of the candidate come"
        : "cannot be decided at this share and these rates"
      : `${requests} candidate requests still needed, ${time}`;
  return [`${names || "no requests yet"}: ${needed}`, ...labelTexts(decided)].join("; ");
}

/** How many labels came, and whether they would do. */
function labelTexts(gates: readonly GateReading[]): string[] {
  return gates.flatMap(({ labels }) => {
    if (labels === undefined) return [];
    const { candidate, stable, needed } = labels;
    if (candidate.of + stable.of === 0) return ["no label has come"];
    const came = `of ${candidate.of} labels ${candidate.events} were wrong, of stable's ${stable.of} ${stable.events}`;
    if (needed === 0) return [came];
    const more = needed === null ? "more labels are" : `about ${needed} more are`;
    return [`${came}: ${more} needed to prove it by them`];
  });
}
