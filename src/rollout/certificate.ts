// The certificate of a decision, and finding the same verdict from it once more.

import { messageOf } from "../base/errors.ts";
import { digestOf } from "../registry/digest.ts";
import type { AdvisoryReading } from "./advisory.ts";
import { rulesOf } from "./judge/gates.ts";
import { type JudgeLog, replay } from "./judge/log.ts";
import { apply, gateEvidence } from "./judge/state.ts";
import type { JudgePolicy, PathPoint, Verdict } from "./judge/types.ts";
import type { Certificate, RolloutFacts } from "./record.ts";
import type { RolloutState } from "./state.ts";

/** The certificate of a decision that was just made. */
export function certificateOf(
  facts: RolloutFacts,
  state: RolloutState,
  made: {
    readonly decision: Certificate["decision"];
    readonly atMs: number;
    readonly verdict: Verdict;
    readonly advisory: AdvisoryReading;
    readonly path: readonly PathPoint[];
    readonly log: JudgeLog;
  },
): Certificate {
  const { id, model, from, to, digests, build, policy, judge, threshold } = facts;
  const unsealed = {
    schema: "skipway.rollout-certificate/1" as const,
    rollout: id,
    model,
    from,
    to,
    digests,
    decision: made.decision,
    phase: state.phase,
    step: state.step,
    cause: state.reason?.cause ?? null,
    atMs: made.atMs,
    build,
    policy,
    policyDigest: digestOfJson(policy),
    judge,
    threshold,
    verdict: made.verdict,
    advisory: made.advisory,
    path: made.path,
    log: made.log,
  };
  return { ...unsealed, digest: digestOfJson(unsealed) };
}

/** What a replay found. */
export interface Replayed {
  readonly same: boolean;
  /** Each difference as a sentence; none where it is the same. */
  readonly differences: readonly string[];
  /** Null where the certificate is not what was written, or is none: then it is not judged from. */
  readonly verdict: Verdict | null;
}

const CHANGED = "it was changed after it was written: its digest is another";
const DAMAGED = "it is damaged: what lies in its place is no certificate";

/** Judges once more, from what a certificate keeps. @param kept What lies in its place: evidence may be damaged. */
export function replayed(kept: unknown): Replayed {
  if (!isObject(kept) || !("digest" in kept)) return notJudged(DAMAGED);
  const { digest, ...rest } = kept;
  if (digestOfJson(rest) !== digest) return notJudged(CHANGED);
  try {
    // Of this type, where it was written by us; whoever seals something else himself gets no further than this.
    return judgedAgain(kept as Certificate);
  } catch (error) {
    return notJudged(`nothing can be judged from it: ${messageOf(error)}`);
  }
}

function notJudged(why: string): Replayed {
  return { same: false, differences: [why], verdict: null };
}

function judgedAgain(certificate: Certificate): Replayed {
  const differences: string[] = [];
  if (digestOfJson(certificate.policy) !== certificate.policyDigest) {
    differences.push("the policy is not the one whose digest is written down");
  }
  if (certificate.judge.thresholdMs !== certificate.threshold.ms) {
    differences.push("the judge's threshold is not the one of the rollout");
  }
  const verdict = plain(replay(certificate.judge, certificate.log));
  compare("verdict", plain(certificate.verdict), verdict, differences);
  const off =
    certificate.path === undefined ? undefined : strayPoint(certificate, certificate.path);
  if (off !== undefined) {
    const { atMs, gate, logE } = off;
    differences.push(
      `the evidence of ${gate} that is drawn at ${atMs}, ${logE}, is not in the log`,
    );
  }
  return { same: differences.length === 0, differences, verdict };
}

/** What a rollout's record says of its way: of each kind of decision there was a certificate, written together with it. */
export interface DecidedRecord {
  readonly phase: string;
  /** -1 before the canary. */
  readonly step: number;
  /** Kinds of its events. */
  readonly events: readonly string[];
}

const ENDS: readonly string[] = ["rolled-back", "aborted", "failed"];

/** How many decisions of each kind the record of a rollout knows of. */
function decided({ phase, step, events }: DecidedRecord): Record<Certificate["decision"], number> {
  const told = (...kinds: readonly string[]): number =>
    events.filter((kind) => kinds.includes(kind)).length;
  const promoted = phase === "promoting" || phase === "promoted";
  return {
    step: Math.max(told("step"), step + 1),
    promote: Math.max(told("promoting"), Number(promoted)),
    rollback: Math.max(told(...ENDS), Number(ENDS.includes(phase))),
  };
}

/**
 * Decisions that have no certificate, each as a sentence.
 *
 * @param decisions Those that have one, damaged or not.
 */
export function missingOf(record: DecidedRecord, decisions: readonly string[]): readonly string[] {
  return Object.entries(decided(record)).flatMap(([decision, count]) => {
    const missing = count - decisions.filter((one) => one === decision).length;
    if (missing <= 0) return [];
    const all = `${missing} of ${count} certificates of its decisions "${decision}" missing`;
    return [`${all}; by its record the rollout is ${record.phase}, at step ${record.step + 1}`];
  });
}

/** How the evidence went until the last decision: what that was made on. */
export interface DecidedEvidence {
  readonly schema: "skipway.rollout-evidence/1";
  readonly rollout: string;
  /** null: nothing has been decided yet. */
  readonly decision: Certificate["decision"] | null;
  readonly atMs: number | null;
  /** Of the certificate that it is taken from. */
  readonly digest: string | null;
  readonly path: readonly PathPoint[];
}

/** The evidence of a certificate, for drawing. Where no path was kept it is made of the log. */
export function decidedBy(rollout: string, certificate: Certificate | undefined): DecidedEvidence {
  const { decision = null, atMs = null, digest = null } = certificate ?? {};
  const path = certificate && (certificate.path ?? pathOf(certificate.judge, certificate.log));
  const schema = "skipway.rollout-evidence/1";
  return { schema, rollout, decision, atMs, digest, path: path ?? [] };
}

/** What each event of a log brought the evidence of its gate to. */
function pathOf(policy: JudgePolicy, { base, rows }: JudgeLog): PathPoint[] {
  const rules = rulesOf(policy);
  const evidence = structuredClone(base);
  return rows.flatMap((row) => {
    apply(evidence, row, rules);
    const gate = row[0] === "event" ? rules.gateOf.get(row[2]) : undefined;
    if (gate === undefined) return [];
    return [{ atMs: row[1], gate: gate.name, logE: gateEvidence(evidence, gate, rules).logE }];
  });
}

/**
 * A point that does not follow from the log. Copies that disagree are not looked at: the log adds up how many there
 * were in between, as it does everything before its first row.
 */
function strayPoint(
  { judge, log }: Certificate,
  path: readonly PathPoint[],
): PathPoint | undefined {
  const from = log.base.counts.some((count) => count > 0)
    ? (log.rows[0]?.[1] ?? Number.POSITIVE_INFINITY)
    : Number.NEGATIVE_INFINITY;
  const text = ({ atMs, gate, logE }: PathPoint): string => `${atMs} ${gate} ${logE}`;
  const found = new Set(pathOf(judge, log).map(text));
  return path.find(
    (point) => point.gate !== "disagreement" && point.atMs > from && !found.has(text(point)),
  );
}

/** As it stands in the store. */
function plain(verdict: Verdict): Verdict {
  return JSON.parse(JSON.stringify(verdict)) as Verdict;
}

function digestOfJson(value: unknown): string {
  return digestOf(Buffer.from(JSON.stringify(value)));
}

/** Numbers are compared as the bits that they are. */
function compare(where: string, kept: unknown, found: unknown, differences: string[]): void {
  if (Object.is(kept, found)) return;
  if (isObject(kept) && isObject(found)) {
    for (const name of new Set([...Object.keys(kept), ...Object.keys(found)])) {
      compare(`${where}.${name}`, Reflect.get(kept, name), Reflect.get(found, name), differences);
    }
    return;
  }
  differences.push(`${where} was ${JSON.stringify(kept)} and is ${JSON.stringify(found)}`);
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
