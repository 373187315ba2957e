// The versions as rows: one line each, everything that one looks for first.

import { useLayoutEffect, useRef } from "preact/hooks";
import type { HistorySeries } from "../../../src/dashboard/api.ts";
import { Chart } from "./chart.tsx";
import { lastMs, windowStart } from "./history.ts";
import type { Mark } from "./kinds.ts";
import type { Cell, Memory, Row } from "./rows.ts";
import type { Minutes } from "./url.ts";

/** What the table is given. */
export interface TableProps {
  readonly rows: readonly Row[];
  readonly selected: string | undefined;
  readonly minutes: Minutes;
  readonly atMs: number;
  seriesOf(key: string): HistorySeries | undefined;
  marksOf(row: Row): readonly Mark[];
  select(key: string): void;
}

/** All rows. */
export function Table(props: TableProps) {
  const { rows, minutes } = props;
  return (
    <div class="wide">
      {/* biome-ignore lint/a11y/noNoninteractiveElementToInteractiveRole: rows can be selected, which is what a grid is for */}
      <table class="versions" role="grid" aria-label="Versions">
        <thead>
          <tr>
            <th scope="col">version</th>
            <th scope="col">traffic</th>
            <th scope="col" class="number">
              rate
            </th>
            <th scope="col" class="number">
              P50
            </th>
            <th scope="col" class="number">
              P99
            </th>
            <th scope="col">P50, P99, {minutes} min</th>
            <th scope="col" class="number">
              good / failed
            </th>
            <th scope="col" class="number">
              refused
            </th>
            <th scope="col" class="number">
              waiting
            </th>
            <th scope="col" class="number">
              batch
            </th>
            <th scope="col" class="number">
              busy
            </th>
            <th scope="col">memory</th>
            <th scope="col" class="number">
              restarts
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <VersionRow key={row.key} row={row} {...props} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function VersionRow({ row, selected, select, ...rest }: TableProps & { row: Row }) {
  const element = useRef<HTMLTableRowElement>(null);
  const chosen = row.key === selected;
  useFocus(element, chosen);
  const { status } = row;
  return (
    <tr
      ref={element}
      tabIndex={chosen ? 0 : -1}
      aria-selected={chosen}
      onClick={() => select(row.key)}
      onFocus={() => !chosen && select(row.key)}
    >
      <th scope="row">
        <b>
          <bdi>{status.model}</bdi>
        </b>{" "}
        {status.version}
        <span class={`state ${row.state.tone}`}>
          <span aria-hidden="true">{row.state.sign}</span> {status.state}
        </span>
        {status.reason !== null && (
          <small class="line">
            <bdi>{status.reason}</bdi>
          </small>
        )}
      </th>
      <td>
        {row.traffic.role}
        <small class="line">{row.traffic.share}</small>
      </td>
      <td class="number">{row.rate}</td>
      <Value cell={row.p50} />
      <Value cell={row.p99} />
      <td>
        <Spark row={row} {...rest} />
      </td>
      <Value cell={row.outcome} />
      <Value cell={row.refused} />
      <Value cell={row.queue} />
      <td class="number">{row.batch}</td>
      <td class="number">{row.saturation}</td>
      <td>
        <MemoryBar memory={row.memory} />
      </td>
      <Value cell={row.restarts} />
    </tr>
  );
}

/** Who moves the selection by key finds the focus there. Not at the start: the page has it. */
function useFocus(
  element: { readonly current: HTMLTableRowElement | null },
  chosen: boolean,
): void {
  const first = useRef(true);
  useLayoutEffect(() => {
    if (chosen && !first.current) element.current?.focus({ preventScroll: false });
    first.current = false;
  }, [chosen, element]);
}

function Value({ cell }: { cell: Cell }) {
  return (
    <td class={`number ${cell.over ? "over" : ""}`}>
      {cell.text}
      {cell.note !== "" && <small class="line">{cell.note}</small>}
    </td>
  );
}

type SparkProps = Pick<TableProps, "minutes" | "atMs" | "seriesOf" | "marksOf"> & { row: Row };

function Spark({ row, minutes, seriesOf, marksOf }: SparkProps) {
  const series = seriesOf(row.key);
  const marks = marksOf(row);
  const toMs = lastMs(series, marks);
  const start = series === undefined ? 0 : windowStart(series.atMs, toMs, minutes);
  const objective = row.objectiveMs;
  return (
    <Chart
      small
      height={34}
      label={`P50 and P99 of ${row.status.model} version ${row.status.version} over ${minutes} minutes; now P99 ${row.p99.text}, ${row.p99.note}`}
      atMs={series?.atMs.slice(start) ?? []}
      lines={[
        { name: "P50", colour: "--soft", values: series?.p50Ms.slice(start) ?? [] },
        { name: "P99", colour: "--blue", values: series?.p99Ms.slice(start) ?? [] },
      ]}
      fromMs={toMs - minutes * 60_000}
      toMs={toMs}
      objective={objective}
      marks={marks}
    />
  );
}

/** Resident, peak and predicted bytes on one scale: the budget, or without one the largest of them. */
export function MemoryBar({ memory }: { memory: Memory }) {
  const percent = (share: number): string => `${(100 * share).toFixed(1)}%`;
  return (
    <div class="memory">
      {memory.text} <small>{memory.note}</small>
      <span class="track" aria-hidden="true">
        <span class="peak" style={{ width: percent(memory.peak) }} />
        <span class="fill" style={{ width: percent(memory.resident) }} />
        {memory.predicted !== undefined && (
          <span class="predicted" style={{ left: percent(memory.predicted) }} />
        )}
      </span>
    </div>
  );
}
