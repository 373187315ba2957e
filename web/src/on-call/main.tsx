// The on-call page: all versions as rows, the selected one in detail, and what happened last.

import { render } from "preact";
import { useEffect, useLayoutEffect } from "preact/hooks";
import type { ServingEvent, StatsEvent } from "../../../src/dashboard/api.ts";
import type { BudgetReadings } from "../../../src/serve/metric-readings.ts";
import { bytes } from "../format.ts";
import { Nav } from "../nav.tsx";
import { ActDialog } from "../rollout/act-dialog.tsx";
import { type ActCommand, actOf, rolloutOf } from "../rollout/acts.ts";
import { Rollouts } from "../rollout/rollouts.tsx";
import { drainPlan, reloadPlan } from "./acts.ts";
import { Details } from "./details.tsx";
import { Confirm, Help, Split } from "./dialogs.tsx";
import { Events } from "./events.tsx";
import type { Feed } from "./feed.ts";
import { type Command, commandOf, rowAfter } from "./keys.ts";
import { type Mark, markOf } from "./kinds.ts";
import { type Row, rowOf, shareText } from "./rows.ts";
import { act, choice, choose, connection, feed, follow, opened, perform } from "./state.ts";
import { Table } from "./table.tsx";
import { nextWindow, WINDOWS } from "./url.ts";

function Page() {
  const known = feed.value;
  useLayoutEffect(() => {
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
  useEffect(() => {
    document.title = titleOf(known?.status);
  });
  return (
    <>
      <Head known={known} />
      <main>
        {connection.value === "sign-in" && (
          <p class="outcome bad" role="alert">
            ▲ The server wants to know who this is: <a href="/login">sign in</a>, then come back.
          </p>
        )}
        <Outcome />
        {known === undefined ? (
          <p class="loading">Loading what is served…</p>
        ) : (
          <Served known={known} />
        )}
      </main>
    </>
  );
}

function Served({ known }: { known: Feed }) {
  const { status, document: first, histories, events } = known;
  const { minutes } = choice.value;
  const rows = rowsOf(known);
  const row = selectedOf(rows);
  if (row === undefined) return <p>Nothing is served.</p>;
  return (
    <>
      {first.objectives.fault !== null && (
        <p class="outcome bad">
          ▲ There are no objectives: <bdi>{first.objectives.fault}</bdi>
        </p>
      )}
      <Rollouts
        feed={known}
        act={(rollout, view) => {
          opened.value = { kind: "rollout", rollout, view };
        }}
      />
      <Table
        rows={rows}
        selected={row.key}
        minutes={minutes}
        atMs={status.atMs}
        seriesOf={(key) => histories.get(key)}
        marksOf={(one) => marksOf(one, events)}
        select={(key) => choose({ row: key })}
      />
      <div class="below">
        <Details
          key={row.key}
          row={row}
          series={histories.get(row.key)}
          marks={marksOf(row, events)}
          minutes={minutes}
          objectives={first.objectives}
          split={status.splits.find(({ model }) => model === row.status.model)}
          reload={() => carryOut("reload")}
          drain={() => carryOut("drain")}
          setSplit={() => carryOut("split")}
        />
        <Events events={events} />
      </div>
      <Opened row={row} known={known} />
    </>
  );
}

function Head({ known }: { known: Feed | undefined }) {
  const { minutes } = choice.value;
  return (
    <header>
      <h1>skipway</h1>
      <Nav here="/on-call" />
      <ServerState known={known} />
      {known !== undefined && <Budget budget={known.status.budget} />}
      <fieldset class="windows">
        <legend class="hidden">Window of time</legend>
        {WINDOWS.map((one) => (
          <button
            key={one}
            type="button"
            aria-pressed={one === minutes}
            onClick={() => choose({ minutes: one })}
          >
            {one} min
          </button>
        ))}
      </fieldset>
      <button type="button" onClick={() => carryOut("help")}>
        Keys <kbd>?</kbd>
      </button>
    </header>
  );
}

function ServerState({ known }: { known: Feed | undefined }) {
  const [tone, text] = stateOf(known?.status);
  return (
    <span class={`badge ${tone}`} role="status">
      {text}
    </span>
  );
}

function stateOf(status: StatsEvent | undefined): ["good" | "bad" | "", string] {
  if (connection.value === "sign-in") return ["bad", "▲ signed out"];
  if (status === undefined || connection.value === "connecting") return ["", "○ connecting"];
  if (connection.value === "lost") return ["bad", "▲ disconnected: these numbers are old"];
  if (status.server.draining) return ["bad", "▽ draining"];
  return status.server.ready ? ["good", "● ready"] : ["bad", "✕ not ready"];
}

function titleOf(status: StatsEvent | undefined): string {
  return `${stateOf(status)[1].slice(0, 1)} on-call: skipway`;
}

function Budget({ budget }: { budget: BudgetReadings | null }) {
  if (budget === null) return <span class="facts">no memory budget is kept</span>;
  const share = budget.usedBytes / Math.max(1, budget.budgetBytes);
  return (
    <span class="facts memory">
      memory {bytes(budget.usedBytes)} of {bytes(budget.budgetBytes)}, {shareText(share)}
      <span class="track" aria-hidden="true">
        <span class="fill" style={{ width: `${Math.min(100, 100 * share)}%` }} />
      </span>
    </span>
  );
}

/** What became of the last act. */
function Outcome() {
  const last = act.value;
  const tone = last?.outcome === undefined ? "" : last.outcome.ok ? "good" : "bad";
  return (
    <div role="status" aria-live="polite">
      {last !== undefined && (
        <p class={`outcome ${tone}`} data-testid="outcome">
          {last.outcome === undefined ? "◔ " : last.outcome.ok ? "✓ " : "▲ "}
          <bdi>{last.outcome?.text ?? `${last.title}: under way…`}</bdi>
          {last.outcome?.signIn === true && (
            <>
              {" "}
              <a href="/login">Sign in</a>
            </>
          )}{" "}
          <button type="button" onClick={() => carryOut("close")}>
            Dismiss <kbd>Esc</kbd>
          </button>
        </p>
      )}
    </div>
  );
}

function Opened({ row, known }: { row: Row; known: Feed }) {
  const what = opened.value;
  const close = (): void => {
    opened.value = undefined;
  };
  const go = (plan: Parameters<typeof perform>[0]): void => void perform(plan);
  if (what === undefined) return null;
  if (what.kind === "help") return <Help close={close} />;
  if (what.kind === "rollout") {
    return <ActDialog rollout={what.rollout} view={what.view} perform={go} close={close} />;
  }
  if (what.kind === "confirm") return <Confirm plan={what.plan} perform={go} close={close} />;
  const { models, splits } = known.status;
  const { model } = row.status;
  return (
    <Split
      status={row.status}
      split={splits.find((one) => one.model === model)}
      versions={models.filter((one) => one.model === model).map(({ version }) => version)}
      perform={go}
      close={close}
    />
  );
}

function rowsOf({ status, document: first, histories }: Feed): Row[] {
  return status.models.map((one) =>
    rowOf(one, {
      objectives: first.objectives,
      budget: status.budget,
      series: histories.get(`${one.model}/${one.version}`),
      atMs: status.atMs,
      minutes: choice.value.minutes,
    }),
  );
}

function selectedOf(rows: readonly Row[]): Row | undefined {
  return rows.find(({ key }) => key === choice.value.row) ?? rows[0];
}

/** Events that a chart of a version shows: its own, and those of its model. A rollout concerns both its versions. */
function marksOf({ status }: Row, events: readonly ServingEvent[]): Mark[] {
  return events
    .filter(
      ({ model, version, rollout }) =>
        model === status.model &&
        (version === null || version === status.version || rollout !== undefined),
    )
    .flatMap(markOf);
}

function pressed(event: KeyboardEvent): void {
  const { target, key, ctrlKey, metaKey, altKey } = event;
  const typing =
    target instanceof HTMLElement && target.closest("input, select, textarea, dialog") !== null;
  const command = commandOf({ key, ctrlKey, metaKey, altKey, typing });
  if (command === undefined || opened.value !== undefined) return;
  event.preventDefault();
  carryOut(command);
}

function carryOut(command: Command): void {
  if (command === "help") opened.value = { kind: "help" };
  else if (command === "home") location.assign("/");
  else if (command === "window") choose({ minutes: nextWindow(choice.value.minutes) });
  else if (command === "close") act.value = undefined;
  else if (feed.value !== undefined) carryOutOnRow(command, feed.value);
}

function carryOutOnRow(command: Command, known: Feed): void {
  const rows = rowsOf(known);
  const row = selectedOf(rows);
  if (row === undefined) return;
  if (command === "reload") opened.value = { kind: "confirm", plan: reloadPlan(row.status) };
  else if (command === "drain") {
    opened.value = { kind: "confirm", plan: drainPlan(row.status, known.status) };
  } else if (command === "split") opened.value = { kind: "split" };
  else if (isActCommand(command)) carryOutOnRollout(command, row, known);
  else {
    const to = rows[rowAfter(command, rows.indexOf(row), rows.length)];
    if (to !== undefined) choose({ row: to.key });
  }
}

function isActCommand(command: Command): command is ActCommand {
  return ["roll-back", "freeze", "hold", "promote"].includes(command);
}

function carryOutOnRollout(command: ActCommand, row: Row, { status }: Feed): void {
  const { model } = row.status;
  const rollout = rolloutOf(status.rollouts, model);
  const view = rollout === undefined ? undefined : actOf(rollout, command);
  if (rollout !== undefined && view !== undefined) {
    opened.value = { kind: "rollout", rollout, view };
    return;
  }
  const text = `no rollout of ${model} is under way`;
  act.value = { title: "Rollout", outcome: { ok: false, text, signIn: false } };
}

const app = document.querySelector("#app");
if (app !== null) {
  app.replaceChildren();
  render(<Page />, app);
}
follow();
