// How the engine of a version is set up, and what it keeps of requests and batches that are under way.

import type { Clock } from "../base/clock.ts";
import type { ValueType } from "../graph/graph.ts";
import type { ChildSession } from "../runtime/child-process.ts";
import type {
  BatcherAction,
  BatcherEvent,
  BatcherLoad,
  BatchRequest,
  Surroundings,
} from "./batcher/types.ts";
import type { Counters } from "./counters.ts";
import type { EngineMemory } from "./engine-memory.ts";
import type { RequestError } from "./errors.ts";
import type { Gates } from "./gates.ts";
import type { HeldBytes } from "./held-bytes.ts";
import type { HostReport } from "./hosting.ts";
import type { BatchOf, InferenceAnswer, InferenceCall } from "./inference.ts";
import type { VersionMetrics } from "./metrics.ts";
import type { Question } from "./question.ts";

/** What decides which requests run together and when. */
export interface Decider {
  step(event: BatcherEvent, around: Surroundings): readonly BatcherAction[];
  load(nowMs: number): BatcherLoad;
}

/** The model behind an engine, as its process tells it. */
export interface EngineModel {
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
  /** Whether requests are put together along axis 0. */
  readonly batched: boolean;
  /** Outputs that say which blocks were run; left out where there are none. */
  readonly gates?: Gates | undefined;
}

/** How an engine is set up. */
export interface EngineOptions {
  readonly version: number;
  readonly clock: Clock;
  readonly decider: Decider;
  readonly counters: Counters;
  readonly memory?: EngineMemory | undefined;
  /** Bytes of requests of all models are counted here; what is too much is refused. */
  readonly held?: HeldBytes | undefined;
  /** Counts the batches; asked anew each time, as what the version is to the traffic changes. */
  readonly metrics?: (() => VersionMetrics) | undefined;
  /** Told of each batch of requests. */
  readonly report?: HostReport | undefined;
  /** How long requests wait where no process is there to take them. */
  readonly patienceMs?: number;
}

/** A request that has no answer yet. */
export interface Pending {
  readonly request: BatchRequest;
  readonly call: InferenceCall;
  readonly question: Question;
  startedMs: number;
  resolve(answer: InferenceAnswer): void;
  reject(error: RequestError): void;
}

/** How long a request waited that leaves without an answer: until it ran, or until now. */
export function tellWait(
  { request: { arrivedMs }, startedMs, call }: Pending,
  nowMs: number,
): void {
  call.observe?.phase("queue", arrivedMs, startedMs > arrivedMs ? startedMs : nowMs);
}

/** A batch that a process has. */
export interface Running {
  readonly batch: number;
  /** Unique among the batches of the version; `batch` is so among those of its batcher. */
  readonly number: number;
  readonly bucket: string;
  readonly slot: string;
  readonly members: readonly Pending[];
  readonly rows: number;
  readonly sentMs: number;
  readonly expectedMs: number;
  /** That it was admitted with, beyond the loaded process. */
  readonly bytes: number | undefined;
}

/** Whether only the server itself asked: no traffic. */
export function isOwn({ members }: Running): boolean {
  return members.every((one) => one.call.internal === true);
}

/** What those who are in it are told of it. */
export function batchOf(
  { members, number, rows }: Running,
  pending: ReadonlyMap<number, Pending>,
): BatchOf {
  const told = members.filter(
    ({ call, request }) =>
      call.internal !== true && call.background !== true && pending.has(request.id),
  );
  return { batch: number, batchRows: rows, batchRequests: told.length };
}

/** A process that takes batches. */
export interface Slot {
  readonly session: ChildSession;
  /** When its last answer came: a run that waited behind another began then. */
  freeMs: number;
}
