// What a load test found, as data: how much was meant to be sent and was, what became of it, how long it took,
// and how it went over time.

import type { LoadPlan, LoadResult } from "./load.ts";
import { type LatencySummary, summarize } from "./summary.ts";

/** A stretch of the test. */
export interface LoadSlice {
  /** Seconds from the start to the end of the stretch. */
  readonly untilSecond: number;
  readonly sent: number;
  readonly good: number;
  readonly refused: number;
  readonly failed: number;
  /** Of good answers; null where they are too few to know. */
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
}

/** The report of a load test. */
export interface LoadReport {
  readonly planned: number;
  readonly sent: number;
  readonly seconds: number;
  /** Requests a second: meant to be sent, and answered well. */
  readonly intendedRate: number;
  readonly goodRate: number;
  /** Answers by status of HTTP. */
  readonly answers: Readonly<Record<string, number>>;
  /** Requests without an answer, by reason. */
  readonly failures: Readonly<Record<string, number>>;
  /** Of answers with a status from 200 to 299. */
  readonly good: LatencySummary;
  /** Of answers with another status: a refusal should be quick. */
  readonly refused: LatencySummary;
  /** How late the generator was itself; its tail is in every latency above. */
  readonly lateness: LatencySummary;
  readonly slices: readonly LoadSlice[];
}

/** Stretches of a report. */
const SLICES = 20;

/** Makes the report of a test that was meant to take `seconds`. */
export function loadReport(
  plan: Pick<LoadPlan, "arrivals">,
  result: LoadResult,
  seconds: number,
): LoadReport {
  const kinds = Array.from(result.statuses, kindOf);
  const latenciesOf = (kind: Kind): Float64Array =>
    result.latencies.filter((_, i) => kinds[i] === kind);
  const good = latenciesOf("good");
  return {
    planned: plan.arrivals.length,
    sent: result.sent,
    seconds: result.seconds,
    intendedRate: plan.arrivals.length / seconds,
    goodRate: good.length / Math.max(result.seconds, Number.MIN_VALUE),
    answers: countsOf(
      Array.from(
        result.statuses.filter((status) => status > 0),
        String,
      ),
    ),
    failures: Object.fromEntries(result.failures),
    good: summarize(good),
    refused: summarize(latenciesOf("refused")),
    lateness: summarize(result.lateness, [0.5, 0.99]),
    slices: slicesOf(plan, result, kinds, seconds),
  };
}

type Kind = "good" | "refused" | "failed";

function kindOf(status: number): Kind {
  if (status === 0) return "failed";
  return status >= 200 && status < 300 ? "good" : "refused";
}

function slicesOf(
  { arrivals }: Pick<LoadPlan, "arrivals">,
  result: LoadResult,
  kinds: readonly Kind[],
  seconds: number,
): LoadSlice[] {
  const count = Math.min(SLICES, Math.max(1, Math.round(seconds)));
  const places = Array.from({ length: count }, (): number[] => []);
  for (let i = 0; i < result.sent; i++) {
    const second = (arrivals[i] ?? 0) / 1000;
    places[Math.min(count - 1, Math.floor((second / seconds) * count))]?.push(i);
  }
  return places.map((here, slice) => {
    const of = (kind: Kind): number[] => here.filter((i) => kinds[i] === kind);
    const good = of("good");
    const latencies = Float64Array.from(good, (i) => result.latencies[i] ?? Number.NaN);
    const { quantiles } = summarize(latencies, [0.5, 0.99]);
    return {
      untilSecond: ((slice + 1) * seconds) / count,
      sent: here.length,
      good: good.length,
      refused: of("refused").length,
      failed: of("failed").length,
      p50Ms: quantiles[0]?.ms ?? null,
      p99Ms: quantiles[1]?.ms ?? null,
    };
  });
}

function countsOf(keys: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const key of keys) counts[key] = (counts[key] ?? 0) + 1;
  return counts;
}
