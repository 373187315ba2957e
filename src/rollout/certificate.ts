// The certificate of a decision, and finding the same verdict from it once more.

import { digestOf } from "../registry/digest.ts";
import { type JudgeLog, replay } from "./judge/log.ts";
import type { Verdict } from "./judge/types.ts";
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
  return { same: differences.length === 0, differences, verdict };
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
