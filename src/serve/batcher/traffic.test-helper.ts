// Generated traffic for the simulation, and what its result comes to in numbers.

import { Random } from "../../base/random.ts";
import type { Arrival, Result } from "./simulation.test-helper.ts";

/** How requests come. Rates are rows of a millisecond. */
export interface TrafficPlan {
  readonly seed: number;
  readonly untilMs: number;
  readonly rowsPerMs: number;
  /** Buckets with equal shares; a request of bucket `k` has `k + 1` hundred elements a row. */
  readonly buckets?: number;
  /** Rows of a request; 1 if not given. */
  rows?(random: Random): number;
  /** Mean of `rows`. */
  readonly meanRows?: number;
  /** Time until the deadline; none if not given. */
  deadline?(random: Random): number;
  /** Time until the client goes away. */
  patience?(random: Random, deadlineMs: number): number;
  priority?(random: Random): number;
  /** Rate over its mean at a time: bursts. */
  shape?(nowMs: number): number;
  readonly shapeMax?: number;
}

/** Poisson arrivals, thinned where the rate varies (Lewis and Shedler 1979). */
export function traffic(plan: TrafficPlan): Arrival[] {
  const random = new Random(plan.seed, 11);
  const arrivals: Arrival[] = [];
  const most = plan.shapeMax ?? 1;
  const gap = (plan.meanRows ?? 1) / (plan.rowsPerMs * most);
  for (let nowMs = 0, id = 1; ; ) {
    nowMs -= gap * Math.log(1 - random.uniform());
    if (nowMs >= plan.untilMs) return arrivals;
    if (random.uniform() * most > (plan.shape?.(nowMs) ?? 1)) continue;
    const kind = random.integer(plan.buckets ?? 1);
    const deadline = plan.deadline?.(random) ?? Number.POSITIVE_INFINITY;
    const patience = plan.patience?.(random, deadline);
    const rows = plan.rows?.(random) ?? 1;
    const request = {
      id: id++,
      rows,
      bytes: rows * 400 * (kind + 1),
      bucket: `b${kind}`,
      elementsPerRow: 100 * (kind + 1),
      arrivedMs: nowMs,
      deadlineMs: nowMs + deadline,
      priority: plan.priority?.(random) ?? 1,
      batchable: true,
    };
    arrivals.push(patience === undefined ? { request } : { request, cancelMs: nowMs + patience });
  }
}

/** Bursts: `high` times the mean for a tenth of each second, the rest evened out. */
export function bursts(high: number): (nowMs: number) => number {
  const low = (1 - 0.1 * high) / 0.9;
  return (nowMs) => (nowMs % 1000 < 100 ? high : low);
}

/** Rows with a heavy tail: Pareto with exponent 1.3, at most `max`. */
export function heavyRows(max: number): (random: Random) => number {
  return (random) => Math.min(max, Math.floor((1 - random.uniform()) ** (-1 / 1.3)));
}

/** Numbers of one simulation, over requests that came in a window. */
export interface Figures {
  readonly requests: number;
  readonly answered: number;
  readonly refused: number;
  readonly canceled: number;
  /** Rows answered in time, for each millisecond of the window. */
  readonly goodput: number;
  /** Share of answers that came after the deadline. */
  readonly late: number;
  /** Share of rows that ran for nobody. */
  readonly abandoned: number;
  /** Requests refused for their deadline after they had been accepted, of all accepted. */
  readonly broken: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly meanBatch: number;
  /** Share of the window in which a process ran, all processes together. */
  readonly busy: number;
}

/** What came of the requests that arrived in `from … to`. */
export function figures(result: Result, fromMs: number, toMs: number, slots = 1): Figures {
  const all = [...result.outcomes.values()];
  const within = all.filter(
    ({ request }) => request.arrivedMs >= fromMs && request.arrivedMs < toMs,
  );
  const answered = within.filter(({ kind }) => kind === "answered");
  const late = answered.filter(({ request, endMs = 0 }) => endMs > request.deadlineMs);
  const refused = within.filter(({ kind }) => kind === "refused");
  const broken = refused.filter(
    (one) => one.reason === "deadline" && one.endMs !== one.request.arrivedMs,
  );
  const good = all.filter(({ kind, request, endMs = 0 }) => {
    return kind === "answered" && endMs <= request.deadlineMs && endMs >= fromMs && endMs < toMs;
  });
  const ran = all.filter(({ kind }) => kind === "answered" || kind === "abandoned");
  const rows = (some: typeof all): number =>
    some.reduce((sum, { request }) => sum + request.rows, 0);
  const took = answered
    .map(({ request, endMs = 0 }) => endMs - request.arrivedMs)
    .sort((a, b) => a - b);
  const at = (p: number): number =>
    took[Math.min(took.length - 1, Math.floor(p * took.length))] ?? 0;
  const starts = result.batches.filter(({ atMs }) => atMs >= fromMs && atMs < toMs);
  return {
    requests: within.length,
    answered: answered.length,
    refused: refused.length,
    canceled: within.filter(({ kind }) => kind === "canceled").length,
    goodput: rows(good) / (toMs - fromMs),
    late: late.length / Math.max(1, answered.length),
    abandoned: rows(ran.filter(({ kind }) => kind === "abandoned")) / Math.max(1, rows(ran)),
    broken: broken.length / Math.max(1, answered.length + broken.length),
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    meanBatch: starts.reduce((sum, { start }) => sum + start.rows, 0) / Math.max(1, starts.length),
    busy: result.busyMs / result.endMs / slots,
  };
}
