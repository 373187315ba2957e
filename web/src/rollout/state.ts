// What the page knows of rollouts beside the stream: the path of each, and those that are over.

import { signal } from "@preact/signals";
import type { StatsEvent } from "../../../src/dashboard/api.ts";
import type { DecidedEvidence } from "../../../src/rollout/certificate.ts";
import type { RolloutDocument, RolloutStatus } from "../../../src/rollout/document.ts";
import { isOfEnd, type Known, withDecided, withDocument, withStatus } from "./known.ts";
import { hasEnded } from "./verdict.ts";

/** Rollouts by id. */
export const known = signal<Known>(new Map());
/** Those that are over, the newest first; undefined until somebody asks. */
export const past = signal<readonly RolloutStatus[] | undefined>(undefined);

const asked = new Set<string>();
/** How often the evidence that a rollout ended on was asked for: it is written after the end is told. */
const tries = new Map<string, number>();
const TRIES_MAX = 10;

/** Takes what the stream tells, and asks for what went before. */
export function followRollouts({ rollouts, atMs }: StatsEvent): void {
  known.value = withStatus(known.value, rollouts, atMs);
  for (const { id } of rollouts) void fetchRollout(id);
  for (const { id } of rollouts) void fetchDecided(id);
}

/** After a loss of the stream everything is asked for anew. */
export function forgetRollouts(): void {
  asked.clear();
  if (past.value !== undefined) void fetchPast();
}

/** Asks once for everything about a rollout. */
export async function fetchRollout(id: string): Promise<void> {
  if (asked.has(id)) return;
  asked.add(id);
  const document = await fetchJson<RolloutDocument>(`/api/v1/rollouts/${encodeURIComponent(id)}`);
  if (document !== undefined) known.value = withDocument(known.value, document, Date.now());
  await fetchDecided(id);
}

/** Asks what a rollout that is over ended on, until that is there. */
async function fetchDecided(id: string): Promise<void> {
  const one = known.value.get(id);
  const tried = tries.get(id) ?? 0;
  if (one === undefined || !hasEnded(one.status) || tried >= TRIES_MAX) return;
  tries.set(id, tried + 1);
  const path = `/api/v1/rollouts/${encodeURIComponent(id)}/evidence`;
  const decided = await fetchJson<DecidedEvidence>(path);
  if (decided === undefined || !isOfEnd(one.status, decided)) return;
  tries.set(id, TRIES_MAX);
  known.value = withDecided(known.value, decided);
}

/** Asks for the list. */
export async function fetchPast(): Promise<void> {
  const found = await fetchJson<{ readonly rollouts: readonly RolloutStatus[] }>(
    "/api/v1/rollouts",
  );
  past.value = found?.rollouts ?? [];
}

/** A document of this server, of a type that it shares with this page; undefined where there is none. */
async function fetchJson<T>(path: string): Promise<T | undefined> {
  try {
    const response = await fetch(path);
    return response.ok ? ((await response.json()) as T) : undefined;
  } catch {
    return undefined;
  }
}
