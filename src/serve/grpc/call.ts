// A call as the methods see it, whatever the library that received it.

import { randomUUID } from "node:crypto";
import type { Metadata } from "@grpc/grpc-js";
import type { Clock } from "../../base/clock.ts";
import { Ending, type EndSignal } from "../end-signal.ts";
import type { RequestWatch } from "../tracing.ts";

/** One request of a client. */
export interface GrpcCall {
  readonly message: Uint8Array;
  /** Chosen by the client (`x-request-id`), or by us. */
  readonly requestId: string;
  /** Of the server. */
  readonly clock: Clock;
  /** When it came, in monotonic milliseconds of the server's clock. */
  readonly arrivedMs: number;
  /** When the client stops waiting, in monotonic milliseconds of the server's clock. */
  readonly deadlineMs: number | undefined;
  /** The client's metadata of a name, such as `traceparent`; the first value of several. */
  header(name: string): string | undefined;
  /** Aborted when the client goes away, or its deadline has passed. */
  readonly signal: EndSignal;
  /** Of an inference in a single call. */
  readonly watch: RequestWatch | undefined;
}

/** Answers a call with the bytes of a message. @throws RequestError */
export type UnaryMethod = (call: GrpcCall) => Buffer | Promise<Buffer>;

/** What the library gives of a call, of one message or a stream. */
export interface ReceivedCall {
  readonly metadata: Metadata;
  getDeadline(): Date | number;
  once(event: "cancelled", listener: () => void): unknown;
}

/** Characters of a request id that go into logs. */
const REQUEST_ID_MAX = 128;

/** What a method sees of a call beside its message; what few ask for is made when it is asked for. */
export class CallContext implements Omit<GrpcCall, "message"> {
  readonly clock: Clock;
  readonly arrivedMs: number;
  readonly deadlineMs: number | undefined;
  readonly watch: RequestWatch | undefined;
  readonly #call: ReceivedCall;
  #requestId: string | undefined;
  #signal: EndSignal | undefined;

  constructor(call: ReceivedCall, clock: Clock, watch?: RequestWatch) {
    this.#call = call;
    this.watch = watch;
    this.clock = clock;
    this.arrivedMs = clock.monotonicMs();
    const deadline = Number(call.getDeadline());
    this.deadlineMs = Number.isFinite(deadline)
      ? this.arrivedMs + deadline - clock.nowMs()
      : undefined;
  }

  get requestId(): string {
    this.#requestId ??= this.watch?.requestId ?? requestIdOf(this.#call.metadata);
    return this.#requestId;
  }

  get signal(): EndSignal {
    if (this.#signal === undefined) {
      const ended = new Ending();
      this.#call.once("cancelled", () => ended.abort());
      this.#signal = ended;
    }
    return this.#signal;
  }

  header(name: string): string | undefined {
    return headerOf(this.#call.metadata, name);
  }
}

/** What a request is called: by its client, or by us. */
export function requestIdOf(metadata: Metadata | undefined): string {
  const given = metadata && headerOf(metadata, "x-request-id");
  return given?.slice(0, REQUEST_ID_MAX) ?? randomUUID();
}

/** The first value of a name in metadata; undefined for binary ones. */
export function headerOf(metadata: Metadata, name: string): string | undefined {
  const [value] = metadata.get(name);
  return typeof value === "string" ? value : undefined;
}
