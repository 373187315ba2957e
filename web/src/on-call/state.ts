// The page's state and its edge: the stream, the address, and requests that change something.

import { batch, signal } from "@preact/signals";
import type { OnCallDocument, ServingEvent, StatsEvent } from "../../../src/dashboard/api.ts";
import type { RolloutStatus } from "../../../src/rollout/document.ts";
import type { ActView } from "../rollout/acts.ts";
import { followRollouts, forgetRollouts } from "../rollout/state.ts";
import { type Outcome, outcomeOf, type Plan } from "./acts.ts";
import { beginFeed, type Feed, withEvent, withStats } from "./feed.ts";
import { type Choice, readChoice, writeChoice } from "./url.ts";

/** What the server says; undefined until it has said something. */
export const feed = signal<Feed | undefined>(undefined);
/** Whether the numbers are those of now. */
export const connection = signal<"connecting" | "open" | "lost" | "sign-in">("connecting");
/** What was chosen. */
export const choice = signal<Choice>(readChoice(location.search));
/** What is open over the page. */
export const opened = signal<
  | { readonly kind: "help" }
  | { readonly kind: "confirm"; readonly plan: Plan }
  | { readonly kind: "split" }
  | { readonly kind: "rollout"; readonly rollout: RolloutStatus; readonly view: ActView }
  | undefined
>(undefined);
/** How the last act went; without an outcome while it is under way. */
export const act = signal<{ readonly title: string; readonly outcome?: Outcome } | undefined>(
  undefined,
);

/** The server sends numbers each second: without any for so long, it is not there, whatever the connection says. */
const SILENCE_MS = 6000;
const AGAIN_MS = 2000;

/** Chooses, and writes it into the address. */
export function choose(change: Partial<Choice>): void {
  choice.value = { ...choice.value, ...change };
  history.replaceState(null, "", `${location.pathname}${writeChoice(choice.value)}`);
}

/** Follows the server for as long as the page is open. */
export function follow(): void {
  const stream = new EventSource("/api/v1/events");
  let since: ServingEvent[] = [];
  let heardMs = Date.now();
  const watch = setInterval(() => {
    if (Date.now() - heardMs > SILENCE_MS) again();
  }, 1000);
  const again = (): void => {
    clearInterval(watch);
    stream.close();
    if (connection.value !== "sign-in") connection.value = "lost";
    setTimeout(follow, AGAIN_MS);
  };
  stream.addEventListener("open", () => {
    since = [];
    void begin(() => since);
  });
  stream.addEventListener("error", () => {
    again();
    // The stream does not say why it was refused.
    void begin(() => since);
  });
  stream.addEventListener("event", ({ data }) => {
    // Of the type that src/dashboard/api.ts shares with this page.
    const event = JSON.parse(data) as ServingEvent;
    since.push(event);
    if (feed.value !== undefined) feed.value = withEvent(feed.value, event);
  });
  stream.addEventListener("stats", ({ data }) => {
    heardMs = Date.now();
    if (feed.value === undefined) return;
    const stats = JSON.parse(data) as StatsEvent;
    batch(() => {
      if (feed.value !== undefined) feed.value = withStats(feed.value, stats);
      followRollouts(stats);
    });
  });
}

/** Fetches everything anew. */
async function begin(since: () => readonly ServingEvent[]): Promise<void> {
  try {
    const response = await fetch("/api/v1/on-call");
    if (response.status === 401 || response.status === 403) connection.value = "sign-in";
    if (!response.ok) return;
    // The server's own document, of the type that it shares with this page.
    const document = (await response.json()) as OnCallDocument;
    batch(() => {
      feed.value = beginFeed(document, since());
      connection.value = "open";
    });
    forgetRollouts();
    followRollouts(document.status);
  } catch {
    connection.value = "lost";
  }
}

/** Does what was planned, and shows how it went. */
export async function perform(plan: Plan): Promise<void> {
  opened.value = undefined;
  const { title } = plan;
  act.value = { title };
  act.value = { title, outcome: await ask(plan) };
}

async function ask(plan: Plan): Promise<Outcome> {
  const { method, path, body } = plan;
  try {
    const headers = { "content-type": "application/json" };
    const response = await fetch(path, { method, headers, body: JSON.stringify(body) });
    // What is refused has an error document.
    const document = (await response.json().catch(() => ({}))) as { readonly error?: string };
    return outcomeOf(plan, response.status, document.error);
  } catch {
    return { ok: false, text: `${plan.title}: the server does not answer`, signIn: false };
  }
}
