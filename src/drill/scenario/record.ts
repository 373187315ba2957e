// What a drill saw, and whether that is what was stated. Pure.

import type { ExpectedEvent, Hypothesis, Scenario } from "./scenario.ts";

/** An event of the rollout, as a page or a webhook got it. Times in milliseconds since the Unix epoch. */
export interface SeenEvent {
  readonly id: string;
  readonly atMs: number;
  readonly kind: string;
  readonly cause: string | null;
  readonly text: string;
  /** When it came over the stream; null where it did not. */
  readonly streamMs: number | null;
  /** When it first came to the webhook; null where it did not. */
  readonly webhookMs: number | null;
  /** How often it came to the webhook. */
  readonly deliveries: number;
}

/** A request as its client saw it. */
export interface SeenAnswer {
  readonly sentMs: number;
  readonly endedMs: number;
  /** 0 where there was no answer. */
  readonly status: number;
  /** That answered. */
  readonly version: number | null;
}

/** Something that the drill did. */
export interface Mark {
  readonly atMs: number;
  readonly text: string;
}

/** Everything that a drill saw. */
export interface DrillRecord {
  readonly scenario: Scenario;
  readonly startedMs: number;
  readonly endedMs: number;
  readonly candidate: number;
  readonly marks: readonly Mark[];
  /** When the fault was injected from outside; null where it is in the file. */
  readonly injectedMs: number | null;
  readonly events: readonly SeenEvent[];
  readonly answers: readonly SeenAnswer[];
  /** Messages with labels that the server did not take. */
  readonly labelsRefused: number;
  /** How the rollout ended: null where it did not within the limit. */
  readonly end: {
    readonly phase: string;
    readonly cause: string | null;
    readonly text: string;
    /** Requests that the judge had of the candidate. */
    readonly candidateRequests: number | null;
  } | null;
  /** Messages of the webhook whose signature was wrong. */
  readonly badSignatures: number;
}

/** What follows from it. */
export interface DrillFindings {
  /** Whether it ended as stated. */
  readonly held: boolean;
  /** What did not, as sentences. */
  readonly misses: readonly string[];
  /** From the first request that could meet the fault to the decision. Null where nothing was decided. */
  readonly detection: { readonly seconds: number; readonly requests: number | null } | null;
  /** From the decision to the last request that was sent afterwards and came to the candidate. Milliseconds. */
  readonly rollbackMs: number | null;
  readonly requests: number;
  /** As the clients count. */
  readonly failed: number;
  readonly candidateAnswers: number;
}

/** Ends that are decisions. */
const DECISIONS = ["rolled-back", "promoted", "failed"];

/** Compares what was seen with what was stated. */
export function findingsOf(record: DrillRecord): DrillFindings {
  const { answers, candidate, end, injectedMs, labelsRefused } = record;
  const { hypothesis } = record.scenario;
  const decision = record.events.find(({ kind }) => DECISIONS.includes(kind));
  const failed = answers.filter(({ status }) => status < 200 || status >= 300);
  const ofCandidate = answers.filter(({ version }) => version === candidate);
  const misses = [
    ...endMisses(record),
    ...eventMisses(hypothesis, record.events),
    ...deliveryMisses(record),
    ...(labelsRefused > 0 ? [`${labelsRefused} messages with labels were not taken`] : []),
    ...(failed.length > 0 ? [`${failed.length} requests failed; none was to`] : []),
  ];
  const fromMs = injectedMs ?? firstMs(record);
  const detected = hypothesis.phase === "rolled-back" && decision !== undefined && fromMs !== null;
  const late = ofCandidate.filter(({ sentMs }) => sentMs > (decision?.atMs ?? 0));
  const last = late.reduce((most, { sentMs }) => Math.max(most, sentMs), decision?.atMs ?? 0);
  return {
    held: misses.length === 0,
    misses,
    detection: detected
      ? {
          seconds: Math.max(0, decision.atMs - fromMs) / 1000,
          requests: end?.candidateRequests ?? null,
        }
      : null,
    rollbackMs: decision?.kind === "rolled-back" ? last - decision.atMs : null,
    requests: answers.length,
    failed: failed.length,
    candidateAnswers: ofCandidate.length,
  };
}

/** When the candidate first got requests. */
function firstMs({ events }: DrillRecord): number | null {
  return events.find(({ kind }) => kind === "step")?.atMs ?? null;
}

function endMisses({ end, scenario }: DrillRecord): string[] {
  const { phase, causes } = scenario.hypothesis;
  if (end === null) return [`the rollout had not ended after ${scenario.limitSeconds} s`];
  const why = causes.join(" or ");
  const misses: string[] = [];
  if (end.phase !== phase) misses.push(`it ended ${end.phase}, not ${phase}`);
  if (!causes.includes(end.cause ?? "")) misses.push(`its cause is ${end.cause}, not ${why}`);
  return misses;
}

/** The stated events in their order, with nothing between them but what was stated as possible. */
function eventMisses(hypothesis: Hypothesis, events: readonly SeenEvent[]): string[] {
  const misses: string[] = [];
  const left: ExpectedEvent[] = [...hypothesis.events];
  for (const event of events) {
    const [next] = left;
    if (next !== undefined && matches(next, event)) left.shift();
    else if (!hypothesis.besides.includes(event.kind)) {
      misses.push(`the event ${event.kind} (${event.text}) was not stated`);
    }
  }
  for (const { kind } of left) misses.push(`the event ${kind} did not come`);
  return misses;
}

function matches({ kind, cause }: ExpectedEvent, event: SeenEvent): boolean {
  return event.kind === kind && (cause === undefined || event.cause === cause);
}

function deliveryMisses({ events, badSignatures }: DrillRecord): string[] {
  const misses: string[] = [];
  for (const { kind, streamMs, deliveries } of events) {
    if (streamMs === null) misses.push(`the event ${kind} did not come over the stream`);
    if (deliveries === 0) misses.push(`the event ${kind} did not come to the webhook`);
  }
  if (badSignatures > 0) misses.push(`${badSignatures} messages had a wrong signature`);
  return misses;
}
