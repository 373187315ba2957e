// Lines over the last minutes, with what was promised and what happened as lines of their own.

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { apart } from "./apart.ts";
import type { Mark } from "./kinds.ts";

/** One line. */
export interface Line {
  readonly name: string;
  /** A colour of the style sheet. */
  readonly colour: string;
  readonly dash?: readonly number[];
  readonly values: readonly (number | null)[];
}

/** What a chart shows. */
export interface ChartProps {
  readonly label: string;
  readonly atMs: readonly number[];
  readonly lines: readonly Line[];
  readonly fromMs: number;
  readonly toMs: number;
  /** A line across: what was promised, or must not be passed. */
  readonly objective?: number | undefined;
  /** The newest first. */
  readonly marks?: readonly Mark[];
  readonly height: number;
  /** Without axes, in a row of the table. */
  readonly small?: boolean;
  /** How a value is written on the axis. */
  readonly format?: (value: number) => string;
  /** The axis reaches at least here. */
  readonly least?: number;
  /** Where the axis begins; default 0. What is below is drawn along it. */
  readonly floor?: number;
  /** Whether each line has its name at its end. */
  readonly named?: boolean;
}

/** Room for the names of lines, in pixels. */
const NAMES_WIDTH = 92;
const NAME_HEIGHT = 12;

/** Counts changes between dark and light: colours are in the drawing. */
const theme = signal(0);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  theme.value++;
});

/** Draws the lines; a reader is told the label. */
export function Chart(props: ChartProps) {
  const holder = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const latest = useRef(props);
  latest.current = props;
  const shape = `${theme.value} ${props.lines.map(({ name, colour }) => name + colour).join()}`;
  useEffect(() => {
    const element = holder.current;
    if (element === null) return;
    const { height } = latest.current;
    const made = new uPlot(
      optionsFor(element.clientWidth, latest),
      dataOf(latest.current),
      element,
    );
    plot.current = made;
    const resize = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    resize.observe(element);
    return () => {
      resize.disconnect();
      made.destroy();
    };
  }, [shape]);
  const { atMs, fromMs, objective, marks } = props;
  const drawn = [atMs.length, atMs.at(-1), fromMs, objective, marks?.length, marks?.[0]?.id].join();
  useEffect(() => {
    plot.current?.setData(dataOf(latest.current));
  }, [drawn]);
  return (
    <div
      ref={holder}
      class={props.small === true ? "spark" : "chart"}
      style={{ height: `${props.height}px` }}
      role="img"
      aria-label={props.label}
    />
  );
}

function dataOf({ atMs, lines, floor = 0 }: ChartProps): uPlot.AlignedData {
  const shown = (value: number | null): number | null => value && Math.max(floor, value);
  return [atMs.map((at) => at / 1000), ...lines.map(({ values }) => values.map(shown))];
}

function colourOf(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name);
}

function optionsFor(width: number, latest: { readonly current: ChartProps }): uPlot.Options {
  const { height, lines, small = false, named = false } = latest.current;
  const axis: uPlot.Axis = {
    show: !small,
    stroke: colourOf("--soft"),
    font: "11px ui-sans-serif, system-ui, sans-serif",
    grid: { stroke: colourOf("--line"), width: 0.5 },
    ticks: { show: false },
  };
  return {
    width,
    height,
    ...(small && { padding: [3, 2, 3, 2] as uPlot.Padding }),
    ...(named && { padding: [null, NAMES_WIDTH, null, null] as uPlot.Padding }),
    cursor: { show: false },
    legend: { show: false },
    scales: {
      x: { time: true, range: () => [latest.current.fromMs / 1000, latest.current.toMs / 1000] },
      y: {
        range: (_plot, _min, max) => [latest.current.floor ?? 0, topOf(latest.current, max)],
      },
    },
    axes: [
      { ...axis, size: 22, space: 60, values: timesOf },
      {
        ...axis,
        size: 52,
        space: 26,
        values: (_plot, splits) => splits.map((one) => latest.current.format?.(one) ?? String(one)),
      },
    ],
    series: [
      {},
      ...lines.map(({ colour, dash }) => ({
        stroke: colourOf(colour),
        width: small ? 1.5 : 1.75,
        points: { show: false },
        ...(dash !== undefined && { dash: [...dash] }),
      })),
    ],
    hooks: {
      draw: [
        (plot) => {
          drawOver(plot, latest.current);
          if (named) drawNames(plot, latest.current);
        },
      ],
    },
  };
}

function topOf({ objective = 0, least = 0 }: ChartProps, max: number | null): number {
  return 1.15 * Math.max(max ?? 0, objective, least) || 1;
}

/** With seconds where the marks stand closer than minutes. */
function timesOf(
  _plot: uPlot,
  splits: number[],
  _axis: number,
  _space: number,
  increment: number,
): string[] {
  const two = (value: number): string => String(value).padStart(2, "0");
  return splits.map((one) => {
    const time = new Date(1000 * one);
    const minute = `${time.getHours()}:${two(time.getMinutes())}`;
    return increment < 60 ? `${minute}:${two(time.getSeconds())}` : minute;
  });
}

function drawOver(plot: uPlot, { objective, marks = [], small = false }: ChartProps): void {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.lineWidth = devicePixelRatio;
  if (objective !== undefined) {
    const y = plot.valToPos(objective, "y", true);
    ctx.strokeStyle = colourOf("--amber");
    ctx.setLineDash([5, 4].map((one) => one * devicePixelRatio));
    line(ctx, [bbox.left, y], [bbox.left + bbox.width, y]);
  }
  ctx.strokeStyle = colourOf("--soft");
  ctx.fillStyle = colourOf("--ink");
  ctx.setLineDash([2, 2].map((one) => one * devicePixelRatio));
  ctx.font = `${10 * devicePixelRatio}px ui-sans-serif, system-ui, sans-serif`;
  ctx.textAlign = "left";
  ctx.textBaseline = "alphabetic";
  let labelledX = Number.POSITIVE_INFINITY;
  // The newest first: of some at one place that one has its letter.
  for (const { atMs, letter } of marks) {
    const x = plot.valToPos(atMs / 1000, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    line(ctx, [x, bbox.top], [x, bbox.top + bbox.height]);
    if (small || labelledX - x < 12 * devicePixelRatio) continue;
    labelledX = x;
    ctx.fillText(letter, x + 2 * devicePixelRatio, bbox.top + 9 * devicePixelRatio);
  }
  ctx.restore();
}

/** The name of each line at its end, one below the other where lines end together. */
function drawNames(plot: uPlot, { lines, floor = 0 }: ChartProps): void {
  const { ctx, bbox } = plot;
  const ends = lines.flatMap(({ name, colour, values }) => {
    const at = values.findLast((value) => value !== null) ?? null;
    return at === null ? [] : [{ name, colour, y: plot.valToPos(Math.max(floor, at), "y", true) }];
  });
  const places = apart(
    ends.map(({ y }) => y),
    NAME_HEIGHT * devicePixelRatio,
    bbox.top + bbox.height,
  );
  ctx.save();
  ctx.font = `${11 * devicePixelRatio}px ui-sans-serif, system-ui, sans-serif`;
  ctx.textAlign = "left";
  ctx.textBaseline = "middle";
  for (const [i, { name, colour }] of ends.entries()) {
    ctx.fillStyle = colourOf(colour);
    ctx.fillText(name, bbox.left + bbox.width + 6 * devicePixelRatio, places[i] ?? 0);
  }
  ctx.restore();
}

function line(ctx: CanvasRenderingContext2D, from: [number, number], to: [number, number]): void {
  ctx.beginPath();
  ctx.moveTo(...from);
  ctx.lineTo(...to);
  ctx.stroke();
}
