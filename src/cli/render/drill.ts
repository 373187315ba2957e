// A drill as lines for a terminal.

import { formatSeconds } from "../../base/format.ts";
import { printable } from "../../base/printable.ts";
import { tableLines } from "../../base/table.ts";
import type { DrillDocument } from "../../drill/scenario/report.ts";

/** The lines of a drill. */
export function drillLines(drill: DrillDocument, width: number): string[] {
  const { detection, rollbackMs, end } = drill;
  const facts: string[] = [
    end === null ? "the rollout did not end" : `${end.phase}, cause ${end.cause ?? "none"}`,
    `${drill.requests} requests, ${drill.failed} failed, ${drill.candidateAnswers} answered by the candidate`,
  ];
  if (detection !== null) {
    const of = detection.requests === null ? "" : ` and ${detection.requests} candidate requests`;
    facts.push(`detected after ${formatSeconds(detection.seconds)}${of}`);
  }
  if (rollbackMs !== null) {
    const last = `${Number(rollbackMs.toFixed(1))} ms`;
    facts.push(`decision to the last request sent to the candidate ${last}`);
  }
  const rows = drill.timeline.map(({ seconds, who, text }) => [
    seconds.toFixed(3),
    who,
    printable(text),
  ]);
  return [
    `${drill.held ? "held" : "MISSED"}  ${drill.name}: ${drill.title}`,
    ...drill.misses.map((miss) => `  ${printable(miss)}`),
    ...facts.map((fact) => `  ${printable(fact)}`),
    "",
    ...tableLines(
      [{ title: "seconds", align: "right" }, { title: "who" }, { title: "what" }],
      rows,
      width,
    ),
    "",
  ];
}
