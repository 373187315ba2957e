// Kinds of events: the sign beside each, its letter on charts, and which of them are bad news.

import type { EventKind, ServingEvent } from "../../../src/dashboard/api.ts";

interface Kind {
  readonly sign: string;
  /** On charts; those without are in the list alone. */
  readonly letter?: string;
  readonly alarming?: boolean;
}

const KINDS: Readonly<Record<EventKind, Kind>> = {
  server: { sign: "◆" },
  state: { sign: "○" },
  load: { sign: "↑", letter: "L" },
  unload: { sign: "↓", letter: "U" },
  restart: { sign: "↻", letter: "R", alarming: true },
  "out-of-memory": { sign: "▲", letter: "M", alarming: true },
  split: { sign: "⇄", letter: "S" },
  refused: { sign: "✕", alarming: true },
  started: { sign: "▷", letter: "C" },
  shadow: { sign: "◌", letter: "C" },
  step: { sign: "▷", letter: "C" },
  verdict: { sign: "◔" },
  "sample-ratio": { sign: "▲", alarming: true },
  held: { sign: "‖" },
  resumed: { sign: "▷" },
  restarted: { sign: "↻" },
  frozen: { sign: "■" },
  waiting: { sign: "◔" },
  "candidate-down": { sign: "✕", alarming: true },
  "candidate-up": { sign: "●" },
  "stable-down": { sign: "✕", alarming: true },
  "stable-up": { sign: "●" },
  "registry-lost": { sign: "✕", alarming: true },
  "registry-back": { sign: "●" },
  "alias-moved": { sign: "▲", alarming: true },
  "alias-back": { sign: "●" },
  promoting: { sign: "▶" },
  promoted: { sign: "✓", letter: "P" },
  "rolled-back": { sign: "◁", letter: "B", alarming: true },
  aborted: { sign: "◁", letter: "B" },
  failed: { sign: "✕", letter: "B", alarming: true },
};

/** What the letters on charts mean, for the legend. */
export const LETTERS: readonly (readonly [letter: string, text: string])[] = [
  ["L", "load"],
  ["U", "unload"],
  ["R", "restart"],
  ["M", "out-of-memory"],
  ["S", "split"],
  ["C", "canary: start or step"],
  ["P", "promoted"],
  ["B", "taken back"],
];

/** A server may be newer than the page that is open. */
export function kindOf(kind: string): Kind {
  return Object.hasOwn(KINDS, kind) ? KINDS[kind as EventKind] : { sign: "○" };
}

/** An event on a chart. */
export interface Mark {
  readonly id: string;
  readonly atMs: number;
  readonly letter: string;
}

/** The mark of an event; none for those that are in the list alone. */
export function markOf({
  id,
  atMs,
  kind,
}: { id: number | string } & Pick<ServingEvent, "atMs" | "kind">): Mark[] {
  const { letter } = kindOf(kind);
  return letter === undefined ? [] : [{ id: String(id), atMs, letter }];
}

/** What the list of events is narrowed to; undefined: everything. */
export interface EventFilter {
  readonly model: string | undefined;
  readonly kind: string | undefined;
}

/** Kinds that are chosen together. */
const GROUPS: Readonly<Record<string, (event: ServingEvent) => boolean>> = {
  rollouts: ({ rollout }) => rollout !== undefined,
  alarms: ({ kind }) => kindOf(kind).alarming === true,
};

/** Events that pass a filter. Those of the whole server concern every model. */
export function filtered(
  events: readonly ServingEvent[],
  { model, kind }: EventFilter,
): readonly ServingEvent[] {
  return events.filter((event) => {
    if (model !== undefined && event.model !== null && event.model !== model) return false;
    if (kind === undefined) return true;
    const group = Object.hasOwn(GROUPS, kind) ? GROUPS[kind] : undefined;
    return group === undefined ? event.kind === kind : group(event);
  });
}

/** What can be chosen: the groups, the kinds that are there, and whatever is chosen. */
export function kindChoices(events: readonly ServingEvent[], chosen: string | undefined): string[] {
  const there = new Set<string>(events.map(({ kind }) => kind));
  if (chosen !== undefined && !Object.hasOwn(GROUPS, chosen)) there.add(chosen);
  return [...Object.keys(GROUPS), ...[...there].sort()];
}
