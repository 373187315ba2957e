// Tables for terminals: columns as wide as what is in them, as long as the line has room. Beyond that
// cells go on in the next line: a name that is cut cannot be searched for.

import { fitWidth } from "./format.ts";
import { printable } from "./printable.ts";

/** A column of a table. */
export interface Column {
  readonly title: string;
  readonly align?: "left" | "right";
  /** Gives way first when the line is too short. */
  readonly flexible?: boolean;
}

const GAP = "  ";
const NARROWEST = 6;

/** Gives a padded cell colour; it may not change what is read. */
export type Paint = (text: string, row: number, column: number) => string;

/** The lines of a table, head first. The cells may be text from a model file. */
export function tableLines(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width: number,
  paint: Paint = (text) => text,
): string[] {
  const cells = rows.map((row) => columns.map((_, i) => printable(row[i] ?? "")));
  const titles = columns.map((column) => column.title);
  const natural = titles.map((title, i) =>
    cells.reduce((widest, row) => Math.max(widest, row[i]?.length ?? 0), title.length),
  );
  const widths = narrowed(columns, natural, width);
  const lines = (
    row: readonly string[],
    painted: (text: string, i: number) => string,
  ): string[] => {
    const folded = row.map((text, i) => fold(text, widths[i] ?? NARROWEST));
    const height = folded.reduce((most, parts) => Math.max(most, parts.length), 1);
    return Array.from({ length: height }, (_, at) =>
      columns
        .map(({ align }, i) =>
          painted(cell(folded[i]?.[at] ?? "", widths[i] ?? 0, align ?? "left"), i),
        )
        .join(GAP)
        .trimEnd(),
    );
  };
  const rule = widths.map((w) => "─".repeat(w)).join(GAP);
  return [
    ...lines(titles, (text) => text),
    rule,
    ...cells.flatMap((row, at) => lines(row, (text, i) => paint(text, at, i))),
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

/** The parts of a text that fit into a width, broken after a separator where one comes late enough. */
function fold(text: string, width: number): string[] {
  const parts: string[] = [];
  let from = 0;
  while (text.length - from > width) {
    const part = text.slice(from, from + width);
    const separator = Math.max(...["/", ".", "_", "-", " "].map((one) => part.lastIndexOf(one)));
    const length = separator >= width / 2 ? separator + 1 : width;
    parts.push(part.slice(0, length));
    from += length;
  }
  return [...parts, text.slice(from)];
}

function cell(text: string, width: number, align: "left" | "right"): string {
  return align === "right" ? text.padStart(width) : fitWidth(text, width);
}
