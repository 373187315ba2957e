// How the server and a model's process talk: frames of a JSON header and the bytes of tensors. Plain data, bounded
// before it is allocated; nothing in a frame can be executed, and what does not add up is no frame.

import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { type DType, dtypeBytes, isDType } from "../graph/dtype.ts";
import { elementCount } from "../graph/shape.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { Tensors } from "./runner.ts";

/**
 * Little-endian: u32 MAGIC, u32 number of the question, u32 bytes of the header, u32 bytes of the body, f64
 * milliseconds. What differs from run to run stands here, so that headers repeat and are made and read once.
 */
export const PREFIX_BYTES = 24;
/** "SKW1". What is no frame (a library that writes where it should not) is seen at once. */
const MAGIC = 0x31574b53;
/** Tensors start on multiples of this, so that they can be viewed where they lie. */
const ALIGNMENT = 8;
/**
 * A socket takes about 200 KB that nobody reads yet, and a process that computes reads nothing: of a larger question the
 * rest would come only when our event loop has time, and the process would wait for it. So a question is spread over
 * several sockets: this much on the first, as much on each lane, and what is left on the first again.
 */
export const LANE_BYTES = 131_072;
/** Sockets beside the first: together they hold half a megabyte. */
export const LANES = 3;
/** Frames up to this are written as one piece: cheaper than a list of pieces (docs/design/process.md). */
const ONE_PIECE_BYTES = 8192;

const PADDING = new Uint8Array(ALIGNMENT);

/** A header, and the tensors that came with it. */
export interface Frame {
  /** The number of the question that this is, or answers. */
  readonly id: number;
  readonly header: Readonly<Record<string, unknown>>;
  readonly tensors: Tensors;
  /** How long the work took, in answers. */
  readonly computeMs: number;
}

/** A frame to be sent. */
export interface Sent {
  readonly id: number;
  readonly header: Readonly<Record<string, unknown>>;
  readonly parts?: readonly Part[];
  readonly computeMs?: number;
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
  const parts: Part[] = [];
  for (const [name, { dtype, shape, data }] of tensors) {
    parts.push({ name, dtype, shape, pieces: [data.bytes] });
  }
  return parts;
}

/** Makes frames of one stream. A header like the one before is not made again. */
export class FrameEncoder {
  #fields: Sent["header"] | undefined;
  #headerText = "";
  #entries: readonly Entry[] = [];
  #header: Buffer = Buffer.alloc(0);

  /**
   * A frame as pieces to write. The bytes of large tensors are not copied.
   *
   * @throws SkipwayError `input` when the frame would be too large.
   */
  encode({ id, header, parts = NO_PARTS, computeMs = 0 }: Sent): Uint8Array[] {
    let bodyBytes = 0;
    for (const part of parts) bodyBytes += padded(lengthOf(part.pieces));
    const encoded = this.#headerOf(header, parts);
    if (bodyBytes + encoded.byteLength > limits.frameBytesMax) throw tooLarge(bodyBytes);
    const whole = bodyBytes <= ONE_PIECE_BYTES;
    const bodyAt = PREFIX_BYTES + encoded.byteLength;
    const head = Buffer.allocUnsafe(bodyAt + (whole ? bodyBytes : 0));
    head.writeUInt32LE(MAGIC, 0);
    head.writeUInt32LE(id, 4);
    head.writeUInt32LE(encoded.byteLength, 8);
    head.writeUInt32LE(bodyBytes, 12);
    head.writeDoubleLE(computeMs, 16);
    head.set(encoded, PREFIX_BYTES);
    const pieces: Uint8Array[] = [head];
    let at = bodyAt;
    for (const part of parts) {
      const end = at + padded(lengthOf(part.pieces));
      for (const piece of part.pieces) {
        if (whole) head.set(piece, at);
        else if (piece.byteLength > 0) pieces.push(piece);
        at += piece.byteLength;
      }
      if (whole) head.fill(0, at, end);
      else if (end > at) pieces.push(PADDING.subarray(0, end - at));
      at = end;
    }
    return pieces;
  }

  #headerOf(fields: Sent["header"], parts: readonly Part[]): Buffer {
    // The same object is not even written again.
    const text = fields === this.#fields ? this.#headerText : JSON.stringify(fields);
    if (text === this.#headerText && alike(this.#entries, parts)) return this.#header;
    const entries = parts.map(({ name, dtype, shape, pieces }): Entry => {
      return [name, dtype, shape, lengthOf(pieces)];
    });
    const rest = text === "{}" ? "}" : `,${text.slice(1)}`;
    const whole = `{"tensors":${JSON.stringify(entries)}${rest}`;
    const bytes = Buffer.byteLength(whole);
    const encoded = Buffer.alloc(padded(bytes), " ");
    encoded.write(whole);
    this.#fields = fields;
    this.#headerText = text;
    this.#entries = entries;
    this.#header = encoded;
    return encoded;
  }
}

/** What goes to the first socket, before and after the lanes, and to each lane: views of the pieces of a frame. */
export function spread(pieces: readonly Uint8Array[]): readonly (readonly Uint8Array[])[] {
  if (lengthOf(pieces) <= LANE_BYTES) return [pieces];
  const streams: Uint8Array[][] = Array.from({ length: LANES + 1 }, () => []);
  let at = 0;
  for (const piece of pieces) {
    for (let from = 0; from < piece.byteLength; ) {
      const lane = Math.floor(at / LANE_BYTES);
      const room = lane > LANES ? piece.byteLength : (lane + 1) * LANE_BYTES - at;
      const part = piece.subarray(from, from + room);
      streams[lane > LANES ? 0 : lane]?.push(part);
      from += part.byteLength;
      at += part.byteLength;
    }
  }
  return streams;
}

const NO_PARTS: readonly Part[] = [];

function lengthOf(pieces: readonly Uint8Array[]): number {
  let length = 0;
  for (const piece of pieces) length += piece.byteLength;
  return length;
}

function alike(entries: readonly Entry[], parts: readonly Part[]): boolean {
  if (entries.length !== parts.length) return false;
  for (let i = 0; i < parts.length; i++) {
    const [part, entry] = [parts[i], entries[i]];
    if (part === undefined || entry === undefined) return false;
    const [name, dtype, shape, bytes] = entry;
    if (part.name !== name || part.dtype !== dtype || lengthOf(part.pieces) !== bytes) return false;
    if (part.shape.length !== shape.length) return false;
    for (let axis = 0; axis < shape.length; axis++) {
      if (part.shape[axis] !== shape[axis]) return false;
    }
  }
  return true;
}

function padded(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
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
  readonly computeMs: number;
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
  return { id, headerBytes, bodyBytes, computeMs: bytes.readDoubleLE(16) };
}

/** Name, type, shape and bytes of a tensor, in the order in which they lie in the body. */
type Entry = readonly [name: string, dtype: DType, shape: readonly number[], bytes: number];

/** Reads frames of one stream. A header like the one before is not read again. */
export class FrameParser {
  #bytes: Buffer = Buffer.alloc(0);
  #header: Readonly<Record<string, unknown>> = {};
  #entries: readonly Entry[] = [];

  /**
   * The frame in `content`, header and body; its tensors are views.
   *
   * @throws SkipwayError `input` where the parts do not add up.
   */
  parse({ id, headerBytes, computeMs }: Prefix, content: Buffer): Frame {
    this.#readHeader(content.subarray(0, headerBytes));
    const tensors = new Map<string, Tensor>();
    let at = headerBytes;
    for (const [name, dtype, shape, length] of this.#entries) {
      if (at + length > content.byteLength) throw broken("ends inside of a tensor");
      const bytes = new Uint8Array(content.buffer, content.byteOffset + at, length);
      // As `tensor` makes it; that sizes agree was seen when the header was read.
      tensors.set(name, { dtype, shape, data: { kind: "bytes", bytes } });
      at += padded(length);
    }
    return { id, header: this.#header, tensors, computeMs };
  }

  #readHeader(bytes: Buffer): void {
    if (bytes.equals(this.#bytes)) return;
    const header = parseHeader(bytes.toString("utf8"));
    this.#entries = entriesOf(header["tensors"]);
    this.#header = header;
    // A copy: the memory of a channel is used again.
    this.#bytes = Buffer.from(bytes);
  }
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
  readonly #parser = new FrameParser();
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
        frames.push(this.#parser.parse(this.#prefix, this.#content));
        this.#prefix = undefined;
      }
    }
    return frames;
  }
}
