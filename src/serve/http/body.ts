// Reading the bodies of requests. Each is bounded, and so are all that are on their way together: many
// clients that send large bodies slowly would take the server's memory.

import type { Readable } from "node:stream";
import { limits } from "../../base/limits.ts";
import { RequestError } from "../errors.ts";

/** Reads bodies, and knows how many bytes it holds of those that are not whole yet. */
export class BodyReader {
  readonly #heldMax: number;
  #held = 0;

  constructor(heldMax: number = limits.bodiesBytesMax) {
    this.#heldMax = heldMax;
  }

  /**
   * The bytes of a body.
   *
   * @throws RequestError 413 for one that is too large, 503 where too many are on their way.
   */
  read(body: Readable, declaredBytes = 0): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = [];
      let size = 0;
      const take = (chunk: Buffer): void => {
        size += chunk.byteLength;
        this.#held += chunk.byteLength;
        chunks.push(chunk);
        const refusal = this.#refusal(size);
        if (refusal !== undefined) end(() => reject(refusal));
      };
      // Once; what still comes is let go.
      const end = (settle: () => void): void => {
        body.off("data", take);
        body.resume();
        this.#held -= size;
        size = 0;
        settle();
        chunks.length = 0;
      };
      const refusal = this.#refusal(declaredBytes);
      if (refusal !== undefined) {
        end(() => reject(refusal));
        return;
      }
      body.on("data", take);
      body.once("end", () => end(() => resolve(Buffer.concat(chunks))));
      body.once("error", (error) => end(() => reject(error)));
      body.once("close", () => end(() => reject(cutOff())));
    });
  }

  #refusal(size: number): RequestError | undefined {
    if (size > limits.requestBytesMax) {
      const text = `the body is larger than ${limits.requestBytesMax} bytes; send fewer rows in one request`;
      return new RequestError(413, "invalid", text);
    }
    if (this.#held <= this.#heldMax) return undefined;
    const text = `${this.#held} bytes of other requests are on their way already`;
    return new RequestError(503, "queue-full", text, { retryAfterSeconds: 1 });
  }
}

function cutOff(): RequestError {
  return new RequestError(400, "invalid", "the body ended before it was whole");
}
