// What happened last, the newest first.

import type { ServingEvent } from "../../../src/dashboard/api.ts";
import { type EventFilter, filtered, kindChoices, kindOf } from "./kinds.ts";
import { choice, choose } from "./state.ts";

/** The list, as far as it was narrowed. */
export function Events({ events: all }: { events: readonly ServingEvent[] }) {
  const filter: EventFilter = { model: choice.value.model, kind: choice.value.kind };
  const events = filtered(all, filter);
  const whole = events.length === all.length;
  return (
    <section aria-labelledby="events-title" class="events">
      <h2 id="events-title">
        Events{" "}
        <small>
          {whole ? `the last ${all.length}` : `${events.length} of the last ${all.length}`}, newest
          first
        </small>
      </h2>
      <Filter all={all} filter={filter} />
      {all.length === 0 && <p class="note">Nothing has happened since the server started.</p>}
      {all.length > 0 && events.length === 0 && <p class="note">None of them is of this kind.</p>}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard */}
      <ol tabIndex={0} aria-label="Events, newest first">
        {events.map((event) => (
          <li key={event.id}>
            <time dateTime={new Date(event.atMs).toISOString()}>{timeOf(event.atMs)}</time>
            <span class={`kind ${kindOf(event.kind).alarming === true ? "bad" : ""}`}>
              <span aria-hidden="true">{kindOf(event.kind).sign}</span> {event.kind}
            </span>
            <span>
              {event.model !== null && (
                <b>
                  <bdi>{event.model}</bdi> {event.version}
                </b>
              )}{" "}
              <bdi>{event.text}</bdi>
              {aboutOf(event) !== "" && (
                <small>
                  {" "}
                  (<bdi>{aboutOf(event)}</bdi>)
                </small>
              )}
            </span>
          </li>
        ))}
      </ol>
    </section>
  );
}

function Filter({ all, filter }: { all: readonly ServingEvent[]; filter: EventFilter }) {
  const models = new Set(all.flatMap(({ model }) => (model === null ? [] : [model])));
  if (filter.model !== undefined) models.add(filter.model);
  return (
    <p class="filter">
      <Choice
        name="Model of events"
        all="all models"
        values={[...models].sort()}
        chosen={filter.model}
        choose={(model) => choose({ model })}
      />
      <Choice
        name="Kind of events"
        all="all kinds"
        values={kindChoices(all, filter.kind)}
        chosen={filter.kind}
        choose={(kind) => choose({ kind })}
      />
    </p>
  );
}

function Choice(props: {
  readonly name: string;
  readonly all: string;
  readonly values: readonly string[];
  readonly chosen: string | undefined;
  choose(value: string | undefined): void;
}) {
  const { name, all, values, chosen } = props;
  return (
    <select
      aria-label={name}
      value={chosen ?? ""}
      onChange={({ currentTarget }) => props.choose(currentTarget.value || undefined)}
    >
      <option value="">{all}</option>
      {values.map((one) => (
        <option key={one} value={one}>
          {one}
        </option>
      ))}
    </select>
  );
}

/** The cause, and where: a server that is alone has no pool of a name. */
function aboutOf({ cause, nodePool }: ServingEvent): string {
  const pool = nodePool === undefined || nodePool === "default" ? [] : [`pool ${nodePool}`];
  return [...(cause === null ? [] : [cause]), ...pool].join(", ");
}

/** With its day where that is another one. */
function timeOf(atMs: number): string {
  const time = new Date(atMs);
  const two = (value: number): string => String(value).padStart(2, "0");
  const text = `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
  if (time.toDateString() === new Date().toDateString()) return text;
  return `${time.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${text}`;
}
