// The selected version: how it did, what it is made of, and what one can do about it.

import type { ComponentChildren } from "preact";
import type { HistorySeries, ObjectivesStatus, SplitStatus } from "../../../src/dashboard/api.ts";
import { bytes, milliseconds } from "../format.ts";
import { Chart, type ChartProps } from "./chart.tsx";
import { lastMs, windowStart } from "./history.ts";
import { LETTERS, type Mark } from "./kinds.ts";
import { listOf, promisesOf, promiseText, type Row, shareText } from "./rows.ts";
import type { Minutes } from "./url.ts";

/** What the details are given. */
export interface DetailsProps {
  readonly row: Row;
  readonly series: HistorySeries | undefined;
  readonly marks: readonly Mark[];
  readonly minutes: Minutes;
  readonly objectives: ObjectivesStatus;
  readonly split: SplitStatus | undefined;
  reload(): void;
  drain(): void;
  setSplit(): void;
}

/** One version. */
export function Details(props: DetailsProps) {
  const { row, reload, drain, setSplit } = props;
  const { model, version } = row.status;
  return (
    <section aria-labelledby="details-title" class="details">
      <h2 id="details-title">
        <bdi>{model}</bdi> version {version}
        <span class="acts">
          <button type="button" onClick={reload}>
            Reload <kbd>r</kbd>
          </button>
          <button type="button" onClick={drain}>
            Drain <kbd>d</kbd>
          </button>
          <button type="button" onClick={setSplit}>
            Split <kbd>s</kbd>
          </button>
        </span>
      </h2>
      <Charts {...props} />
      <Facts {...props} />
    </section>
  );
}

function Charts({ row, series, marks, minutes }: DetailsProps) {
  const toMs = lastMs(series, marks);
  const start = series === undefined ? 0 : windowStart(series.atMs, toMs, minutes);
  const common = {
    atMs: series?.atMs.slice(start) ?? [],
    fromMs: toMs - minutes * 60_000,
    toMs,
    marks,
    height: 130,
  };
  const values = (column: "p50Ms" | "p99Ms" | "ratePerSecond" | "queued" | "saturation") =>
    series?.[column].slice(start) ?? [];
  const { objectiveMs } = row;
  return (
    <>
      <div class="charts">
        <Panel
          {...common}
          title="latency"
          label={`Latency: P50 ${row.p50.text}, P99 ${row.p99.text}, ${row.p99.note}`}
          lines={[
            { name: "P50", colour: "--soft", values: values("p50Ms") },
            { name: "P99", colour: "--blue", values: values("p99Ms") },
          ]}
          objective={objectiveMs}
          format={milliseconds}
        >
          <i class="p50" /> P50 <i /> P99{" "}
          {objectiveMs === undefined ? (
            "no objective"
          ) : (
            <>
              <i class="plain" /> objective {promiseText(objectiveMs)}
            </>
          )}
        </Panel>
        <Panel
          {...common}
          title="answered"
          label={`Answered requests each second: ${row.rate}`}
          lines={[{ name: "rate", colour: "--blue", values: values("ratePerSecond") }]}
          format={(value) => `${Number(value.toPrecision(3))}/s`}
          least={0.1}
        >
          a second, over 60 s
        </Panel>
        <Panel
          {...common}
          title="waiting"
          label={`Requests waiting: ${row.queue.text}`}
          lines={[{ name: "waiting", colour: "--blue", values: values("queued") }]}
          format={(value) => String(Number(value.toPrecision(3)))}
          least={4}
        >
          requests
        </Panel>
        <Panel
          {...common}
          title="busy"
          label={`Share of time in which the model computed: ${row.saturation}`}
          lines={[{ name: "busy", colour: "--blue", values: values("saturation") }]}
          format={shareText}
          least={0.87}
        >
          share of the last 15 s
        </Panel>
      </div>
      <p class="note">
        Dotted: {LETTERS.map(([letter, text]) => `${letter} ${text}`).join(", ")}. Where a line
        ends, too few requests came to know.
      </p>
    </>
  );
}

function Panel({
  title,
  children,
  ...chart
}: ChartProps & { title: string; children: ComponentChildren }) {
  return (
    <figure>
      <figcaption>
        <b>{title}</b> <span class="legend">{children}</span>
      </figcaption>
      <Chart {...chart} />
    </figure>
  );
}

function Facts({ row, objectives, split }: DetailsProps) {
  const { status } = row;
  const { outcomes, readings } = status;
  const promised = promisesOf(objectives, status.model);
  const others = promised.latency.filter(({ p }) => p !== 0.99 && p !== 0.5);
  const { queue } = readings;
  return (
    <dl class="known">
      <Fact name="file">
        <code title={status.digest}>{status.digest.slice(7, 19) || "–"}</code>
      </Fact>
      <Fact name="failed">{listOf(outcomes.failed) || "none"}</Fact>
      <Fact name="refused">{listOf(outcomes.refused) || "none"}</Fact>
      <Fact name="clients' own">{listOf(outcomes.client) || "none"}</Fact>
      <Fact name="restarts">{listOf(status.restarts) || "none"}</Fact>
      <Fact name="out of memory">{listOf(status.outOfMemory) || "none"}</Fact>
      <Fact name="waiting">
        {queue.requests} requests, {queue.rows} rows, {bytes(queue.bytes)}; {readings.inFlight} run
      </Fact>
      {readings.processes.map((one) => (
        <Fact name={`process, ${one.slot}`} key={one.slot}>
          {bytes(one.residentBytes)}, peak {bytes(one.peakResidentBytes)}
          {one.predictedBytes !== undefined && `, predicted ${bytes(one.predictedBytes)}`}
        </Fact>
      ))}
      {split !== undefined && <Fact name="split">{splitText(split)}</Fact>}
      {others.length > 0 && (
        <Fact name="also promised, not measured live">
          {others
            .map(({ p, ms }) => `P${Number((100 * p).toFixed(4))} ≤ ${promiseText(ms)}`)
            .join(", ")}
        </Fact>
      )}
    </dl>
  );
}

const OWNERS = { source: "", hand: ", set by hand", rollout: ", set by a rollout" } as const;

function splitText({ stable, candidate, share, shadow, owner }: SplitStatus): string {
  const parts = [`${shareText(1 - share)} version ${stable}`];
  if (candidate !== null) parts.push(`${shareText(share)} version ${candidate}`);
  if (shadow !== null) parts.push(`copies to version ${shadow}`);
  return `${parts.join(", ")}${OWNERS[owner]}`;
}

function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
