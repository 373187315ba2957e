// Reading the bodies of requests. Each is bounded, compressed or not, and so are all that are on their way
// together: many clients that send large bodies slowly would take the server's memory.

import type { IncomingHttpHeaders } from "node:http";
import type { Readable, Transform } from "node:stream";
import { createGunzip, createInflate } from "node:zlib";
import { limits } from "../../base/limits.ts";
import { RequestError } from "../errors.ts";
import { HeldBytes } from "../held-bytes.ts";

/** What of the headers says how a body comes. */
export type BodyHeaders = Pick<
  IncomingHttpHeaders,
  "content-length" | "content-encoding" | "transfer-encoding"
>;

/** Small chunks are put together in groups: one object of Node for each would take far more than its bytes. */
const GROUP = 256;
const INFLATE_CHUNK_BYTES = 65_536;

/** Reads bodies, and counts the bytes of those that are not whole yet. */
export class BodyReader {
  readonly #held: HeldBytes;
  /** Bodies that are not whole, the oldest first. */
  readonly #arriving = new Set<Arrival>();

  constructor(held: HeldBytes = new HeldBytes()) {
    this.#held = held;
  }

  /**
   * The bytes of a body, unfolded if it is compressed.
   *
   * @param received is told of what comes, as it was sent.
   * @throws RequestError 413 for one that is too large or unfolds to too much, 415 for an encoding that is not
   * known, 400 for one that is broken, 503 where too many are on their way.
   */
  read(
    body: Readable,
    headers: BodyHeaders = {},
    received: (bytes: number) => void = () => undefined,
  ): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const done = (error: Error | null, bytes?: Buffer): void => {
        if (bytes === undefined) reject(error);
        else resolve(bytes);
      };
      this.take(body, headers, { received, done });
    });
  }

  /** The same for a caller who waits without a promise; `done` is called once. */
  take(
    body: Readable,
    headers: BodyHeaders,
    { received, done }: Pick<ArrivalOptions, "received"> & { readonly done: Taken },
  ): void {
    const declared = Number(headers["content-length"] ?? 0);
    const encoding = encodingOf(headers["content-encoding"]);
    const refusal =
      encoding instanceof RequestError
        ? encoding
        : (sizeRefusal(declared, this.#held.bodyMax) ?? this.#held.bodyRefusal());
    if (refusal !== undefined || encoding instanceof RequestError) {
      body.resume();
      done(refusal ?? broken());
      return;
    }
    const chunked = headers["transfer-encoding"] !== undefined;
    const arrival = new Arrival({
      body,
      inflate: encoding === "gzip" ? createGunzip(OPTIONS) : encoding && createInflate(OPTIONS),
      received,
      chunksMax: chunked ? limits.bodyChunksMax : Number.POSITIVE_INFINITY,
      bytesMax: this.#held.bodyMax,
      hold: (bytes) => {
        this.#held.add(bytes);
        return bytes > 0 ? this.#roomFor(arrival) : undefined;
      },
      settle: (result) => {
        this.#arriving.delete(arrival);
        if (result instanceof Error) done(result);
        else done(null, result);
      },
    });
    this.#arriving.add(arrival);
    arrival.begin();
  }

  /**
   * Why a body may not grow; undefined where it may. Those that began last give way: a large body needs room for
   * longer than small ones, which would always be there before it.
   */
  #roomFor(arrival: Arrival): RequestError | undefined {
    for (;;) {
      const refusal = this.#held.bodyRefusal();
      const youngest = [...this.#arriving].at(-1);
      if (refusal === undefined || youngest === undefined || youngest === arrival) return refusal;
      youngest.end(refusal);
    }
  }
}

/** Is told the bytes of a body, or why there are none. */
type Taken = (error: Error | null, bytes?: Buffer) => void;

const OPTIONS = { chunkSize: INFLATE_CHUNK_BYTES };

/** How a body is compressed; undefined if it is not. */
function encodingOf(header: string | undefined): "gzip" | "deflate" | undefined | RequestError {
  if (header === undefined) return undefined;
  const named = header
    .split(",")
    .map((one) => one.trim().toLowerCase())
    .filter((one) => one !== "" && one !== "identity");
  const [only] = named;
  if (only === undefined) return undefined;
  if (named.length === 1 && (only === "gzip" || only === "x-gzip")) return "gzip";
  if (named.length === 1 && only === "deflate") return "deflate";
  const text = `the content encoding "${named.join(", ").slice(0, 64)}" is not taken: send the body as it is, or with gzip or deflate once`;
  return new RequestError(415, "invalid", text);
}

function sizeRefusal(size: number, bytesMax: number): RequestError | undefined {
  if (size <= bytesMax) return undefined;
  const text = `the body is larger than ${bytesMax} bytes; send fewer rows in one request`;
  return new RequestError(413, "invalid", text);
}

interface ArrivalOptions {
  readonly body: Readable;
  readonly inflate: Transform | undefined;
  readonly chunksMax: number;
  readonly bytesMax: number;
  readonly received: (bytes: number) => void;
  /** Counts bytes that are held, or no longer; says whether that is too much. */
  readonly hold: (bytes: number) => RequestError | undefined;
  readonly settle: (result: Buffer | Error) => void;
}

/** One body on its way. */
class Arrival {
  readonly #options: ArrivalOptions;
  readonly #parts: Buffer[] = [];
  #group: Buffer[] = [];
  #chunks = 0;
  #sent = 0;
  #size = 0;
  #settled = false;
  readonly #count = (chunk: Buffer): void => this.#counted(chunk);
  readonly #take = (chunk: Buffer): void => this.#taken(chunk);

  constructor(options: ArrivalOptions) {
    this.#options = options;
  }

  begin(): void {
    const { body, inflate } = this.#options;
    body.on("data", this.#count);
    body.once("error", (error) => this.end(error));
    body.once("close", () => {
      if (!body.readableEnded) this.end(cutOff());
    });
    if (inflate === undefined) {
      body.on("data", this.#take);
      body.once("end", () => this.end(this.#whole()));
      return;
    }
    inflate.on("data", this.#take);
    inflate.once("error", () => this.end(broken()));
    inflate.once("end", () => this.end(this.#leftOver() ? broken() : this.#whole()));
    body.pipe(inflate);
  }

  /** What was sent. */
  #counted(chunk: Buffer): void {
    this.#sent += chunk.byteLength;
    this.#options.received(chunk.byteLength);
    this.#chunks++;
    const { chunksMax, bytesMax } = this.#options;
    if (this.#chunks > chunksMax) {
      const text = `the body comes in more than ${chunksMax} chunks; send fewer and larger ones`;
      this.end(new RequestError(413, "invalid", text));
    } else if (this.#options.inflate !== undefined) {
      const refusal = sizeRefusal(this.#sent, bytesMax);
      if (refusal !== undefined) this.end(refusal);
    }
  }

  /** What it is. */
  #taken(chunk: Buffer): void {
    if (this.#settled) return;
    const { hold, bytesMax } = this.#options;
    // Before it is counted: nobody is to give way to what cannot be.
    const tooLarge = sizeRefusal(this.#size + chunk.byteLength, bytesMax);
    if (tooLarge !== undefined) {
      this.end(tooLarge);
      return;
    }
    this.#size += chunk.byteLength;
    this.#group.push(chunk);
    if (this.#group.length === GROUP) this.#closeGroup();
    const refusal = hold(chunk.byteLength) ?? this.#ratioRefusal();
    if (refusal !== undefined) this.end(refusal);
  }

  #closeGroup(): void {
    this.#parts.push(Buffer.concat(this.#group));
    this.#group = [];
  }

  #ratioRefusal(): RequestError | undefined {
    if (this.#options.inflate === undefined || this.#size <= limits.inflationFreeBytes) return;
    if (this.#size <= this.#sent * limits.inflationMax) return;
    const text = `the body unfolds to more than ${limits.inflationMax} times its size; send it as it is`;
    return new RequestError(413, "invalid", text);
  }

  /** Whether something follows the compressed data. */
  #leftOver(): boolean {
    const { inflate } = this.#options;
    return (
      inflate !== undefined && "bytesWritten" in inflate && inflate.bytesWritten !== this.#sent
    );
  }

  #whole(): Buffer {
    const [only] = this.#group;
    if (this.#parts.length === 0 && this.#group.length === 1 && only !== undefined) return only;
    return Buffer.concat([...this.#parts, ...this.#group]);
  }

  /** Once; what still comes is let go. */
  end(result: Buffer | Error): void {
    if (this.#settled) return;
    this.#settled = true;
    const { body, inflate, hold, settle } = this.#options;
    body.off("data", this.#take);
    body.off("data", this.#count);
    if (inflate !== undefined) {
      body.unpipe(inflate);
      inflate.destroy();
    }
    body.resume();
    hold(-this.#size);
    settle(result);
    this.#parts.length = 0;
    this.#group = [];
  }
}

function broken(): RequestError {
  const text =
    "the body is not what its content encoding says: it is broken, cut off or followed by more";
  return new RequestError(400, "invalid", text);
}

function cutOff(): RequestError {
  return new RequestError(400, "invalid", "the body ended before it was whole");
}
