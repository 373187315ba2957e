// The certificate of a decision, and finding the same verdict from it once more.

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
  /** Null where the certificate is not what was written: then it is not judged from. */
  readonly verdict: Verdict | null;
}

const CHANGED = "it was changed after it was written: its digest is another";

/** Judges once more, from what the certificate keeps. */
export function replayed(certificate: Certificate): Replayed {
  const { digest, ...rest } = certificate;
  if (digestOfJson(rest) !== digest) {
    return { same: false, differences: [CHANGED], verdict: null };
  }
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
