// Memory over the order of execution as a small plot: an area of eighths of a character, the part that is alive
// for skips alone shaded, the peak marked with its node and the skips that stand there.

import { formatBytes } from "../../base/format.ts";
import { printable } from "../../base/printable.ts";
import { styled } from "./style.ts";

/** What is plotted; one number for each node. */
export interface Timeline {
  readonly bytes: readonly number[];
  /** Of these, alive for skips alone. */
  readonly skipBytes: readonly number[];
  readonly peakAt: number;
  readonly peakNode: string;
  /** Ids of the skips at the peak. */
  readonly peakSkips: readonly string[];
}

/** How it may look. */
export interface TimelineView {
  /** Columns; what is no terminal has any number of them. */
  readonly width: number;
  readonly color?: boolean;
  /** Without, it is drawn in ASCII. */
  readonly unicode: boolean;
}

/** Rows of the area; the mark, the axis and the legend make three more. */
const HEIGHT = 8;
const EIGHTHS = 8;
/** Where nobody says how wide it may be, and of a single node. */
const WIDTH = 100;
const NODE_MAX = 8;
const COLUMNS_MIN = 8;

interface Signs {
  /** From nothing to a full character, in equal steps. */
  readonly levels: readonly string[];
  readonly skips: string;
  readonly mark: string;
  readonly side: string;
  readonly tick: string;
  readonly corner: string;
  readonly floor: string;
  readonly comma: string;
  readonly more: string;
}

const UNICODE: Signs = {
  levels: [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
  ...{
    skips: "▒",
    mark: "▼",
    side: "│",
    tick: "┤",
    corner: "└",
    floor: "─",
    comma: " · ",
    more: "…",
  },
};
const ASCII: Signs = {
  levels: [" ", ".", "#"],
  ...{
    skips: ":",
    mark: "v",
    side: "|",
    tick: "+",
    corner: "+",
    floor: "-",
    comma: "; ",
    more: "~",
  },
};

/** The lines of the plot: at most twelve, none for a graph without nodes. */
export function timelineLines(timeline: Timeline, view: TimelineView): string[] {
  const { bytes, skipBytes, peakAt } = timeline;
  const most = bytes[peakAt] ?? 0;
  if (most <= 0) return [];
  const signs = view.unicode ? UNICODE : ASCII;
  const labels = [most, most / 2, 0].map(formatBytes);
  const margin = labels.reduce((widest, { length }) => Math.max(widest, length), 0);
  const room = Math.min(view.width, Number.isFinite(view.width) ? view.width : WIDTH) - margin - 2;
  const columns = Math.max(COLUMNS_MIN, Math.min(room, NODE_MAX * bytes.length));
  const heights = [bytes, skipBytes].map((values) => gathered(values, columns, most));
  const labelled = new Map([
    [HEIGHT - 1, labels[0]],
    [HEIGHT / 2 - 1, labels[1]],
  ]);
  const rows = Array.from({ length: HEIGHT }, (_, down) => {
    const row = HEIGHT - 1 - down;
    const label = labelled.get(row);
    const side = label === undefined ? signs.side : signs.tick;
    return `${(label ?? "").padStart(margin)} ${side}${cells(row, heights, { signs, view })}`;
  });
  const column = Math.floor(((peakAt + 0.5) * columns) / bytes.length);
  const mark = markLine(timeline, { column, room: Math.max(columns, room), signs });
  return [
    `${" ".repeat(margin + 2)}${styled("yellow", mark, view.color === true)}`,
    ...rows,
    `${(labels[2] ?? "").padStart(margin)} ${signs.corner}${signs.floor.repeat(columns)}`,
    `${" ".repeat(margin + 2)}${cut(legend(timeline, signs), Math.max(columns, room), signs)}`,
  ];
}

/** The largest value of the nodes in each column, in eighths of a row: what is there at all is seen. */
function gathered(values: readonly number[], columns: number, most: number): number[] {
  return Array.from({ length: columns }, (_, column) => {
    const from = Math.floor((column * values.length) / columns);
    const to = Math.max(from + 1, Math.floor(((column + 1) * values.length) / columns));
    const largest = values.slice(from, to).reduce((a, b) => Math.max(a, b), 0);
    return Math.ceil((largest / most) * HEIGHT * EIGHTHS);
  });
}

/** The characters of one row, counted from below. */
function cells(
  row: number,
  [all = [], skips = []]: readonly (readonly number[])[],
  { signs, view }: { signs: Signs; view: TimelineView },
): string {
  const last = signs.levels.length - 1;
  const text = all.map((height, column) => {
    if ((skips[column] ?? 0) >= (row + 1) * EIGHTHS) return signs.skips;
    const inside = Math.max(0, Math.min(EIGHTHS, height - row * EIGHTHS));
    return signs.levels[Math.round((inside * last) / EIGHTHS)] ?? "";
  });
  const runs = text
    .join("")
    .trimEnd()
    .match(new RegExp(`${signs.skips}+|[^${signs.skips}]+`, "g"));
  const painted = (run: string): string => {
    return styled(run.startsWith(signs.skips) ? "cyan" : "blue", run, view.color === true);
  };
  return (runs ?? []).map(painted).join("");
}

/** `▼ block2.merge: s3, s4`, at the side of its column that has room. */
function markLine(
  { peakNode, peakSkips }: Timeline,
  { column, room, signs }: { column: number; room: number; signs: Signs },
): string {
  const skips = peakSkips.length === 0 ? "" : `: ${peakSkips.join(", ")}`;
  const text = printable(`${peakNode}${skips}`);
  const [left, right] = [column - 1, room - column - 2];
  if (text.length <= right || right >= left) {
    return `${" ".repeat(column)}${signs.mark} ${cut(text, right, signs)}`;
  }
  return `${cut(text, left, signs).padStart(left)} ${signs.mark}`;
}

function cut(text: string, width: number, signs: Signs): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}${signs.more}`;
}

function legend({ bytes, skipBytes }: Timeline, signs: Signs): string {
  const nodes = `${bytes.length} ${bytes.length === 1 ? "node" : "nodes"} in the order of the file`;
  const held = skipBytes.some((value) => value > 0);
  return held ? `${signs.skips} alive for skips alone${signs.comma}${nodes}` : nodes;
}
