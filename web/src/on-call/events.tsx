// What happened last, the newest first.

import type { EventKind, ServingEvent } from "../../../src/dashboard/api.ts";

const SIGNS: Readonly<Record<EventKind, string>> = {
  server: "◆",
  state: "○",
  load: "↑",
  unload: "↓",
  restart: "↻",
  "out-of-memory": "▲",
  split: "⇄",
  refused: "✕",
  rollout: "◈",
};
const ALARMING: ReadonlySet<EventKind> = new Set(["restart", "out-of-memory", "refused"]);

/** The list. */
export function Events({ events }: { events: readonly ServingEvent[] }) {
  return (
    <section aria-labelledby="events-title" class="events">
      <h2 id="events-title">
        Events <small>the last {events.length}, newest first</small>
      </h2>
      {events.length === 0 && <p class="note">Nothing has happened since the server started.</p>}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard */}
      <ol tabIndex={0} aria-label="Events, newest first">
        {events.map((event) => (
          <li key={event.id}>
            <time dateTime={new Date(event.atMs).toISOString()}>{timeOf(event.atMs)}</time>
            <span class={`kind ${ALARMING.has(event.kind) ? "bad" : ""}`}>
              <span aria-hidden="true">{SIGNS[event.kind]}</span> {event.kind}
            </span>
            <span>
              {event.model !== null && (
                <b>
                  {event.model} {event.version}
                </b>
              )}{" "}
              {event.text}
              {event.cause !== null && <small> ({event.cause})</small>}
            </span>
          </li>
        ))}
      </ol>
    </section>
  );
}

function timeOf(atMs: number): string {
  const time = new Date(atMs);
  const two = (value: number): string => String(value).padStart(2, "0");
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}
