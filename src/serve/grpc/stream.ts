// ModelStreamInfer as Triton has it: requests and answers on one stream, many on their way, answers in the order of
// the requests. A request that fails is told in the stream, which goes on.

import type { ServerDuplexStream } from "@grpc/grpc-js";
import { limits } from "../../base/limits.ts";
import { decodeInferRequest } from "../../wire/grpc-infer.ts";
import { encodeStreamAnswer, encodeStreamError } from "../../wire/grpc-response.ts";
import type { OipSource } from "../http/oip-source.ts";
import type { GrpcCall } from "./call.ts";
import { infer } from "./infer.ts";
import { ANSWERED, beginCall, outcomeOf, tellSent } from "./observed.ts";
import { statusOf } from "./status.ts";

/** The two directions of a stream, in bytes of messages. */
type Stream = ServerDuplexStream<Buffer, Buffer>;

/** One stream. */
export class InferStream {
  readonly #source: OipSource;
  readonly #stream: Stream;
  readonly #call: Omit<GrpcCall, "message">;
  /** Answers that come, in the order of their requests. */
  readonly #pending: Promise<Answer>[] = [];
  #flushing = false;
  #ended = false;
  /** undefined: OK. */
  #status: Error | undefined;

  constructor(source: OipSource, stream: Stream, call: Omit<GrpcCall, "message">) {
    this.#source = source;
    this.#stream = stream;
    this.#call = call;
    stream.on("data", (message: Buffer) => this.#take(message));
    stream.on("end", () => this.end());
  }

  /** Takes no more requests; what is under way is answered, then the stream ends with a status. */
  end(status?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#status = status;
    this.#stream.pause();
    void this.#flush();
  }

  #take(message: Buffer): void {
    if (this.#ended) return;
    this.#pending.push(this.#answer(message));
    if (this.#pending.length >= limits.streamRequestsMax) this.#stream.pause();
    void this.#flush();
  }

  /** An answer; never rejects. */
  async #answer(message: Buffer): Promise<Answer> {
    let request = { model: "", id: "" };
    const { observer } = this.#source;
    const { clock } = this.#call;
    const watch = observer && beginCall(observer, this.#stream.metadata, clock);
    const bytesIn = message.byteLength;
    try {
      const decoded = decodeInferRequest(message);
      request = decoded;
      const bytes = encodeStreamAnswer(await infer(this.#source, decoded, this.#call, watch));
      const sent = (): void => {
        if (watch !== undefined) tellSent(watch, clock);
        watch?.end({ ...ANSWERED, bytesIn, bytesOut: bytes.byteLength });
      };
      return { bytes, sent };
    } catch (error) {
      const bytes = encodeStreamError(statusOf(error).details, request);
      const outcome = outcomeOf(error, this.#call.signal);
      watch?.end({ ...outcome, bytesIn, bytesOut: bytes.byteLength });
      return { bytes, sent: () => undefined };
    }
  }

  async #flush(): Promise<void> {
    if (this.#flushing) return;
    this.#flushing = true;
    for (let next = this.#pending[0]; next !== undefined; next = this.#pending[0]) {
      const { bytes, sent } = await next;
      if (this.#stream.cancelled) {
        // What was answered is counted as such, though nobody reads it.
        for (const one of this.#pending) void one.then((answer) => answer.sent());
        return;
      }
      // A client that does not read its answers gets no further ones computed.
      if (!this.#stream.write(bytes)) await drained(this.#stream);
      sent();
      void this.#pending.shift();
      if (!this.#ended) this.#stream.resume();
    }
    this.#flushing = false;
    if (!this.#ended) return;
    if (this.#status === undefined) this.#stream.end();
    else this.#stream.emit("error", this.#status);
  }
}

/** A message, and what is to be told once it is written. */
interface Answer {
  readonly bytes: Buffer;
  readonly sent: () => void;
}

function drained(stream: Stream): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      for (const event of ["drain", "close"]) stream.off(event, done);
      resolve();
    };
    for (const event of ["drain", "close"]) stream.on(event, done);
  });
}
