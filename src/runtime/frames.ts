// How the server and a model's process talk: frames of a JSON header and the bytes of tensors, over a
// pipe. Plain data, bounded before it is allocated; nothing in a frame can be executed.

import { assert } from "../base/assert.ts";
import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { type DType, dtypeBytes } from "../graph/dtype.ts";
import { copyBytes, type Tensor, tensor } from "../graph/tensor.ts";
import type { Tensors } from "./runner.ts";

/** u32 length of the header, u32 of the body, little-endian. */
const PREFIX_BYTES = 8;
/** Tensors start on multiples of this, so that they can be viewed where they lie. */
const ALIGNMENT = 8;

/** A header, and the tensors that came with it. */
export interface Frame {
  readonly header: Readonly<Record<string, unknown>>;
  readonly tensors: Tensors;
}

interface Entry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly offset: number;
}

/** A frame as chunks to write; the bytes of the tensors are not copied. */
export function encodeFrame(
  header: Readonly<Record<string, unknown>>,
  tensors: Tensors,
): Uint8Array[] {
  const entries: Entry[] = [];
  const body: Uint8Array[] = [];
  let offset = 0;
  for (const [name, value] of tensors) {
    const { bytes } = value.data;
    entries.push({ name, dtype: value.dtype, shape: value.shape, offset });
    const padding = (ALIGNMENT - (bytes.byteLength % ALIGNMENT)) % ALIGNMENT;
    body.push(bytes);
    if (padding > 0) body.push(new Uint8Array(padding));
    offset += bytes.byteLength + padding;
  }
  const text = Buffer.from(JSON.stringify({ header, entries }));
  if (offset + text.byteLength > limits.frameBytesMax) {
    throw tooLarge(offset);
  }
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32LE(text.byteLength, 0);
  prefix.writeUInt32LE(offset, 4);
  return [prefix, text, ...body];
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

/** Puts frames together from the chunks of a stream. */
export class FrameReader {
  readonly #prefix: Buffer = Buffer.alloc(PREFIX_BYTES);
  #prefixFilled = 0;
  #content: Buffer | undefined;
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
      if (this.#content === undefined) {
        const part = chunk.subarray(at, at + PREFIX_BYTES - this.#prefixFilled);
        this.#prefix.set(part, this.#prefixFilled);
        this.#prefixFilled += part.byteLength;
        at += part.byteLength;
        if (this.#prefixFilled === PREFIX_BYTES) this.#begin();
        continue;
      }
      const part = chunk.subarray(at, at + this.#content.byteLength - this.#filled);
      this.#content.set(part, this.#filled);
      this.#filled += part.byteLength;
      at += part.byteLength;
      if (this.#filled === this.#content.byteLength) frames.push(this.#end(this.#content));
    }
    return frames;
  }

  #begin(): void {
    const header = this.#prefix.readUInt32LE(0);
    const body = this.#prefix.readUInt32LE(4);
    if (header === 0 || header + body > limits.frameBytesMax) {
      throw new SkipwayError("input", `a frame of ${header} + ${body} bytes is not accepted`);
    }
    this.#content = Buffer.allocUnsafeSlow(header + body);
    this.#filled = 0;
  }

  #end(content: Buffer): Frame {
    const headerBytes = this.#prefix.readUInt32LE(0);
    this.#content = undefined;
    this.#prefixFilled = 0;
    return parseFrame(content.subarray(0, headerBytes), content.subarray(headerBytes));
  }
}

function parseFrame(text: Uint8Array, body: Uint8Array): Frame {
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(text).toString("utf8"));
  } catch (cause) {
    throw new SkipwayError("input", "a frame has a broken header", { cause });
  }
  // Both ends of the pipe are this file; the sizes that matter are checked by `tensor` below.
  const { header, entries } = parsed as { header: Record<string, unknown>; entries: Entry[] };
  assert(Array.isArray(entries), "a frame lists its tensors");
  const aligned = body.byteOffset % ALIGNMENT === 0 ? body : copyBytes(body);
  const tensors = new Map<string, Tensor>();
  for (const { name, dtype, shape, offset } of entries) {
    const count = shape.reduce((a, b) => a * b, 1);
    const bytes = aligned.subarray(offset, offset + dtypeBytes(dtype, count));
    tensors.set(name, tensor(dtype, shape, bytes));
  }
  return { header, tensors };
}
