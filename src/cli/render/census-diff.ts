// The difference between two censuses in sentences: what happened to which skips, like cases together.

import type { CensusDiff, Change, DiffValue } from "../../analysis/diff/census-diff.ts";
import type { Skip } from "../../analysis/skips/skip.ts";
import { formatBytes } from "../../base/format.ts";
import { printable } from "../../base/printable.ts";
import { type CensusView, censusSummary } from "./census.ts";
import { type Style, styled } from "./style.ts";

/** Skips that are named of one group; the rest is counted. */
const NAMED_MAX = 8;

interface Group {
  readonly sign: "-" | "+" | "~";
  readonly sentence: (count: number) => string;
  readonly names: string[];
}

const STYLES: Readonly<Record<Group["sign"], Style>> = { "-": "red", "+": "green", "~": "yellow" };

/** The lines of a difference; `names` are those of the two models. */
export function diffLines(
  diff: CensusDiff,
  names: readonly [string, string],
  view: CensusView,
): string[] {
  const [before, after] = names.map(printable);
  const head = [
    `${before}: ${censusSummary(diff.before)}`,
    `${after}: ${censusSummary(diff.after)}`,
  ];
  if (diff.same) return [...head, "no difference between their skips"];
  const lines = groupsOf(diff).flatMap(({ sign, sentence, names: all }) => {
    const told = view.all === true ? all : all.slice(0, NAMED_MAX);
    const more = all.length - told.length;
    return [
      styled(STYLES[sign], `${sign} ${sentence(all.length)}`, view.color === true),
      ...told.map((name) => `    ${printable(name)}`),
      ...(more > 0 ? [`    and ${more} more (--all names them)`] : []),
    ];
  });
  return [...head, ...lines, `${diff.unchanged} unchanged`];
}

function groupsOf({ removed, added, changed }: CensusDiff): Group[] {
  const groups = new Map<string, Group>();
  const tell = (sign: Group["sign"], sentence: Group["sentence"], name: string): void => {
    const key = `${sign}${sentence(1)}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { sign, sentence, names: [name] });
    else group.names.push(name);
  };
  for (const skip of removed) tell("-", (n) => `${skipsOf(n)} gone: ${skip.kind}`, nameOf(skip));
  for (const skip of added) tell("+", (n) => `${skipsOf(n)} new: ${skip.kind}`, nameOf(skip));
  for (const { before, after, changes } of changed) {
    const name = before.id === after.id ? nameOf(before) : `${nameOf(before)}, now ${after.id}`;
    for (const change of changes) tell("~", sentenceOf(change), name);
  }
  return [...groups.values()];
}

function nameOf(skip: Skip): string {
  return `${skip.id}  ${skip.merge}`;
}

function skipsOf(count: number): string {
  return count === 1 ? "1 skip is" : `${count} skips are`;
}

function sentenceOf({ field, before, after }: Change): Group["sentence"] {
  const skips = (n: number): string => (n === 1 ? "1 skip" : `${n} skips`);
  const merges = (n: number): string => (n === 1 ? "1 merge" : `${n} merges`);
  const change = `${textOf(field, before)} → ${textOf(field, after)}`;
  switch (field) {
    case "quantizedOperands":
      if (after === 0) return (n) => `${merges(n)} lost ${n === 1 ? "its" : "their"} Q/DQ`;
      if (before === 0) return (n) => `${merges(n)} gained Q/DQ`;
      return (n) => `${merges(n)}: quantized operands ${change}`;
    case "scales":
      return (n) => `${merges(n)}: scales of the operands ${change}`;
    case "kind":
      if (before === "projection") {
        return (n) => `${skips(n)} lost ${n === 1 ? "its" : "their"} projection: ${change}`;
      }
      return (n) => `${skips(n)} became ${String(after)}: ${change}`;
    case "norm":
    case "activation":
      return (n) => `${skips(n)}: order of ${field} ${change}`;
    default:
      return (n) => `${skips(n)}: ${field} ${change}`;
  }
}

function textOf(field: Change["field"], value: DiffValue): string {
  if (field === "bytes" && typeof value === "number") return formatBytes(value);
  if (typeof value === "object") return value.map((one) => one.toPrecision(4)).join(", ") || "none";
  return String(value);
}
