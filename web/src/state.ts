// What the page knows: the overview, fetched once and again when the server comes back, and the live
// numbers, which arrive by themselves.

import { signal } from "@preact/signals";
import type { Overview, StatsEvent, TrainingRecord } from "../../src/dashboard/api.ts";

/** What is served. */
export const overview = signal<Overview | undefined>(undefined);
/** The last live numbers. */
export const stats = signal<StatsEvent | undefined>(undefined);
/** Whether the stream of events is open. */
export const connected = signal(false);

/** Fetches a JSON document of this server; undefined where there is none. */
export async function fetchJson<T>(path: string): Promise<T | undefined> {
  const response = await fetch(path);
  // The server's own document, of the type that src/dashboard/api.ts shares with this page.
  return response.ok ? ((await response.json()) as T) : undefined;
}

/** The training record of a version. */
export function fetchTraining(name: string, version: number): Promise<TrainingRecord | undefined> {
  return fetchJson(`/api/v1/models/${encodeURIComponent(name)}/versions/${version}/training`);
}

/** Opens the stream; the browser opens it again by itself after a loss. */
export function connect(): void {
  const events = new EventSource("/api/v1/events");
  events.addEventListener("open", () => {
    connected.value = true;
    void fetchJson<Overview>("/api/v1/overview").then((found) => {
      overview.value = found;
    });
  });
  events.addEventListener("error", () => {
    connected.value = false;
    // A stream that was refused is not tried again by the browser.
    if (events.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  });
  events.addEventListener("stats", (event) => {
    stats.value = JSON.parse(event.data) as StatsEvent;
  });
}
