// Bytes of requests that the server itself holds, over all connections and all models: bodies on their way, and tensors
// of requests that have no answer yet. What is kept for them is one number, so they are counted together.

import { limits } from "../base/limits.ts";
import { RequestError } from "./errors.ts";

/** A count with a bound. */
export class HeldBytes {
  /** What may be held together. */
  readonly maxBytes: number;
  #bytes = 0;

  constructor(maxBytes: number = limits.bodiesBytesMax) {
    this.maxBytes = maxBytes;
  }

  /** What one body may have: more could never be read. */
  get bodyMax(): number {
    return Math.min(limits.requestBytesMax, this.maxBytes);
  }

  /** What is held now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** So many more are held, or fewer. */
  add(bytes: number): void {
    this.#bytes += bytes;
  }

  /** Why no more bodies are read now; undefined where they are. */
  bodyRefusal(): RequestError | undefined {
    if (this.#bytes <= this.maxBytes) return undefined;
    const text = `${this.#bytes} bytes of other requests are held already`;
    return new RequestError(503, "queue-full", text, { retryAfterSeconds: 1 });
  }

  /** Why a request of so many bytes may not wait; undefined where it may. One alone always may. */
  waitRefusal(bytes: number): RequestError | undefined {
    if (this.#bytes === 0 || this.#bytes + bytes <= this.maxBytes) return undefined;
    const text = `requests to all models hold ${this.#bytes} bytes already, and together they may hold ${this.maxBytes}`;
    return new RequestError(429, "queue-full", text, { retryAfterSeconds: 1 });
  }
}
