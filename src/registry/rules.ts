// Rules of the release gate that judge evidence gathered elsewhere: a load run, a baseline, labelled examples.
// Pure; each says what it measured and how sure that is.

import { lint } from "../analysis/lint.ts";
import type { SizeOptions } from "../analysis/memory.ts";
import type { Graph } from "../graph/graph.ts";
import { formatShape, UNKNOWN_DIM } from "../graph/shape.ts";
import type { LatencyObjective } from "../observe/slo.ts";
import type { RuleResult } from "./gate.ts";

/** A quantile of latency under a load, with the interval that holds the true one with 95 % confidence. */
export interface MeasuredLatency {
  readonly p: number;
  readonly n: number;
  /** null where the events are too few to know. */
  readonly ms: number | null;
  readonly lowMs: number | null;
  readonly highMs: number | null;
}

/** What a load run found. */
export interface LoadEvidence {
  /** Requests a second. */
  readonly rate: number;
  readonly seconds: number;
  readonly sent: number;
  readonly failed: number;
  readonly latencies: readonly MeasuredLatency[];
}

/** Right and wrong answers of two models to the same examples. */
export interface PairedAccuracy {
  readonly count: number;
  readonly right: number;
  /** Of the baseline, and where one is right and the other wrong. */
  readonly baseline?: {
    readonly right: number;
    readonly onlyNew: number;
    readonly onlyOld: number;
  };
}

/** Findings of lint with the severity `error`. */
export function hazardsRule(graph: Graph, sizes: SizeOptions): RuleResult {
  const found = lint(graph, sizes);
  const errors = found.filter(({ severity }) => severity === "error");
  const warnings = found.filter(({ severity }) => severity === "warning");
  const [first] = errors.length > 0 ? errors : warnings;
  const example = first === undefined ? "" : `; ${first.where}: ${first.text}`;
  return {
    id: "hazards",
    passed: errors.length === 0,
    text: `${errors.length} errors and ${warnings.length} warnings of lint${example}`,
  };
}

/** Whether clients of the baseline can go on as they are: the same inputs, and no output less. */
export function signatureRule(graph: Graph, baseline: Graph): RuleResult {
  const lost: string[] = [];
  for (const side of ["inputs", "outputs"] as const) {
    const now = signatureOf(graph, side);
    const before = signatureOf(baseline, side);
    for (const [name, type] of before) {
      const found = now.get(name);
      if (found === undefined) lost.push(`${side.slice(0, -1)} "${name}" is gone`);
      else if (found !== type) lost.push(`"${name}" is ${found} and was ${type}`);
    }
    if (side === "outputs") continue;
    for (const name of now.keys()) {
      if (!before.has(name)) lost.push(`input "${name}" is new`);
    }
  }
  return {
    id: "signature",
    passed: lost.length === 0,
    text: lost.length === 0 ? "inputs and outputs are those of the baseline" : lost.join("; "),
  };
}

/** Names with types; symbols count as open whatever they are called. */
function signatureOf(graph: Graph, side: "inputs" | "outputs"): ReadonlyMap<string, string> {
  return new Map(
    graph[side].flatMap(({ name, dtype, shape }) => {
      if (graph.initializers.has(name)) return [];
      const open = shape?.map((dim) => (typeof dim === "number" ? dim : UNKNOWN_DIM));
      return [[name, `${dtype}${formatShape(open)}`] as const];
    }),
  );
}

/**
 * Whether requests may share runs. A model whose rows do not keep to themselves is served without batches, which
 * is no fault; where the baseline was batched, it takes that many times the runs, which is one.
 */
export function invarianceRule(
  found: { readonly invariant: boolean; readonly reason: string },
  baseline?: { readonly invariant: boolean },
): RuleResult {
  const lost = baseline?.invariant === true && !found.invariant;
  const how = found.invariant ? "requests share runs" : "each request is run alone";
  const text = `${how}: ${found.reason}${lost ? "; requests to the baseline share runs" : ""}`;
  return { id: "batch-invariance", passed: !lost, text };
}

/** The interval of a quantile against its bound: passed only where its upper end stays below. */
export function latencyRule(objective: LatencyObjective, load: LoadEvidence): RuleResult {
  const name = `P${Number((objective.p * 100).toFixed(3))}`;
  const found = load.latencies.find(({ p }) => p === objective.p);
  const under = `at ${load.rate.toPrecision(3)} requests a second for ${load.seconds} s`;
  const id = `latency-${name.toLowerCase()}`;
  if (load.failed > 0) {
    const text = `${load.failed} of ${load.sent} requests failed ${under}`;
    return { id, passed: false, text };
  }
  if (found === undefined || found.ms === null || found.highMs === null) {
    const needed = requestsNeeded(objective.p);
    const seconds = Math.ceil((needed / Math.max(load.rate, 1e-9)) * 1.1);
    const text = `${name} is unknown: ${load.sent} requests ${under}, and ${needed} are needed (--seconds ${seconds})`;
    return { id, passed: false, text };
  }
  const interval = `${ms(found.lowMs ?? 0)} to ${ms(found.highMs)}`;
  const passed = found.highMs <= objective.ms;
  const unclear = !passed && (found.lowMs ?? 0) <= objective.ms;
  const verdict = passed ? "within" : unclear ? "not shown to be within" : "beyond";
  return {
    id,
    passed,
    text: `${name} ${ms(found.ms)} (95 % interval ${interval}, n = ${found.n}) ${under}: ${verdict} ${ms(objective.ms)}`,
  };
}

/** Requests after which the 95 % interval of a quantile has an upper end: p^n ≤ 2.5 %. */
export function requestsNeeded(p: number): number {
  return Math.ceil(Math.log(0.025) / Math.log(p));
}

/** A model may be a little slower than its baseline; more than this, with intervals apart, is a regression. */
const SLOWER_MAX = 1.1;

/** The P99 of both under the same load: failed only where the intervals are apart by more than a tenth. */
export function baselineLatencyRule(load: LoadEvidence, baseline: LoadEvidence): RuleResult {
  const [now, before] = [load, baseline].map(({ latencies }) =>
    latencies.find(({ p }) => p === 0.99),
  );
  const id = "latency-baseline";
  if (now?.ms == null || before?.ms == null || now.lowMs === null || before.highMs === null) {
    const needed = requestsNeeded(0.99);
    const text = `the P99 of one of both is unknown: ${load.sent} and ${baseline.sent} requests, and ${needed} of each are needed (--seconds, --rate)`;
    return { id, passed: true, measured: false, text };
  }
  const passed = now.lowMs <= before.highMs * SLOWER_MAX;
  const both = `P99 ${ms(now.ms)} (n = ${now.n}) beside ${ms(before.ms)} (n = ${before.n}) of the baseline under the same load`;
  return { id, passed, text: passed ? both : `${both}: slower by more than chance and a tenth` };
}

/** z of a two-sided interval of 95 %. */
const Z95 = 1.959964;

/**
 * The share of right answers against a floor, and beside the baseline's on the same examples. What both are
 * right or wrong about says nothing of the difference: its interval comes from the discordant pairs alone
 * (Agresti, "Categorical Data Analysis", 3rd ed., 11.1.1).
 */
export function accuracyRule(
  found: PairedAccuracy,
  bounds: { readonly floor?: number | undefined; readonly dropMax: number },
): RuleResult {
  const share = found.right / found.count;
  const parts = [`${found.right} of ${found.count} examples right (${percent(share)})`];
  let passed = bounds.floor === undefined || share >= bounds.floor;
  if (bounds.floor !== undefined) parts.push(`at least ${percent(bounds.floor)} needed`);
  if (found.baseline !== undefined) {
    const { onlyNew, onlyOld, right } = found.baseline;
    const n = found.count;
    const difference = (onlyNew - onlyOld) / n;
    const half =
      (Z95 * Math.sqrt(Math.max(0, onlyNew + onlyOld - (onlyNew - onlyOld) ** 2 / n))) / n;
    const worse = difference + half < 0 || difference < -bounds.dropMax;
    passed &&= !worse;
    parts.push(
      `the baseline ${percent(right / n)}: ${signed(difference)} points, 95 % interval ${signed(difference - half)} to ${signed(difference + half)}, at most ${signed(-bounds.dropMax)} allowed`,
    );
  }
  return { id: "accuracy", passed, text: parts.join("; ") };
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function signed(share: number): string {
  return `${share > 0 ? "+" : ""}${(100 * share).toFixed(2)}`;
}

function ms(value: number): string {
  return `${value.toPrecision(3)} ms`;
}
