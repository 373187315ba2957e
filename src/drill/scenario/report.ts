// A drill as Markdown for people and as JSON for programs. Pure.

import { timeText } from "../../base/clock.ts";
import { type DrillFindings, type DrillRecord, findingsOf } from "./record.ts";

/** A drill as it is told: `skipway.drill/1`. */
export interface DrillDocument extends DrillFindings {
  readonly schema: "skipway.drill/1";
  readonly name: string;
  readonly title: string;
  readonly hypothesis: string;
  readonly startedMs: number;
  readonly seconds: number;
  readonly end: DrillRecord["end"];
  /** Of the clients' answers. Null where there are too few. */
  readonly latency: { readonly p50Ms: number | null; readonly p99Ms: number | null };
  readonly events: DrillRecord["events"];
  readonly timeline: readonly TimelineRow[];
}

/** A line of the timeline. */
export interface TimelineRow {
  /** Seconds since the drill began. */
  readonly seconds: number;
  readonly who: "drill" | "rollout" | "clients" | "webhook";
  readonly text: string;
}

/** The document of a drill. */
export function drillDocument(record: DrillRecord): DrillDocument {
  const { scenario, startedMs, endedMs, end, events } = record;
  return {
    schema: "skipway.drill/1",
    name: scenario.name,
    title: scenario.title,
    hypothesis: scenario.hypothesis.text,
    startedMs,
    seconds: (endedMs - startedMs) / 1000,
    ...findingsOf(record),
    end,
    latency: latencyOf(record),
    events,
    timeline: timelineOf(record),
  };
}

function latencyOf({ answers }: DrillRecord): DrillDocument["latency"] {
  const times = answers
    .filter(({ status }) => status === 200)
    .map(({ sentMs, endedMs }) => endedMs - sentMs)
    .sort((a, b) => a - b);
  const quantile = (p: number): number | null =>
    times.length * (1 - p) < 10 ? null : (times[Math.ceil(p * times.length) - 1] ?? null);
  return { p50Ms: quantile(0.5), p99Ms: quantile(0.99) };
}

function timelineOf(record: DrillRecord): TimelineRow[] {
  const { marks, events, answers, candidate, startedMs } = record;
  const rows: (TimelineRow & { readonly atMs: number })[] = [];
  const add = (atMs: number, who: TimelineRow["who"], text: string): void => {
    rows.push({ atMs, seconds: (atMs - startedMs) / 1000, who, text });
  };
  for (const { atMs, text } of marks) add(atMs, "drill", text);
  for (const { atMs, kind, cause, text } of events) {
    add(atMs, "rollout", `${kind}${cause === null ? "" : ` (${cause})`}: ${text}`);
  }
  const sent = answers
    .filter(({ version }) => version === candidate)
    .map(({ sentMs }) => sentMs)
    .sort((a, b) => a - b);
  const [first, last] = [sent.at(0), sent.at(-1)];
  if (first !== undefined) add(first, "clients", "the first request that the candidate answers");
  if (last !== undefined) add(last, "clients", "the last request that the candidate answers");
  for (const { sentMs, status } of answers.filter((one) => one.status !== 200).slice(0, SHOWN)) {
    add(sentMs, "clients", `a request fails: ${status === 0 ? "no answer" : `status ${status}`}`);
  }
  const told = events.flatMap(({ webhookMs }) => webhookMs ?? []);
  if (told.length > 0) add(Math.max(...told), "webhook", "the last event has been delivered");
  return rows
    .sort((a, b) => a.atMs - b.atMs)
    .map(({ seconds, who, text }) => ({ seconds, who, text }));
}

const SHOWN = 10;

/** The drill as Markdown: what was stated, what was found, and the timeline. */
export function drillMarkdown(drill: DrillDocument): string {
  const { detection, rollbackMs, end, latency } = drill;
  const requests = detection?.requests ?? null;
  const facts: [string, string][] = [
    ["Ended", end === null ? "not within its limit" : `${end.phase}, cause ${end.cause ?? "none"}`],
    ["Requests of clients", `${drill.requests}, ${drill.failed} of them failed`],
    ["Answered by the candidate", String(drill.candidateAnswers)],
    ["Latency at the clients", `P50 ${ms(latency.p50Ms)}, P99 ${ms(latency.p99Ms)}`],
    [
      "Detection",
      detection === null
        ? "nothing was to be detected in requests"
        : `${detection.seconds.toFixed(2)} s${requests === null ? "" : `, ${requests} requests of the candidate`}`,
    ],
    ["Decision to the last request sent to the candidate", ms(rollbackMs)],
    ["Events", drill.events.map(({ kind }) => kind).join(", ")],
  ];
  return [
    `# Drill ${drill.name}: ${drill.title}`,
    "",
    `${timeText(drill.startedMs)}, ${drill.seconds.toFixed(1)} s. **${drill.held ? "Ended as stated." : "Did not end as stated."}**`,
    "",
    `Stated beforehand: ${drill.hypothesis}`,
    "",
    ...drill.misses.map((miss) => `- ${cell(miss)}`),
    ...(drill.misses.length > 0 ? [""] : []),
    "| What | Found |",
    "| --- | --- |",
    ...facts.map(([what, found]) => `| ${what} | ${cell(found)} |`),
    "",
    "## Timeline",
    "",
    "| Seconds | Who | What |",
    "| ---: | --- | --- |",
    ...drill.timeline.map(
      ({ seconds, who, text }) => `| ${seconds.toFixed(3)} | ${who} | ${cell(text)} |`,
    ),
    "",
  ].join("\n");
}

function ms(value: number | null): string {
  return value === null ? "—" : `${Number(value.toFixed(1))} ms`;
}

/** What a table of Markdown would take for its own. */
function cell(text: string): string {
  return text.replaceAll(/[|\\`*_<>[\]]/g, String.raw`\$&`).replaceAll(/\s+/g, " ");
}
