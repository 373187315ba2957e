// What stands in a row of the table: texts and verdicts, from the numbers of one version and what it has promised.

import type { HistorySeries, ObjectivesStatus, VersionStatus } from "../../../src/dashboard/api.ts";
import type { BudgetReadings } from "../../../src/serve/metric-readings.ts";
import { bytes, milliseconds, percentText } from "../format.ts";
import { increase, keyOf, total } from "./history.ts";
import type { Minutes } from "./url.ts";

/** How bad something is; a sign and a word say so too, never colour alone. */
export type Tone = "good" | "busy" | "bad" | "quiet";

/** A value with its verdict. */
export interface Cell {
  readonly text: string;
  /** What it rests on or is held against, in small print. */
  readonly note: string;
  /** The promise is broken now. */
  readonly over: boolean;
}

/** One row. */
export interface Row {
  readonly key: string;
  readonly status: VersionStatus;
  readonly state: { readonly sign: string; readonly tone: Tone };
  readonly traffic: { readonly role: string; readonly share: string };
  readonly rate: string;
  readonly p50: Cell;
  readonly p99: Cell;
  readonly objectiveMs: number | undefined;
  readonly outcome: Cell;
  readonly refused: Cell;
  readonly queue: Cell;
  readonly batch: string;
  readonly saturation: string;
  readonly memory: Memory;
  readonly restarts: Cell;
}

/** Bytes of all processes of a version, and what they are of the budget. */
export interface Memory {
  readonly residentBytes: number;
  readonly peakBytes: number;
  readonly predictedBytes: number | undefined;
  readonly text: string;
  readonly note: string;
  /** Shares of the budget, or without one of the peak: 0 to 1. */
  readonly resident: number;
  readonly peak: number;
  readonly predicted: number | undefined;
}

const STATES: Readonly<Record<string, { sign: string; tone: Tone }>> = {
  ready: { sign: "●", tone: "good" },
  loading: { sign: "◔", tone: "busy" },
  starting: { sign: "◔", tone: "busy" },
  warming: { sign: "◑", tone: "busy" },
  probing: { sign: "◕", tone: "busy" },
  restarting: { sign: "↻", tone: "bad" },
  unavailable: { sign: "✕", tone: "bad" },
  failed: { sign: "✕", tone: "bad" },
  draining: { sign: "▽", tone: "quiet" },
  stopped: { sign: "■", tone: "quiet" },
};

/** What a row is made of beside the version. */
export interface Around {
  readonly objectives: ObjectivesStatus;
  readonly budget: BudgetReadings | null;
  readonly series: HistorySeries | undefined;
  readonly atMs: number;
  readonly minutes: Minutes;
}

/** The row of a version. */
export function rowOf(status: VersionStatus, around: Around): Row {
  const { objectives, atMs, minutes, series } = around;
  const promised = promisesOf(objectives, status.model);
  const limit = (p: number): number | undefined => promised.latency.find((one) => one.p === p)?.ms;
  const grown = (counter: "good" | "failed" | "refused" | "runs" | "rows", value: number): number =>
    increase(series, counter, { value, atMs, minutes });
  const { outcomes, batches, readings } = status;
  const good = grown("good", outcomes.good);
  const failed = grown("failed", total(outcomes.failed));
  const refused = grown("refused", total(outcomes.refused));
  const runs = grown("runs", batches.runs);
  const rows = grown("rows", batches.rows);
  return {
    key: keyOf(status),
    status,
    state: STATES[status.state] ?? { sign: "○", tone: "quiet" },
    traffic: trafficOf(status),
    rate: rateText(status.ratePerSecond),
    p50: latencyCell(status.latency.p50Ms, status.latency.n, limit(0.5)),
    p99: latencyCell(status.latency.p99Ms, status.latency.n, limit(0.99)),
    objectiveMs: limit(0.99),
    outcome: outcomeCell(good, failed + refused, failed, promised.availability),
    refused: countCell(refused, outcomes.refused),
    queue: queueCell(readings.queue),
    batch: runs === 0 ? "–" : (rows / runs).toFixed(1),
    saturation: status.saturation === null ? "unknown" : shareText(status.saturation),
    memory: memoryOf(status, around.budget),
    restarts: restartsCell(status),
  };
}

/** What a model has promised; what stands under `*` where it has no promise of its own. */
export function promisesOf(objectives: ObjectivesStatus, model: string) {
  const own = Object.hasOwn(objectives.models, model) ? objectives.models[model] : undefined;
  return own ?? objectives.models["*"] ?? { latency: [], windowDays: 0 };
}

function trafficOf({ role, share }: VersionStatus): Row["traffic"] {
  if (role === "shadow") return { role, share: "copies" };
  if (role === "pinned") return { role: "by number", share: "alone" };
  return { role, share: shareText(share) };
}

/** `12 %`, with one digit more below ten. */
export function shareText(share: number): string {
  const percent = 100 * share;
  return `${percent === 0 || percent === 100 || percent >= 10 ? Math.round(percent) : percent.toPrecision(2)} %`;
}

function rateText(rate: number): string {
  return rate === 0 ? "0/s" : `${rate >= 100 ? Math.round(rate) : rate.toPrecision(2)}/s`;
}

function latencyCell(ms: number | null, n: number, limit: number | undefined): Cell {
  const promise = limit === undefined ? "" : `≤ ${promiseText(limit)}`;
  if (ms === null) return { text: "unknown", note: joined(`n = ${n}`, promise), over: false };
  const over = limit !== undefined && ms > limit;
  const text = over ? `▲ ${milliseconds(ms)}` : milliseconds(ms);
  return { text, note: joined(`n = ${n}`, over ? `over ${promiseText(limit)}` : promise), over };
}

function outcomeCell(
  good: number,
  bad: number,
  failed: number,
  availability: number | undefined,
): Cell {
  const n = good + bad;
  const text = `${good} / ${failed}`;
  if (availability === undefined) return { text, note: "", over: false };
  if (n === 0) return { text, note: `≥ ${percentText(availability)}`, over: false };
  const over = good / n < availability;
  const note = `${percentText(good / n)} ${over ? "under" : "≥"} ${percentText(availability)}`;
  return { text: over ? `▲ ${text}` : text, note, over };
}

/** A promise is written as it was made: `20 ms`, not `20.0 ms`. */
export function promiseText(ms: number): string {
  return ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`;
}

function countCell(count: number, reasons: Readonly<Record<string, number>>): Cell {
  // Their counts are since the start, that one is of the window: here the names alone.
  const names = listOf(reasons, 2).replaceAll(/\d+ /g, "");
  return { text: String(count), note: count === 0 ? "" : names, over: false };
}

/** `12 queue-full, 3 deadline`, the most frequent first. */
export function listOf(counts: Readonly<Record<string, number>>, max = 20): string {
  const entries = Object.entries(counts)
    .filter(([, count]) => count > 0)
    .toSorted(([, a], [, b]) => b - a);
  const shown = entries.slice(0, max).map(([name, count]) => `${count} ${name}`);
  return entries.length > max ? `${shown.join(", ")}, …` : shown.join(", ");
}

function queueCell({ requests, oldestMs }: VersionStatus["readings"]["queue"]): Cell {
  const note = requests === 0 ? "" : `oldest ${milliseconds(oldestMs)}`;
  return { text: String(requests), note, over: false };
}

function memoryOf({ readings }: VersionStatus, budget: BudgetReadings | null): Memory {
  const { processes } = readings;
  const sum = (of: (one: (typeof processes)[number]) => number): number =>
    processes.reduce((bytes, one) => bytes + of(one), 0);
  const residentBytes = sum((one) => one.residentBytes);
  const peakBytes = sum((one) => one.peakResidentBytes);
  const known = processes.some((one) => one.predictedBytes !== undefined);
  const predictedBytes = known ? sum((one) => one.predictedBytes ?? 0) : undefined;
  const whole = Math.max(1, budget?.budgetBytes ?? Math.max(peakBytes, predictedBytes ?? 0));
  return {
    residentBytes,
    peakBytes,
    predictedBytes,
    text: processes.length === 0 ? "–" : bytes(residentBytes),
    note: processes.length === 0 ? "" : `peak ${bytes(peakBytes)}`,
    resident: Math.min(1, residentBytes / whole),
    peak: Math.min(1, peakBytes / whole),
    predicted: predictedBytes === undefined ? undefined : Math.min(1, predictedBytes / whole),
  };
}

function restartsCell({ outOfMemory, restarts }: VersionStatus): Cell {
  const [memory, others] = [total(outOfMemory), total(restarts)];
  const text = memory === 0 ? String(others) : `${others}, ${memory} out of memory`;
  return { text, note: listOf(restarts, 2), over: memory > 0 };
}

function joined(...parts: readonly string[]): string {
  return parts.filter((part) => part !== "").join(" · ");
}
