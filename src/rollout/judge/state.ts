// The evidence itself: counts, and nothing else. It changes by rows, which are what a certificate stores; so whoever
// has the policy and the rows has the verdict, bit for bit.

import { present } from "../../base/assert.ts";
import { logAverage, logEvidence, OFF, type Tally, WORSE } from "./evidence.ts";
import type { GateRules, Rules, Source, SourceName } from "./gates.ts";
import type { Arm, GateName } from "./types.ts";

/** What is counted for each arm, of requests as they are; pairs count for the candidate. */
export const COUNTED = [
  "requests",
  "answered",
  "slow",
  "failed",
  "out-of-memory",
  "not-finite",
  "unit",
  "unit-slow",
  "unit-failed",
  "unit-out-of-memory",
  "unit-not-finite",
  "run",
  "slow-run",
  "label",
  "wrong-label",
  "pair",
  "pair-timed",
  "pair-slow",
  "pair-failed",
  "pair-out-of-memory",
  "pair-not-finite",
  "disagreement",
  "unit-left-out",
] as const;

export type Counted = (typeof COUNTED)[number];

/** Place of a count among all: each one for stable and for the candidate. */
export const PLACE = Object.fromEntries(COUNTED.map((name, i) => [name, 2 * i])) as Readonly<
  Record<Counted, number>
>;

/** What was seen of so many: the counts of a source, as they are shown. */
export const COUNTS_OF: Readonly<Record<SourceName, readonly [events: Counted, of: Counted]>> = {
  slow: ["slow", "answered"],
  "pair-slow": ["pair-slow", "pair-timed"],
  "slow-run": ["slow-run", "run"],
  failed: ["failed", "requests"],
  "pair-failed": ["pair-failed", "pair"],
  "out-of-memory": ["out-of-memory", "requests"],
  "pair-out-of-memory": ["pair-out-of-memory", "pair"],
  "not-finite": ["not-finite", "answered"],
  "pair-not-finite": ["pair-not-finite", "pair"],
  label: ["wrong-label", "label"],
  disagreement: ["disagreement", "pair"],
};

/** The same by what counts as one: rows of one batch do. Where it is not the same. `less` of them are left out. */
export const UNITS_OF: Partial<
  Record<SourceName, readonly [events: Counted, of: Counted, less?: Counted]>
> = {
  slow: ["unit-slow", "unit", "unit-left-out"],
  failed: ["unit-failed", "unit"],
  "out-of-memory": ["unit-out-of-memory", "unit"],
  "not-finite": ["unit-not-finite", "unit"],
};

/** Events at one share, against "not worse" (up) and against "worse than allowed" (down). */
export type TableRow = [share: number, upC: number, upS: number, downC: number, downS: number];

/** Requests of a stratum and share: by it, the assignment is checked. */
export type AssignedCell = readonly [
  stratum: number,
  share: number,
  candidate: number,
  stable: number,
];

/** One change of the evidence. */
export type LogRow =
  | readonly ["counts", atMs: number, counts: readonly number[]]
  | readonly [
      kind: "event",
      atMs: number,
      source: SourceName,
      arm: Arm,
      stratum: number,
      up: number,
      down: number,
    ]
  | readonly ["assigned", atMs: number, cells: readonly AssignedCell[]]
  | readonly ["golden", atMs: number, arm: Arm, right: boolean]
  | readonly ["stratum", atMs: number, name: string];

type AssignedTable = [share: number, candidate: number, stable: number][];

/** What is known. Plain JSON. */
export interface Evidence {
  readonly counts: number[];
  readonly tables: Partial<Record<SourceName, TableRow[]>>;
  /** Names in order of their first coming; the last one stands for all beyond. */
  readonly strata: string[];
  readonly strataTables: Partial<Record<SourceName, TableRow[][]>>;
  /** Assignments of all requests, and after them of each stratum. */
  readonly assigned: AssignedTable[];
  readonly goldenRight: { stable?: boolean; candidate?: boolean };
  regressed?: GateName;
  /** Stratum of an assignment that is off; an empty text: overall. */
  fault?: string;
}

export function noEvidence(): Evidence {
  return {
    counts: COUNTED.flatMap(() => [0, 0]),
    tables: {},
    strata: [],
    strataTables: {},
    assigned: [],
    goldenRight: {},
  };
}

/** Shares that are told apart; a request of a further one counts at the next larger share, which is the careful side. */
const SHARES_MAX = 64;
/** Weight of the strata beside that of all requests together. */
const STRATA_WEIGHT = 0.2;

/** Applies one row in place. */
export function apply(evidence: Evidence, row: LogRow, rules: Rules): void {
  switch (row[0]) {
    case "counts": {
      row[2].forEach((count, i) => {
        evidence.counts[i] = (evidence.counts[i] ?? 0) + count;
      });
      for (const gate of rules.gates) {
        const paired = gate.sources.some(
          ({ name, allowedRate }) =>
            allowedRate !== undefined && (row[2][PLACE[COUNTS_OF[name][0]] + 1] ?? 0) > 0,
        );
        if (paired) decide(evidence, gate, rules);
      }
      return;
    }
    case "event": {
      const [, , source, arm, stratum, up, down] = row;
      const gate = rules.gateOf.get(source);
      if (gate === undefined) return;
      evidence.tables[source] ??= [];
      addEvent(evidence.tables[source], arm, up, down);
      if (stratum >= 0) {
        evidence.strataTables[source] ??= [];
        const tables = evidence.strataTables[source];
        while (tables.length <= stratum) tables.push([]);
        addEvent(tables[stratum] ?? [], arm, up, down);
      }
      decide(evidence, gate, rules);
      return;
    }
    case "assigned":
      addAssigned(evidence, row[2], rules);
      return;
    case "golden": {
      const [, , arm, right] = row;
      evidence.goldenRight[arm] = right;
      // No statistics: an equal candidate gives the known answer where stable does.
      const wrong =
        evidence.goldenRight.candidate === false && evidence.goldenRight.stable !== false;
      if (wrong && rules.gates.some(({ name }) => name === "wrong")) evidence.regressed ??= "wrong";
      return;
    }
    case "stratum":
      evidence.strata.push(row[2]);
  }
}

function addEvent(table: TableRow[], arm: Arm, up: number, down: number): void {
  remembered.delete(table);
  const place = arm === "candidate" ? 0 : 1;
  if (up > 0 && up === down) {
    const row = rowAt(table, up);
    if (row === undefined) return;
    row[1 + place] = (row[1 + place] ?? 0) + 1;
    row[3 + place] = (row[3 + place] ?? 0) + 1;
    return;
  }
  for (const [share, first] of [
    [up, 1],
    [down, 3],
  ] as const) {
    const row = share > 0 ? rowAt(table, share) : undefined;
    if (row !== undefined) row[first + place] = (row[first + place] ?? 0) + 1;
  }
}

function rowAt(table: TableRow[], share: number): TableRow | undefined {
  const found = table.find((row) => row[0] === share);
  if (found !== undefined) return found;
  if (table.length < SHARES_MAX) {
    const row: TableRow = [share, 0, 0, 0, 0];
    table.push(row);
    return row;
  }
  let next: TableRow | undefined;
  for (const row of table) if (row[0] > share && row[0] < (next?.[0] ?? 1)) next = row;
  return next;
}

function addAssigned(evidence: Evidence, cells: readonly AssignedCell[], rules: Rules): void {
  const { assigned } = evidence;
  for (const [stratum, share, candidate, stable] of cells) {
    while (assigned.length <= stratum + 1) assigned.push([]);
    for (const table of [assigned[0] ?? [], assigned[stratum + 1] ?? []]) {
      remembered.delete(table);
      const found = table.find((one) => one[0] === share);
      if (found !== undefined) {
        found[1] += candidate;
        found[2] += stable;
      } else if (table.length < SHARES_MAX) table.push([share, candidate, stable]);
    }
  }
  const { logE, stratum: worst } = assignmentEvidence(evidence);
  if (logE >= rules.faultLimit) evidence.fault ??= worst;
}

/** Weight of the stratum that came as the nth, from 0: they sum to 1 however many there will be. */
function stratumWeight(n: number): number {
  return 1 / ((n + 1) * (n + 2));
}

/** The average of an e-value over all and of those of its strata; and the stratum with the largest, or "" for all. */
function withStrata(
  overall: number,
  strata: readonly number[],
  weight: number,
  names: readonly string[],
): { readonly logE: number; readonly stratum: string } {
  let left = weight;
  let worst = overall;
  let stratum = "";
  const parts: (readonly [number, number])[] = [[1 - weight, overall]];
  strata.forEach((logE, n) => {
    const own = weight * stratumWeight(n);
    left -= own;
    parts.push([own, logE]);
    if (logE > worst) {
      worst = logE;
      stratum = names[n] ?? "";
    }
  });
  // Strata that have not come yet have lost and won nothing.
  parts.push([left, 0]);
  return { logE: logAverage(parts), stratum };
}

/** Evidence that the assignment is off, overall or in a stratum. */
export function assignmentEvidence(evidence: Evidence): {
  readonly logE: number;
  readonly stratum: string;
} {
  const [overall = 0, ...strata] = evidence.assigned.map((table) => {
    let logE = remembered.get(table);
    if (logE === undefined) {
      const tallies = table.map(([share, candidate, stable]) => ({ share, candidate, stable }));
      logE = logEvidence(tallies, OFF);
      remembered.set(table, logE);
    }
    return logE;
  });
  return withStrata(overall, strata, 0.5, evidence.strata);
}

/** Events as the formula takes them. */
export function tally(table: readonly TableRow[], way: "up" | "down"): Tally[] {
  return table.map(([share, upC, upS, downC, downS]) =>
    way === "up"
      ? { share, candidate: upC, stable: upS }
      : { share, candidate: downC, stable: downS },
  );
}

/** So many of so many with one known chance: the same formula, with the good ones in the place of stable's. */
export function known(chance: number, events: number, of: number): Tally {
  const share = Math.min(Math.max(chance, 1e-6), 1 - 1e-6);
  return { share, candidate: events, stable: of - events };
}

/** A count of one arm. */
export function countOf(evidence: Evidence, name: Counted, arm: Arm): number {
  return evidence.counts[PLACE[name] + (arm === "candidate" ? 1 : 0)] ?? 0;
}

/** Evidence of a table since it last changed: an event changes one of many strata. A table belongs to one gate. */
const remembered = new WeakMap<readonly (readonly number[])[], number>();

/** What a source says against the candidate. */
export function sourceEvidence(
  evidence: Evidence,
  gate: GateRules,
  source: Source,
  rules: Rules,
): { readonly logE: number; readonly stratum: string } {
  if (source.allowedRate !== undefined) {
    const [events, of] = COUNTS_OF[source.name];
    const pairs = known(
      source.allowedRate(rules.policy),
      countOf(evidence, events, "candidate"),
      countOf(evidence, of, "candidate"),
    );
    return { logE: logEvidence([pairs], WORSE), stratum: "" };
  }
  const of = (table: readonly TableRow[]): number => {
    if (table.length === 0) return 0;
    let logE = remembered.get(table);
    if (logE === undefined) {
      logE = logEvidence(tally(table, "up"), WORSE, gate.tolerated);
      remembered.set(table, logE);
    }
    return logE;
  };
  const overall = of(evidence.tables[source.name] ?? []);
  if (source.strata !== true) return { logE: overall, stratum: "" };
  const strata = (evidence.strataTables[source.name] ?? []).map(of);
  return withStrata(overall, strata, STRATA_WEIGHT, evidence.strata);
}

/**
 * What its first source must say alone for a gate to reach its limit, where there is one stratum and nothing else is
 * observed: natural logarithm.
 */
export function requestLimit(gate: GateRules): number {
  const first = present(gate.sources[0], "a gate has a source");
  const own = first.strata === true ? 1 - STRATA_WEIGHT * (1 - stratumWeight(0)) : 1;
  const moved = first.weight * own;
  return Math.log((Math.exp(gate.limit) - (1 - moved)) / moved);
}

/** What a gate says against the candidate, and the source that says most. */
export function gateEvidence(
  evidence: Evidence,
  gate: GateRules,
  rules: Rules,
): { readonly logE: number; readonly source: Source; readonly stratum: string } {
  let worst: { logE: number; source: Source; stratum: string } | undefined;
  const parts = gate.sources.map((source) => {
    const { logE, stratum } = sourceEvidence(evidence, gate, source, rules);
    if (worst === undefined || logE > worst.logE) worst = { logE, source, stratum };
    return [source.weight, logE] as const;
  });
  const { source, stratum } = present(worst, "a gate has a source");
  return { logE: logAverage(parts), source, stratum };
}

/** Keeps the first gate that reached its limit. Where the assignment is off, only pairs can still say something. */
function decide(evidence: Evidence, gate: GateRules, rules: Rules): void {
  if (evidence.regressed !== undefined) return;
  if (evidence.fault !== undefined && gate.name !== "disagreement") return;
  if (gateEvidence(evidence, gate, rules).logE >= gate.limit) evidence.regressed = gate.name;
}
