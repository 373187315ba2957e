// What the page knows, as a pure function of what the server sends: a document first, then events and numbers.

import type { OnCallDocument, ServingEvent, StatsEvent } from "../../../src/dashboard/api.ts";
import { type Histories, keyOf, withPoint } from "./history.ts";

/** As many as the server keeps: a page that is open for long knows no more than a new one. */
const EVENTS_MAX = 200;

/** Everything that is shown. */
export interface Feed {
  readonly document: OnCallDocument;
  readonly status: StatsEvent;
  readonly histories: Histories;
  /** The newest first. */
  readonly events: readonly ServingEvent[];
}

/** Begins with a document; events that came while it was on its way are not lost. */
export function beginFeed(document: OnCallDocument, since: readonly ServingEvent[]): Feed {
  const last = document.events.at(-1)?.id ?? 0;
  const later = since.filter(({ id }) => id > last);
  const known = new Map(document.history.series.map((one) => [keyOf(one), one]));
  return {
    document,
    status: document.status,
    histories: withPoint(known, { ...document.status, kept: false }, document.history.pointsMax),
    events: [...document.events, ...later].toReversed().slice(0, EVENTS_MAX),
  };
}

/** With newer numbers. */
export function withStats(feed: Feed, status: StatsEvent): Feed {
  const { pointsMax } = feed.document.history;
  return { ...feed, status, histories: withPoint(feed.histories, status, pointsMax) };
}

/** With one more event. */
export function withEvent(feed: Feed, event: ServingEvent): Feed {
  if (event.id <= (feed.events[0]?.id ?? 0)) return feed;
  return { ...feed, events: [event, ...feed.events].slice(0, EVENTS_MAX) };
}
