// The first step of the main job: the residual network and its plain twin, trained side by side, each in
// a process of its own, with their loss curves growing in the terminal.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { SkipwayError } from "../../base/errors.ts";
import { formatBytes, formatSeconds } from "../../base/format.ts";
import { tableLines } from "../../base/table.ts";
import type { TrainingRecord, TwinRecord } from "../../dashboard/api.ts";
import { makeDataFolder } from "../../registry/data-folder.ts";
import { digits } from "../../train/data.ts";
import type { TwinResult } from "../../train/starter.ts";
import type { StepProgress } from "../../train/train.ts";
import { trainInProcess } from "../../train/worker.ts";
import type { Io } from "../io.ts";
import { bar, LiveArea } from "../render/live.ts";
import { plotLines } from "../render/plot.ts";
import { styled } from "../render/style.ts";

/** What training gave. */
export interface TrainedTwins {
  readonly record: TrainingRecord;
  /** The residual model's file. */
  readonly file: Uint8Array;
  readonly dataDigest: string;
  readonly seconds: number;
}

/** Which twin. */
type Twin = "residual" | "plain";

const TWINS: readonly Twin[] = ["residual", "plain"];
const PLOT_HEIGHT = 10;

/**
 * Trains both twins. State is kept in `folder` after every epoch, so that an interrupted training goes
 * on with the next call.
 */
export async function trainTwins(
  io: Io,
  options: { folder: string; seed: number; epochs: number },
): Promise<TrainedTwins> {
  const { folder, seed, epochs } = options;
  await makeDataFolder(folder);
  const data = await digits();
  const view = new TwinView(io, epochs);
  // One twin that fails must not leave the other running.
  const together = new AbortController();
  const stop = (): void => together.abort();
  io.signal.addEventListener("abort", stop, { once: true });
  if (io.signal.aborted) stop();
  const run = async (twin: Twin): Promise<TwinResult> => {
    const file = (end: string): string => join(folder, `${twin}-${seed}.${end}`);
    return trainInProcess(
      {
        skips: twin === "residual",
        seed,
        epochs,
        checkpoint: file("safetensors"),
        out: file("onnx"),
      },
      { onStep: (progress) => view.step(twin, progress), signal: together.signal },
    );
  };
  try {
    const [residual, plain] = await Promise.all(
      TWINS.map((twin) =>
        run(twin).catch((error: unknown) => {
          stop();
          throw error;
        }),
      ),
    );
    if (residual === undefined || plain === undefined) throw new SkipwayError("internal", "twins");
    view.done(residual, plain);
    return {
      record: {
        schema: "skipway.training/1",
        epochs,
        seed,
        residual: recordOf(residual),
        plain: recordOf(plain),
      },
      file: await readFile(join(folder, `residual-${seed}.onnx`)),
      dataDigest: data.digest,
      seconds: Math.max(residual.seconds, plain.seconds),
    };
  } catch (error) {
    view.stopped();
    throw io.signal.aborted ? interrupted(view, epochs) : error;
  } finally {
    io.signal.removeEventListener("abort", stop);
  }
}

function recordOf(result: TwinResult): TwinRecord {
  const { resumedEpochs: _resumed, ...record } = result;
  return record;
}

function interrupted(view: TwinView, epochs: number): SkipwayError {
  const done = Math.min(...TWINS.map((twin) => view.epochsDone(twin)));
  const kept =
    done === 0
      ? "nothing is kept yet, the next start begins anew"
      : `the state after epoch ${done} of ${epochs} is kept, the next start goes on from there`;
  return new SkipwayError("interrupted", `training interrupted: ${kept}`);
}

/** The part of the terminal that shows a training. */
class TwinView {
  readonly #io: Io;
  readonly #epochs: number;
  readonly #area: LiveArea;
  readonly #losses: Record<Twin, number[]> = { residual: [], plain: [] };
  readonly #last: Partial<Record<Twin, StepProgress>> = {};
  #printedEpoch = 0;

  constructor(io: Io, epochs: number) {
    this.#io = io;
    this.#epochs = epochs;
    this.#area = new LiveArea(io);
    io.err(
      `${styled("bold", "Train", io.color)}  32 layers on 1,437 digits: with skips, and without\n`,
    );
  }

  step(twin: Twin, progress: StepProgress): void {
    this.#last[twin] = progress;
    // A running mean over about ten steps: what the eye wants of a noisy loss.
    const before = this.#losses[twin].findLast(Number.isFinite) ?? progress.loss;
    this.#losses[twin][progress.step - 1] = 0.9 * before + 0.1 * progress.loss;
    if (this.#io.live) this.#area.set(this.#lines());
    else this.#printEpochs();
  }

  epochsDone(twin: Twin): number {
    const last = this.#last[twin];
    if (last === undefined) return 0;
    return Math.floor((last.step * this.#epochs) / last.steps);
  }

  stopped(): void {
    this.#area.done();
  }

  done(residual: TwinResult, plain: TwinResult): void {
    this.#area.done();
    const row = (name: string, twin: TwinResult): string[] => [
      name,
      (twin.losses.at(-1) ?? Number.NaN).toFixed(4),
      `${((100 * twin.accuracy.right) / twin.accuracy.count).toFixed(1)} %`,
      twin.gradientRatio.toFixed(1),
      twin.imagesPerSecond.toFixed(0),
      formatBytes(twin.peakRssBytes),
      formatSeconds(twin.seconds),
    ];
    const columns = [
      { title: "twin" },
      { title: "loss", align: "right" },
      { title: `right of ${residual.accuracy.count}`, align: "right" },
      { title: "gradient first/last", align: "right" },
      { title: "images/s", align: "right" },
      { title: "peak memory", align: "right" },
      { title: "time", align: "right" },
    ] as const;
    const rows = [row("with skips", residual), row("without", plain)];
    for (const line of tableLines(columns, rows, this.#io.columns)) this.#io.err(`  ${line}\n`);
  }

  #printEpochs(): void {
    const epoch = Math.min(...TWINS.map((twin) => this.epochsDone(twin)));
    if (epoch <= this.#printedEpoch) return;
    this.#printedEpoch = epoch;
    const loss = (twin: Twin): string =>
      (this.#losses[twin].findLast(Number.isFinite) ?? Number.NaN).toFixed(4);
    this.#io.err(
      `  epoch ${epoch}/${this.#epochs}  loss with skips ${loss("residual")}  without ${loss("plain")}\n`,
    );
  }

  #lines(): string[] {
    const { residual, plain } = this.#last;
    const latest = residual ?? plain;
    if (latest === undefined) return [];
    const done = ((residual?.step ?? 0) + (plain?.step ?? 0)) / (2 * latest.steps);
    const width = Math.min(this.#io.columns - 2, 96);
    const paint = (text: string, curve: number): string =>
      styled(curve === 0 ? "blue" : "yellow", text, this.#io.color);
    const plot = plotLines(
      [
        { name: "with skips", values: this.#losses.residual, heavy: true },
        { name: "without", values: this.#losses.plain },
      ],
      { width, height: PLOT_HEIGHT, points: latest.steps, low: 0.005, high: 3 },
      paint,
    );
    const rate = (residual?.imagesPerSecond ?? 0) + (plain?.imagesPerSecond ?? 0);
    const batch = (1437 * this.#epochs) / latest.steps;
    const left = rate > 0 ? ((1 - done) * 2 * latest.steps * batch) / rate : Number.NaN;
    const shown = (twin: Twin): string =>
      (this.#losses[twin].findLast(Number.isFinite) ?? Number.NaN).toFixed(3);
    return [
      ...plot,
      `  loss (log)   ${paint("━", 0)} with skips ${shown("residual")}   ${paint("╌", 1)} without ${shown("plain")}`,
      `  ${bar(done, 30)} epoch ${latest.epoch + 1}/${this.#epochs}  ${rate.toFixed(0)} images/s  ${formatSeconds(Math.max(0, left))} left`,
    ];
  }
}
