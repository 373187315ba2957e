// The two versions of a rollout side by side: what each does now, and what was counted since it began.

import type { ServingStatus, VersionStatus } from "../../../src/dashboard/api.ts";
import type { ArmCost, CostReading } from "../../../src/rollout/cost.ts";
import type { RolloutStatus } from "../../../src/rollout/document.ts";
import type { Counts, GateName } from "../../../src/rollout/judge/types.ts";
import type { DriftReading } from "../../../src/rollout/output-drift.ts";
import { bytes, milliseconds, percentText } from "../format.ts";
import { verdictOf } from "./verdict.ts";
import { countText } from "./view.ts";

/** A value with what it rests on. */
export interface Value {
  readonly text: string;
  readonly note: string;
  /** Below it. */
  readonly line?: string;
}

/** One line of the comparison. */
export interface Comparison {
  readonly name: string;
  /** Over which time. */
  readonly over: string;
  readonly stable: Value;
  readonly candidate: Value;
}

const UNKNOWN: Value = { text: "unknown", note: "" };
const NOT_SERVED: Value = { text: "–", note: "not served" };

/** All lines. A version that is not served any more has no numbers of now. */
export function compare(
  rollout: RolloutStatus,
  { models }: Pick<ServingStatus, "models">,
): readonly Comparison[] {
  const find = (version: number): VersionStatus | undefined =>
    models.find((one) => one.model === rollout.model && one.version === version);
  const [stable, candidate] = [find(rollout.from), find(rollout.to)];
  const now = (name: string, over: string, of: (one: VersionStatus) => Value): Comparison => ({
    ...{ name, over },
    stable: stable === undefined ? NOT_SERVED : of(stable),
    candidate: candidate === undefined ? NOT_SERVED : of(candidate),
  });
  const counted = (name: string, gate: GateName): Comparison[] => {
    const found = verdictOf(rollout).gates.find((one) => one.gate === gate);
    if (found === undefined) return [];
    const [a, b] = [ratioOf(found.stable), ratioOf(found.candidate)];
    return [{ name, over: "since it began", stable: a, candidate: b }];
  };
  const { windowSeconds = 60 } = candidate?.latency ?? stable?.latency ?? {};
  const recent = `last ${windowSeconds} s`;
  return [
    now("P50", recent, ({ latency }) => quantile(latency.p50Ms, latency.n)),
    now("P99", recent, ({ latency }) => quantile(latency.p99Ms, latency.n)),
    ...counted(`slower than ${milliseconds(rollout.threshold.ms)}`, "slow"),
    ...counted("failed", "failed"),
    ...counted("out of memory", "out-of-memory"),
    ...counted("wrong answers", "wrong"),
    ...agreement(rollout),
    // A server may be older than the page that is open.
    ...(rollout.advisory?.drift ?? []).map(drift),
    ...(rollout.advisory == null ? [] : costs(rollout.advisory.cost)),
    now("memory", "now", memoryOf),
  ];
}

function quantile(ms: number | null, n: number): Value {
  return { text: milliseconds(ms), note: `n = ${countText(n)}` };
}

function ratioOf({ events, of }: Counts): Value {
  if (of === 0) return UNKNOWN;
  return { text: percentText(events / of), note: `${countText(events)} of ${countText(of)}` };
}

/** Copies say whether the candidate answers as stable does: a matter of both, told of the candidate. */
function agreement(rollout: RolloutStatus): Comparison[] {
  const found = verdictOf(rollout).gates.find(({ gate }) => gate === "disagreement");
  if (found === undefined) return [];
  const { events, of } = found.candidate;
  const same = of - events;
  const candidate =
    of === 0
      ? { text: "unknown", note: "no copies compared" }
      : { text: percentText(same / of), note: `${countText(same)} of ${countText(of)} copies` };
  const stable = { text: "–", note: "it is the measure" };
  return [{ name: "same answer", over: "since it began", stable, candidate }];
}

/** How the answers are spread: a matter of both, told of the candidate. */
function drift({ output, kind, psi, limit, verdict, bins, stable, candidate }: DriftReading) {
  const [most] = bins;
  const part = (count: number, of: number): string => percentText(of === 0 ? 0 : count / of);
  const where =
    verdict !== "drifted" || most === undefined
      ? ""
      : `; ${kind === "class" ? "class " : ""}${most.name}: ${part(most.candidate, candidate)}, stable ${part(most.stable, stable)}`;
  const text = psi === null || limit === null ? "unknown" : verdict;
  const line =
    psi === null || limit === null
      ? {}
      : { line: `PSI ${psi.toFixed(3)} of ${limit.toFixed(2)}${where}` };
  return {
    name: `drift of ${output}`,
    over: "informs only",
    stable: { text: "–", note: `n = ${countText(stable)}` },
    candidate: { text, note: `n = ${countText(candidate)}`, ...line },
  };
}

/** What an inference costs, and what it would in batches of like size. */
function costs({ stable, candidate, ratio, lower, upper, verdict }: CostReading): Comparison[] {
  const name = "run time of an inference";
  const over = "informs only";
  const own = (one: ArmCost): Value => {
    if (one.msPerInference === null) return UNKNOWN;
    const memory = one.byteSecondsPerInference;
    const line = memory === null ? {} : { line: `${bytes(memory)} for a second` };
    const text = milliseconds(one.msPerInference);
    return { text, note: `n = ${countText(one.inferences)}`, ...line };
  };
  const second = own(candidate);
  if (ratio !== null && lower !== null && upper !== null) {
    const compared = `×${ratio.toFixed(2)} (${lower.toFixed(2)} to ${upper.toFixed(2)}) in like batches: ${verdict}`;
    const line = second.line === undefined ? compared : `${second.line}; ${compared}`;
    return [{ name, over, stable: own(stable), candidate: { ...second, line } }];
  }
  return [{ name, over, stable: own(stable), candidate: second }];
}

function memoryOf({ readings }: VersionStatus): Value {
  const { processes } = readings;
  if (processes.length === 0) return UNKNOWN;
  const sum = (of: (one: (typeof processes)[number]) => number): number =>
    processes.reduce((all, one) => all + of(one), 0);
  return {
    text: bytes(sum((one) => one.residentBytes)),
    note: `peak ${bytes(sum((one) => one.peakResidentBytes))}`,
  };
}
