// What the web pages are told: the types of /api/v1, shared with the browser code.

import type { ModelStats } from "../serve/version-host.ts";
import type { TensorMetadata } from "../wire/metadata.ts";

/** Everything that the home page shows before the first live numbers. */
export interface Overview {
  readonly server: { readonly version: string; readonly startedMs: number };
  readonly models: readonly ModelCard[];
}

/** One served version. */
export interface ModelCard {
  readonly name: string;
  readonly version: number;
  readonly digest: string;
  readonly aliases: readonly string[];
  readonly bytes: number;
  readonly createdMs: number;
  readonly metrics: Readonly<Record<string, number>>;
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
  readonly skips: number;
  readonly check: readonly {
    readonly id: string;
    readonly passed: boolean;
    readonly text: string;
  }[];
  /** Whether /training has curves. */
  readonly trained: boolean;
  /** Whether the page may offer to draw a digit. */
  readonly digits: boolean;
}

/** How one twin was trained. */
export interface TwinRecord {
  /** Mean loss of each epoch. */
  readonly losses: readonly number[];
  readonly accuracy: { readonly right: number; readonly count: number };
  readonly gradientRatio: number;
  readonly gradientNorms: readonly { readonly block: string; readonly norm: number }[];
  readonly imagesPerSecond: number;
  readonly seconds: number;
  readonly peakRssBytes: number;
}

/** The lesson of the starter model: with skips and without. */
export interface TrainingRecord {
  readonly schema: "skipway.training/1";
  readonly epochs: number;
  readonly seed: number;
  readonly residual: TwinRecord;
  readonly plain: TwinRecord;
}

/** One event `stats` of the stream. */
export interface StatsEvent {
  readonly atMs: number;
  readonly models: readonly ModelStats[];
}

/** A few digits to try, as the model takes them. */
export interface ExampleDigits {
  readonly digits: readonly { readonly label: number; readonly pixels: readonly number[] }[];
}
