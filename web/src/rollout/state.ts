// What the page knows of rollouts beside the stream: the path of each, and those that are over.

import { signal } from "@preact/signals";
import type { StatsEvent } from "../../../src/dashboard/api.ts";
import type { RolloutDocument, RolloutStatus } from "../../../src/rollout/document.ts";
import { type Known, withDocument, withStatus } from "./known.ts";

/** Rollouts by id. */
export const known = signal<Known>(new Map());
/** Those that are over, the newest first; undefined until somebody asks. */
export const past = signal<readonly RolloutStatus[] | undefined>(undefined);

const asked = new Set<string>();

/** Takes what the stream tells, and asks for what went before. */
export function followRollouts({ rollouts, atMs }: StatsEvent): void {
  known.value = withStatus(known.value, rollouts, atMs);
  for (const { id } of rollouts) void fetchRollout(id);
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
