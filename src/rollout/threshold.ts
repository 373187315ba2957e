// From how many milliseconds on a request is slow: found once, when a rollout starts, and frozen. A threshold that
// moves with what it judges would call a slow day of stable a slow candidate.

import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import type { Histogram } from "../observe/histogram.ts";
import type { Objectives } from "../observe/slo.ts";
import type { RolloutPolicy } from "./policy.ts";

/** A threshold, and where it is from. */
export interface Threshold {
  readonly ms: number;
  readonly source: "policy" | "stable p99" | "slo";
  /** Requests of stable that it rests on; 0 where it does not. */
  readonly n: number;
  /** Share of stable's requests that are slower; null where that is not known. */
  readonly slowRate: number | null;
}

const P = 0.99;

/**
 * The threshold of a rollout: what the policy says, else stable's P99 once 1,000 requests tell it, else the
 * objective of the model.
 *
 * @param recent durations of stable's requests, milliseconds.
 * @throws SkipwayError `input` where there is none.
 */
export function thresholdOf(
  model: string,
  wanted: RolloutPolicy["thresholdMs"],
  recent: Histogram,
  objectives: Objectives,
): Threshold {
  if (typeof wanted === "number")
    return { ms: wanted, source: "policy", ...restOn(recent, wanted) };
  const { value, n } = recent.quantile(P);
  if (wanted === "stable p99" && value !== undefined) {
    return { ms: value, source: "stable p99", n, slowRate: 1 - P };
  }
  const objective = objectives.latency.reduce<number | undefined>(
    (ms, one) => (one.p === P || ms === undefined ? one.ms : ms),
    undefined,
  );
  if (objective !== undefined)
    return { ms: objective, source: "slo", ...restOn(recent, objective) };
  const needed =
    wanted === "slo"
      ? ""
      : `stable has answered ${n} requests of the 1000 that its P99 needs, and `;
  throw SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "rollout/no-threshold",
      severity: "error",
      where: model,
      text: `nothing says which request is slow: ${needed}there is no objective for it in slo.json`,
      fix: 'Send it traffic first, write an objective into slo.json, or say "thresholdMs" in the policy.',
    }),
  ]);
}

function restOn(recent: Histogram, ms: number): Pick<Threshold, "n" | "slowRate"> {
  const n = recent.count;
  return { n, slowRate: n < 100 ? null : recent.shareAbove(ms) };
}
