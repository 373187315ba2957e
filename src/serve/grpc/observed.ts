// Observation of the inference calls of gRPC: each is begun with its metadata and ended with its status, or with its
// connection, so that what the guard or the library refuses before any method sees it is counted too.

import type { Metadata, ServerInterceptingCallInterface } from "@grpc/grpc-js";
import type { Clock } from "../../base/clock.ts";
import { MalformedMessage } from "../../wire/grpc-reader.ts";
import type { EndSignal } from "../end-signal.ts";
import { CLIENT_CLOSED, requestErrorOf } from "../errors.ts";
import type { RequestObserver, RequestWatch } from "../tracing.ts";
import { headerOf, requestIdOf } from "./call.ts";
import { INFER_PATH, STREAM_PATH } from "./methods.ts";
import { CODE } from "./status.ts";

/** How a request ended: the status of HTTP that stands for it, and why, unless the model answered. */
interface Outcome {
  readonly status: number;
  readonly reason: string | undefined;
}

/** The model answered. */
export const ANSWERED: Outcome = { status: 200, reason: undefined };
const CANCELED: Outcome = { status: CLIENT_CLOSED, reason: "canceled" };

/** Statuses with which the library itself ends a call: too late, too large, not to be unpacked, no one message. */
const BY_LIBRARY: Readonly<Record<number, Outcome>> = {
  [CODE.CANCELLED]: CANCELED,
  [CODE.DEADLINE_EXCEEDED]: { status: 504, reason: "deadline" },
  [CODE.RESOURCE_EXHAUSTED]: { status: 413, reason: "invalid" },
  [CODE.UNIMPLEMENTED]: { status: 415, reason: "invalid" },
  [CODE.INTERNAL]: { status: 400, reason: "invalid" },
};
/** With these the library ends a stream because of a request that nobody has read; all others are told one by one. */
const UNREAD: ReadonlySet<number> = new Set([
  ...[CODE.RESOURCE_EXHAUSTED, CODE.UNIMPLEMENTED, CODE.INTERNAL],
]);

/** What an error means for the counts. */
export function outcomeOf(error: unknown, signal?: EndSignal): Outcome {
  if (error instanceof MalformedMessage) return { status: 400, reason: "invalid" };
  const { status, reason } = requestErrorOf(error, signal);
  return { status, reason: status === 404 ? "not-found" : reason };
}

/** Begins the observation of a request that comes with this metadata. */
export function beginCall(
  observer: RequestObserver,
  metadata: Metadata | undefined,
  clock: Clock,
): RequestWatch {
  const header = (name: string) => metadata && headerOf(metadata, name);
  const watch = observer.begin({
    protocol: "grpc",
    requestId: requestIdOf(metadata),
    traceparent: header("traceparent"),
    tracestate: header("tracestate"),
    model: "",
    startMs: clock.monotonicMs(),
  });
  watch.tenant = metadata && tenants.get(metadata);
  return watch;
}

/** An answer is on its way to its client: the end of its last phase. */
export function tellSent(watch: RequestWatch, clock: Clock): void {
  const from = watch.endOf("split") ?? watch.endOf("infer");
  if (from !== undefined) watch.phase("send", from, clock.monotonicMs());
}

/** Under which names calls were let in, by their metadata. */
const tenants = new WeakMap<Metadata, string>();

/** Observations of single calls, by the metadata that their methods are given. */
const calls = new WeakMap<Metadata, ObservedCall>();

/** The observation of a call; undefined for what is no single inference. */
export function observedCall(metadata: Metadata): ObservedCall | undefined {
  return calls.get(metadata);
}

/** One call of ModelInfer, or one of ModelStreamInfer, whose requests are observed on their own. */
export class ObservedCall {
  readonly #observer: RequestObserver;
  readonly #streams: boolean;
  readonly #clock: Clock;
  #watch: RequestWatch | undefined;
  #metadata: Metadata | undefined;
  #outcome: Outcome | undefined;
  #bytesIn = 0;
  #bytesOut = 0;

  constructor(observer: RequestObserver, path: string, clock: Clock) {
    this.#observer = observer;
    this.#streams = path === STREAM_PATH;
    this.#clock = clock;
  }

  /** undefined for the call of a stream. */
  get watch(): RequestWatch | undefined {
    return this.#watch;
  }

  /** It has come. */
  begin(metadata: Metadata): void {
    this.#metadata = metadata;
    if (this.#streams) return;
    this.#watch = beginCall(this.#observer, metadata, this.#clock);
    calls.set(metadata, this);
  }

  /** Under which name it was let in: of a stream that of all its requests. */
  admitted(metadata: Metadata, actor: string): void {
    tenants.set(metadata, actor);
    if (this.#watch !== undefined) this.#watch.tenant = actor;
  }

  received(bytes: number): void {
    this.#bytesIn += bytes;
  }

  sent(bytes: number): void {
    this.#bytesOut += bytes;
  }

  /** The trace and this server's span in it, for the answer. */
  tag(metadata: Metadata): void {
    if (this.#watch === undefined) return;
    metadata.set("traceparent", this.#watch.traceparent);
    const { state } = this.#watch.context;
    if (state !== undefined) metadata.set("tracestate", state);
  }

  /** The first that is told counts: what follows is what became of it. */
  failed(error: unknown, signal?: EndSignal): void {
    this.#outcome ??= outcomeOf(error, signal);
  }

  /** A status goes out; where nothing failed before, the library has found a fault itself. */
  ended(code: number): void {
    if (this.#streams && !UNREAD.has(code)) return;
    this.#outcome ??=
      code === 0 ? ANSWERED : (BY_LIBRARY[code] ?? { status: 500, reason: "runtime" });
  }

  /** Nothing more goes either way. */
  closed(): void {
    const outcome = this.#outcome ?? (this.#streams ? undefined : CANCELED);
    if (outcome === undefined) return;
    const watch = this.#watch ?? beginCall(this.#observer, this.#metadata, this.#clock);
    if (outcome === ANSWERED) tellSent(watch, this.#clock);
    const { status, reason } = outcome;
    watch.end({ status, reason, bytesIn: this.#bytesIn, bytesOut: this.#bytesOut });
  }
}

/**
 * Observes a call if it is an inference. The statuses of the library's own refusals pass no interceptor: they are heard
 * where they leave.
 */
export function observe(
  observer: RequestObserver | undefined,
  path: string,
  call: ServerInterceptingCallInterface,
  clock: Clock,
): ObservedCall | undefined {
  if (observer === undefined || (path !== INFER_PATH && path !== STREAM_PATH)) return undefined;
  const observed = new ObservedCall(observer, path, clock);
  const send = call.sendStatus.bind(call);
  call.sendStatus = (status) => {
    observed.ended(status.code);
    send(status);
  };
  return observed;
}
