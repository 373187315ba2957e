// Tables for terminals: columns as wide as what is in them, as long as the line has room.

import { fitWidth } from "../../base/format.ts";

/** A column of a table. */
export interface Column {
  readonly title: string;
  readonly align?: "left" | "right";
  /** Gives way first when the line is too short. */
  readonly flexible?: boolean;
}

const GAP = "  ";
const NARROWEST = 6;

/** The lines of a table, head first. */
export function tableLines(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width: number,
): string[] {
  const natural = columns.map((column, i) =>
    Math.max(column.title.length, ...rows.map((row) => row[i]?.length ?? 0)),
  );
  const widths = narrowed(columns, natural, width);
  const line = (cells: readonly string[]): string =>
    columns
      .map((column, i) => cell(cells[i] ?? "", widths[i] ?? 0, column.align ?? "left"))
      .join(GAP)
      .trimEnd();
  return [
    line(columns.map((column) => column.title)),
    line(widths.map((w) => "─".repeat(w))),
    ...rows.map(line),
  ];
}

function narrowed(columns: readonly Column[], natural: readonly number[], width: number): number[] {
  const widths = [...natural];
  const total = (): number => widths.reduce((a, b) => a + b, 0) + GAP.length * (widths.length - 1);
  while (total() > width) {
    let widest = -1;
    for (const [i, column] of columns.entries()) {
      if (column.flexible !== true || (widths[i] ?? 0) <= NARROWEST) continue;
      if (widest < 0 || (widths[i] ?? 0) > (widths[widest] ?? 0)) widest = i;
    }
    if (widest < 0) break;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
  return widths;
}

function cell(text: string, width: number, align: "left" | "right"): string {
  return align === "right" && text.length <= width ? text.padStart(width) : fitWidth(text, width);
}
