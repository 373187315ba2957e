// Compressed messages, unfolded as the bodies of HTTP are: within the same bounds, and counted with all that the server
// holds. The library bounds each message alone, so that many small ones together would unfold to gigabytes.

import { Readable } from "node:stream";
import type { ServerInterceptingCallInterface } from "@grpc/grpc-js";
import type { BodyReader } from "../http/body.ts";

/** Before a message stand a byte that says whether it is compressed, and four of its length (gRPC over HTTP/2). */
const PREFIX_BYTES = 5;

/**
 * Takes the place of the library's own unfolding, a method of its call that its types do not tell of (grpc-js 1.14,
 * `decompressMessage`; a test fails should it go).
 *
 * @param refused gives the status for what was refused.
 */
export function unfoldWith(
  bodies: BodyReader,
  call: ServerInterceptingCallInterface,
  refused: (error: unknown) => Error,
): void {
  const decompressMessage = (message: Buffer, encoding: string): Buffer | Promise<Buffer> => {
    const content = message.subarray(PREFIX_BYTES);
    if (encoding === "identity") return content;
    const unfolded = bodies.read(Readable.from([content]), { "content-encoding": encoding });
    return unfolded.catch((error: unknown) => {
      throw refused(error);
    });
  };
  Object.assign(call, { decompressMessage });
}
