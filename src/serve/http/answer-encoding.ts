// Compressed answers: where the client takes them and where they are worth it. The protocol's clients that ask
// for compression also take an answer without.

import { promisify } from "node:util";
import { constants, deflate, deflateSync, gzip } from "node:zlib";

/** Answers below go out in a few packets as they are. */
const WORTH_BYTES = 32_768;
/** As many bytes are tried first; what does not become a fifth smaller is sent as it is (noise of floats does not). */
const SAMPLE_BYTES = 4096;
const SAMPLE_RATIO = 0.8;
/** Fast: a third of the time of the default for a few per cent more bytes. */
const OPTIONS = { level: constants.Z_BEST_SPEED };

/** Encodings that answers are sent in. */
export type AnswerEncoding = "gzip" | "deflate";

const gzipped = promisify<Uint8Array, typeof OPTIONS, Buffer>(gzip);
const deflated = promisify<Uint8Array, typeof OPTIONS, Buffer>(deflate);

/** The encoding that a client likes best of ours (RFC 9110, 12.5.3), if it likes any better than none. */
export function acceptedEncoding(header: string | undefined): AnswerEncoding | undefined {
  if (header === undefined || header.length > 1024) return undefined;
  const weights = new Map<string, number>();
  for (const one of header.toLowerCase().split(",")) {
    const [name = "", ...options] = one.split(";").map((part) => part.trim());
    const weight = options.find((option) => option.startsWith("q="))?.slice(2);
    weights.set(name === "x-gzip" ? "gzip" : name, weight === undefined ? 1 : Number(weight) || 0);
  }
  const all = weights.get("*") ?? 0;
  const like = (name: AnswerEncoding): number => weights.get(name) ?? all;
  const best: AnswerEncoding = like("deflate") > like("gzip") ? "deflate" : "gzip";
  const plain = weights.get("identity") ?? 0;
  return like(best) > 0 && like(best) >= plain ? best : undefined;
}

/** The body compressed, or undefined where it is not worth it. */
export async function compressed(
  body: Uint8Array,
  encoding: AnswerEncoding,
): Promise<Buffer | undefined> {
  if (body.byteLength < WORTH_BYTES) return undefined;
  // From the middle: the beginning is the text of names and shapes.
  const middle = body.byteLength >> 1;
  const sample = body.subarray(middle, middle + SAMPLE_BYTES);
  const size = deflateSync(sample, OPTIONS).byteLength;
  if (size >= sample.byteLength * SAMPLE_RATIO) return undefined;
  return encoding === "gzip" ? gzipped(body, OPTIONS) : deflated(body, OPTIONS);
}
