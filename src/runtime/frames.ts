// How the server and a model's process talk: frames of a JSON header and the bytes of tensors. Plain data, bounded
// before it is allocated; nothing in a frame can be executed, and what does not add up is no frame.

import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { type DType, dtypeBytes, isDType } from "../graph/dtype.ts";
import { elementCount } from "../graph/shape.ts";
import { type Tensor, tensor } from "../graph/tensor.ts";
import type { Tensors } from "./runner.ts";

/** u32 each, little-endian: MAGIC, number of the question, bytes of the header, bytes of the body. */
export const PREFIX_BYTES = 16;
/** "SKW1". What is no frame (a library that writes where it should not) is seen at once. */
const MAGIC = 0x31574b53;
/** Tensors start on multiples of this, so that they can be viewed where they lie. */
const ALIGNMENT = 8;
/** Frames up to this are written as one piece: cheaper than a list of pieces (docs/design/process.md). */
const ONE_PIECE_BYTES = 8192;

const PADDING = new Uint8Array(ALIGNMENT);

/** A header, and the tensors that came with it. */
export interface Frame {
  /** The number of the question that this is, or answers. */
  readonly id: number;
  readonly header: Readonly<Record<string, unknown>>;
  readonly tensors: Tensors;
}

/** A tensor to be sent, its bytes in pieces: those of a batch are written one after another, and arrive as one. */
export interface Part {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly pieces: readonly Uint8Array[];
}

/** Tensors as parts of one piece each. */
export function partsOf(tensors: Tensors): Part[] {
  return Array.from(tensors, ([name, { dtype, shape, data }]) => ({
    name,
    dtype,
    shape,
    pieces: [data.bytes],
  }));
}

/**
 * A frame as pieces to write. The bytes of large tensors are not copied.
 *
 * @throws SkipwayError `input` when the frame would be too large.
 */
export function encodeFrame(
  id: number,
  header: Readonly<Record<string, unknown>>,
  parts: readonly Part[] = [],
): Uint8Array[] {
  const body: Uint8Array[] = [];
  const entries: Entry[] = [];
  let bodyBytes = 0;
  for (const { name, dtype, shape, pieces } of parts) {
    const length = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
    entries.push([name, dtype, shape, length]);
    body.push(...pieces.filter((piece) => piece.byteLength > 0));
    const padding = paddingOf(length);
    if (padding > 0) body.push(PADDING.subarray(0, padding));
    bodyBytes += length + padding;
  }
  const text = JSON.stringify({ ...header, tensors: entries });
  const textBytes = Buffer.byteLength(text);
  const headerBytes = textBytes + paddingOf(textBytes);
  if (bodyBytes + headerBytes > limits.frameBytesMax) throw tooLarge(bodyBytes);
  const whole = bodyBytes <= ONE_PIECE_BYTES;
  const head = Buffer.allocUnsafe(PREFIX_BYTES + headerBytes + (whole ? bodyBytes : 0));
  head.writeUInt32LE(MAGIC, 0);
  head.writeUInt32LE(id, 4);
  head.writeUInt32LE(headerBytes, 8);
  head.writeUInt32LE(bodyBytes, 12);
  head.write(text, PREFIX_BYTES);
  head.fill(" ", PREFIX_BYTES + textBytes, PREFIX_BYTES + headerBytes);
  if (!whole) return [head, ...body];
  let at = PREFIX_BYTES + headerBytes;
  for (const piece of body) {
    head.set(piece, at);
    at += piece.byteLength;
  }
  return [head];
}

function paddingOf(bytes: number): number {
  return (ALIGNMENT - (bytes % ALIGNMENT)) % ALIGNMENT;
}

function tooLarge(bytes: number): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "runtime/too-large",
      severity: "error",
      where: "model process",
      text: `tensors of ${bytes} bytes; what goes to a model's process or comes back is at most ${limits.frameBytesMax} bytes`,
      fix: "Use smaller batches, ask for fewer outputs, or load the model from a file.",
    }),
  ]);
}

/** What the prefix of a frame says. */
export interface Prefix {
  readonly id: number;
  readonly headerBytes: number;
  readonly bodyBytes: number;
}

/** @throws SkipwayError `input` for anything but the start of a frame of an accepted size. */
export function readPrefix(bytes: Buffer): Prefix {
  const [magic, id] = [bytes.readUInt32LE(0), bytes.readUInt32LE(4)];
  const [headerBytes, bodyBytes] = [bytes.readUInt32LE(8), bytes.readUInt32LE(12)];
  const sound = magic === MAGIC && headerBytes > 0 && headerBytes % ALIGNMENT === 0;
  if (!sound || headerBytes > limits.frameHeaderBytesMax) throw broken("begins as no frame does");
  if (headerBytes + bodyBytes > limits.frameBytesMax) {
    throw broken(`says that it has ${headerBytes} + ${bodyBytes} bytes`);
  }
  return { id, headerBytes, bodyBytes };
}

/** Name, type, shape and bytes of a tensor, in the order in which they lie in the body. */
type Entry = readonly [name: string, dtype: DType, shape: readonly number[], bytes: number];

/**
 * The frame in `content`, header and body; its tensors are views.
 *
 * @throws SkipwayError `input` where the parts do not add up.
 */
export function parseFrame({ id, headerBytes }: Prefix, content: Buffer): Frame {
  const header = parseHeader(content.toString("utf8", 0, headerBytes));
  const tensors = new Map<string, Tensor>();
  let at = headerBytes;
  for (const entry of entriesOf(header["tensors"])) {
    const [name, dtype, shape, length] = entry;
    const end = at + length;
    if (end > content.byteLength) throw broken("ends inside of a tensor");
    const bytes = new Uint8Array(content.buffer, content.byteOffset + at, length);
    tensors.set(name, tensor(dtype, shape, bytes));
    at = end + paddingOf(length);
  }
  return { id, header, tensors };
}

function parseHeader(text: string): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed === "object" && parsed !== null) return { ...parsed };
  } catch {
    // Told below, as any other header that is none.
  }
  throw broken("has a broken header");
}

function entriesOf(listed: unknown): readonly Entry[] {
  if (!Array.isArray(listed)) throw broken("lists no tensors");
  return listed.map((entry: unknown) => {
    if (!Array.isArray(entry)) throw broken("has a tensor without a description");
    const [name, dtype, shape, bytes]: unknown[] = entry;
    const sizes: unknown[] = Array.isArray(shape) ? shape : [undefined];
    if (typeof name !== "string" || typeof dtype !== "string" || !isDType(dtype)) {
      throw broken("has a tensor without name or type");
    }
    if (!isSize(bytes) || !sizes.every(isSize)) throw broken(`has no sizes for "${name}"`);
    const count = elementCount(sizes) ?? Number.NaN;
    if (dtype !== "string" && bytes !== dtypeBytes(dtype, count)) {
      throw broken(`has ${bytes} bytes for "${name}", ${dtype}[${sizes.join(",")}]`);
    }
    return [name, dtype, sizes, bytes] as const;
  });
}

function isSize(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function broken(how: string): SkipwayError {
  return new SkipwayError("input", `what comes out of the pipe ${how}: it is not accepted`);
}

/** Puts frames together from the chunks of a stream: each byte is copied once, to where it stays. */
export class FrameReader {
  readonly #prefixBytes: Buffer = Buffer.alloc(PREFIX_BYTES);
  #prefix: Prefix | undefined;
  #content: Buffer = Buffer.alloc(0);
  #filled = 0;

  /**
   * Frames that are complete with this chunk.
   *
   * @throws SkipwayError `input` when the stream is no sequence of frames, or a frame is too large.
   */
  push(chunk: Uint8Array): Frame[] {
    const frames: Frame[] = [];
    let at = 0;
    while (at < chunk.byteLength) {
      const target = this.#prefix === undefined ? this.#prefixBytes : this.#content;
      const length = Math.min(target.byteLength - this.#filled, chunk.byteLength - at);
      target.set(chunk.subarray(at, at + length), this.#filled);
      this.#filled += length;
      at += length;
      if (this.#filled < target.byteLength) continue;
      this.#filled = 0;
      if (this.#prefix === undefined) {
        this.#prefix = readPrefix(this.#prefixBytes);
        // Memory of its own, aligned: answers are views of it.
        this.#content = Buffer.allocUnsafeSlow(this.#prefix.headerBytes + this.#prefix.bodyBytes);
      } else {
        frames.push(parseFrame(this.#prefix, this.#content));
        this.#prefix = undefined;
      }
    }
    return frames;
  }
}
