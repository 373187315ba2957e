// What the web pages are told: the types of /api/v1, shared with the browser code.

import type { Objectives } from "../observe/slo.ts";
import type { RolloutStatus } from "../rollout/document.ts";
import type { NoticeKind } from "../rollout/state.ts";
import type { BudgetReadings, VersionReadings, WebhookReadings } from "../serve/metric-readings.ts";
import type { Role } from "../serve/router.ts";
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

/** How the requests of one version have ended since the server started, by reason where they were not answered. */
export interface Outcomes {
  readonly good: number;
  /** The server or the model failed. */
  readonly failed: Readonly<Record<string, number>>;
  /** The server did not take them on: its queue was full, memory or time too short, the model not ready. */
  readonly refused: Readonly<Record<string, number>>;
  /** The client's own: requests that were wrong, and clients that went away. */
  readonly client: Readonly<Record<string, number>>;
}

/** One version, as it is now. */
export interface VersionStatus {
  readonly model: string;
  readonly version: number;
  readonly digest: string;
  /** `loading`, `ready`, `restarting` and so on; `failed` for one that did not load and is not served. */
  readonly state: string;
  /** Why it is not ready, or why its last load failed while the one before serves. */
  readonly reason: string | null;
  /** `pinned`: it is only asked by its number. */
  readonly role: Role;
  /** Of the requests that name no version, 0 to 1. */
  readonly share: number;
  readonly outcomes: Outcomes;
  readonly ratePerSecond: number;
  readonly latency: {
    readonly windowSeconds: number;
    readonly n: number;
    /** null: too few requests in the window to know. */
    readonly p50Ms: number | null;
    readonly p99Ms: number | null;
  };
  /** Runs of the model and their rows since the server started. */
  readonly batches: { readonly runs: number; readonly rows: number };
  /** Share of the last seconds in which the model computed, 0 to 1; null where nobody measures it. */
  readonly saturation: number | null;
  readonly readings: VersionReadings;
  /** Of the process that answers; null where there is none now. */
  readonly pid: number | null;
  /** Processes that were given up, by cause. */
  readonly restarts: Readonly<Record<string, number>>;
  /** Times that memory ran out, by how it showed. */
  readonly outOfMemory: Readonly<Record<string, number>>;
}

/** Who gets the requests of a model that name no version. */
export interface SplitStatus {
  readonly model: string;
  readonly stable: number;
  readonly candidate: number | null;
  /** Of the candidate, 0 to 1. */
  readonly share: number;
  readonly shadow: number | null;
  /** Set by hand: an alias that moves does not undo it. */
  readonly byHand: boolean;
  /** Who wrote it last. */
  readonly owner: "source" | "hand" | "rollout";
}

/** Everything that is served, as it is now. */
export interface ServingStatus {
  readonly server: { readonly ready: boolean; readonly draining: boolean };
  /** null where no budget is kept. */
  readonly budget: BudgetReadings | null;
  readonly models: readonly VersionStatus[];
  readonly splits: readonly SplitStatus[];
}

/** One event `stats` of the stream. */
export interface StatsEvent extends ServingStatus {
  readonly atMs: number;
  /** Those that are under way, and the last one of each model. */
  readonly rollouts: readonly RolloutStatus[];
  /** Who is told of events, and whether they take them. Left out where nobody is. */
  readonly webhooks?: readonly WebhookReadings[];
  /** Whether the history keeps it: a page that goes on with the history adds these alone. */
  readonly kept: boolean;
}

/** What an event tells of: what a look at the server finds, and what rollouts tell themselves. */
export type EventKind = ServingKind | NoticeKind;

/** What a look at the server finds. */
export type ServingKind =
  | "server"
  | "state"
  | "load"
  | "unload"
  | "restart"
  | "out-of-memory"
  | "split"
  | "refused";

/** Something that happened: an event `event` of the stream. */
export interface ServingEvent {
  /** Counts up from 1. */
  readonly id: number;
  readonly atMs: number;
  readonly kind: EventKind;
  /** null for what concerns the whole server. */
  readonly model: string | null;
  readonly version: number | null;
  readonly cause: string | null;
  /** A sentence without the names of the model and the version. */
  readonly text: string;
  /** Of one that a rollout tells: its id. */
  readonly rollout?: string;
  /** Of one that is told elsewhere too: the id that it has everywhere, and after a restart. */
  readonly eventId?: string;
  readonly nodePool?: string;
}

/** How one version has done, a point each few seconds, the oldest first. All lists are of one length. */
export interface HistorySeries {
  readonly model: string;
  readonly version: number;
  readonly atMs: readonly number[];
  readonly ratePerSecond: readonly number[];
  readonly p50Ms: readonly (number | null)[];
  readonly p99Ms: readonly (number | null)[];
  readonly queued: readonly number[];
  readonly saturation: readonly (number | null)[];
  /** Counts since the server started. */
  readonly good: readonly number[];
  readonly failed: readonly number[];
  readonly refused: readonly number[];
  readonly runs: readonly number[];
  readonly rows: readonly number[];
}

/** Objectives by model, `*` for those without their own; or why they cannot be read. */
export interface ObjectivesStatus {
  readonly models: Readonly<Record<string, Objectives>>;
  readonly fault: string | null;
}

/** Everything that the on-call page shows first. */
export interface OnCallDocument {
  readonly schema: "skipway.on-call/1";
  readonly version: string;
  readonly status: StatsEvent;
  readonly objectives: ObjectivesStatus;
  /** The newest last. */
  readonly events: readonly ServingEvent[];
  readonly history: {
    readonly stepMs: number;
    readonly pointsMax: number;
    readonly series: readonly HistorySeries[];
  };
}

/** A few digits to try, as the model takes them. */
export interface ExampleDigits {
  readonly digits: readonly { readonly label: number; readonly pixels: readonly number[] }[];
}
