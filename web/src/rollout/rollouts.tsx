// All rollouts of a server: a card for each that is under way, and those that are over as a list to open.

import { useEffect } from "preact/hooks";
import type { ServingEvent } from "../../../src/dashboard/api.ts";
import type { RolloutStatus } from "../../../src/rollout/document.ts";
import type { Feed } from "../on-call/feed.ts";
import { type Mark, markOf } from "../on-call/kinds.ts";
import { choice, choose } from "../on-call/state.ts";
import type { ActView } from "./acts.ts";
import { Card } from "./card.tsx";
import { type KnownRollout, shown } from "./known.ts";
import { fetchPast, fetchRollout, known, past } from "./state.ts";
import { hasEnded } from "./verdict.ts";
import { phaseWords } from "./view.ts";

/** The section. */
export function Rollouts(props: {
  readonly feed: Feed;
  act(rollout: RolloutStatus, view: ActView): void;
}) {
  const { feed, act } = props;
  const chosen = choice.value.rollout;
  useEffect(() => {
    if (chosen !== undefined) void fetchRollout(chosen);
  }, [chosen]);
  const cards = shown(known.value, chosen, feed.status.atMs);
  return (
    <>
      {cards.map((one) => (
        <Card
          key={one.status.id}
          known={one}
          status={feed.status}
          marks={marksFor(one, feed.events)}
          act={(view) => act(one.status, view)}
          {...(one.status.id === chosen && { close: () => choose({ rollout: undefined }) })}
        />
      ))}
      <Past />
    </>
  );
}

/** What the rollout itself tells, and what else happened to its model meanwhile; the newest first. */
function marksFor({ status, events }: KnownRollout, all: readonly ServingEvent[]): Mark[] {
  const told = new Set(events.map(({ id }) => id));
  const since = all.filter(
    ({ model, eventId }) => model === status.model && !told.has(eventId ?? ""),
  );
  return [...events.flatMap(markOf), ...since.flatMap(markOf)].sort((a, b) => b.atMs - a.atMs);
}

function Past() {
  const found = past.value?.filter(hasEnded);
  return (
    <details
      class="past"
      onToggle={({ currentTarget }) => {
        if (currentTarget.open) void fetchPast();
      }}
    >
      <summary>Rollouts that are over</summary>
      {found === undefined && <p class="note">Loading…</p>}
      {found?.length === 0 && <p class="note">There were none.</p>}
      <ol>
        {found?.map((one) => (
          <li key={one.id}>
            <button type="button" onClick={() => choose({ rollout: one.id })}>
              <bdi>{one.model}</bdi> {one.from} → {one.to}
            </button>{" "}
            {phaseWords(one)
              .map(({ sign, text }) => `${sign} ${text}`)
              .join(", ")}
            ,{" "}
            <time dateTime={new Date(one.updatedMs).toISOString()}>{dateText(one.updatedMs)}</time>
            {one.reason !== null && (
              <small>
                {" "}
                <bdi>{one.reason.text}</bdi>
              </small>
            )}
          </li>
        ))}
      </ol>
    </details>
  );
}

function dateText(atMs: number): string {
  return new Date(atMs).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}
