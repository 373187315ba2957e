// The side of a model's process: frames read from and written to a file descriptor by calls that block. There is
// nothing else to do meanwhile, and a call that blocks wakes up sooner than an event loop (docs/design/process.md).

import { readSync, writevSync } from "node:fs";
import {
  type Frame,
  FrameEncoder,
  FrameParser,
  LANE_BYTES,
  PREFIX_BYTES,
  readPrefix,
  type Sent,
} from "./frames.ts";

/** What one read may take ahead; a small frame comes whole in one call. */
const STAGE_BYTES = 65_536;
/** Memory for content up to this is kept from frame to frame: fresh pages are what takes time in 602 KB. */
export const KEPT_BYTES = 4_194_304;

/** A blocking channel of frames. */
export class FrameChannel {
  readonly #fd: number;
  readonly #lanes: readonly number[];
  readonly #parser = new FrameParser();
  readonly #encoder = new FrameEncoder();
  readonly #stage: Buffer = Buffer.allocUnsafeSlow(STAGE_BYTES);
  #kept: Buffer = Buffer.alloc(0);
  #start = 0;
  #end = 0;

  /** @param lanes Descriptors by which parts of large questions come. */
  constructor(fd: number, lanes: readonly number[] = []) {
    this.#fd = fd;
    this.#lanes = lanes;
  }

  /**
   * The next frame, or undefined at the end of the stream. Its tensors are valid until the next call.
   *
   * @throws SkipwayError `input` for what is no frame.
   */
  read(): Frame | undefined {
    while (this.#end - this.#start < PREFIX_BYTES) {
      if (!this.#fillStage()) return undefined;
    }
    const prefix = readPrefix(this.#stage.subarray(this.#start, this.#start + PREFIX_BYTES));
    this.#start += PREFIX_BYTES;
    const content = this.#memory(prefix.headerBytes + prefix.bodyBytes);
    let next = LANE_BYTES - PREFIX_BYTES;
    if (!this.#fillStaged(content.subarray(0, next))) return undefined;
    for (const lane of this.#lanes) {
      if (!fill(lane, content.subarray(next, next + LANE_BYTES))) return undefined;
      next += LANE_BYTES;
    }
    if (!this.#fillStaged(content.subarray(next))) return undefined;
    return this.#parser.parse(prefix, content);
  }

  /**
   * Writes a frame; returns when the system has taken all of it.
   *
   * @throws SkipwayError `input` when it would be too large; nothing is written then.
   */
  write(frame: Sent): void {
    let rest = this.#encoder.encode(frame);
    while (rest.length > 0) {
      let written = writevSync(this.#fd, rest);
      let done = 0;
      while (done < rest.length && written >= (rest[done]?.byteLength ?? 0)) {
        written -= rest[done]?.byteLength ?? 0;
        done++;
      }
      rest = rest.slice(done);
      if (rest[0] !== undefined && written > 0) rest[0] = rest[0].subarray(written);
    }
  }

  /** Fills it with what comes next on the first socket, of which some has been read already. */
  #fillStaged(content: Buffer): boolean {
    const staged = Math.min(content.byteLength, this.#end - this.#start);
    this.#stage.copy(content, 0, this.#start, this.#start + staged);
    this.#start += staged;
    return fill(this.#fd, content.subarray(staged));
  }

  #fillStage(): boolean {
    if (this.#start > 0) {
      this.#stage.copy(this.#stage, 0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    const got = readSync(this.#fd, this.#stage, this.#end, STAGE_BYTES - this.#end, null);
    this.#end += got;
    return got > 0;
  }

  #memory(bytes: number): Buffer {
    if (bytes > KEPT_BYTES) return Buffer.allocUnsafeSlow(bytes);
    if (this.#kept.byteLength < bytes) this.#kept = Buffer.allocUnsafeSlow(bytes);
    return this.#kept.subarray(0, bytes);
  }
}

/** Reads until it is full. @returns false at the end of the stream. */
function fill(fd: number, content: Buffer): boolean {
  for (let at = 0; at < content.byteLength; ) {
    const got = readSync(fd, content, at, content.byteLength - at, null);
    if (got === 0) return false;
    at += got;
  }
  return true;
}
