// What the skips did: the loss of the network and of its plain twin, epoch by epoch.

import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { ModelCard, TrainingRecord, TwinRecord } from "../../src/dashboard/api.ts";
import { bytes, percent } from "./format.ts";
import { fetchTraining } from "./state.ts";

/** The training of a model and its twin. */
export function Training({ model }: { model: ModelCard }) {
  const [record, setRecord] = useState<TrainingRecord>();
  useEffect(() => {
    void fetchTraining(model.name, model.version).then(setRecord);
  }, [model.name, model.version]);
  if (record === undefined) return null;
  return (
    <section aria-labelledby="training-title">
      <h2 id="training-title">
        What the skips did <small>same layers, seed and data; one with skips, one without</small>
      </h2>
      <div class="legend">
        <span>
          <i />
          with skips
        </span>
        <span>
          <i class="plain" />
          without
        </span>
        <span>training loss (log scale) by epoch</span>
      </div>
      <Curves record={record} />
      <div class="wide">
        <table>
          <thead>
            <tr>
              <th scope="col" />
              <th scope="col">last loss</th>
              <th scope="col">holdout accuracy</th>
              <th scope="col">gradient first / last block</th>
              <th scope="col">images/s</th>
              <th scope="col">peak memory</th>
            </tr>
          </thead>
          <tbody>
            <Row name="with skips" twin={record.residual} />
            <Row name="without" twin={record.plain} />
          </tbody>
        </table>
      </div>
    </section>
  );
}

function Row({ name, twin }: { name: string; twin: TwinRecord }) {
  const { right, count } = twin.accuracy;
  return (
    <tr>
      <th scope="row">{name}</th>
      <td>{twin.losses.at(-1)?.toFixed(4)}</td>
      <td>
        {percent(right / count)} of {count}
      </td>
      <td>{twin.gradientRatio.toFixed(1)}</td>
      <td>{twin.imagesPerSecond.toFixed(0)}</td>
      <td>{bytes(twin.peakRssBytes)}</td>
    </tr>
  );
}

const HEIGHT = 220;

function Curves({ record }: { record: TrainingRecord }) {
  const holder = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = holder.current;
    if (element === null) return;
    const plot = new uPlot(optionsFor(element.clientWidth), dataOf(record), element);
    const resize = new ResizeObserver(() => {
      plot.setSize({ width: element.clientWidth, height: HEIGHT });
    });
    resize.observe(element);
    return () => {
      resize.disconnect();
      plot.destroy();
    };
  }, [record]);
  const last = (twin: TwinRecord) => twin.losses.at(-1)?.toFixed(4);
  const label = `Training loss by epoch: ends at ${last(record.residual)} with skips and at ${last(record.plain)} without`;
  return <div ref={holder} role="img" aria-label={label} />;
}

function dataOf(record: TrainingRecord): uPlot.AlignedData {
  const epochs = record.residual.losses.map((_, i) => i + 1);
  return [epochs, [...record.residual.losses], [...record.plain.losses]];
}

function optionsFor(width: number): uPlot.Options {
  const colour = (name: string): string =>
    getComputedStyle(document.documentElement).getPropertyValue(name);
  const axis: uPlot.Axis = {
    stroke: colour("--soft"),
    grid: { stroke: colour("--line"), width: 0.5 },
    ticks: { stroke: colour("--line") },
  };
  return {
    width,
    height: HEIGHT,
    cursor: { show: false },
    legend: { show: false },
    scales: { x: { time: false }, y: { distr: 3 } },
    axes: [
      { ...axis, incrs: [1, 2, 5, 10, 20, 50, 100] },
      { ...axis, size: 56 },
    ],
    series: [
      {},
      { stroke: colour("--blue"), width: 2.5 },
      { stroke: colour("--amber"), width: 2.5, dash: [8, 5] },
    ],
  };
}
