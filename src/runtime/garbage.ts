// Gives the bytes of requests and answers that are over back to the system. V8 lets tens of megabytes of them
// lie before it collects, since they are outside its heap; a process that promises how much it takes cannot.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { MessageChannel, type MessagePort } from "node:worker_threads";
import { KEPT_BYTES } from "./frame-channel.ts";
import type { Tensors } from "./runner.ts";

/** Bytes that are over at most before they are collected. */
export const GARBAGE_BYTES = 4_194_304;

/**
 * Told of each run that is over. A collection of what is young takes about 1 ms, as the way through the pipe of
 * so many bytes does; without it, marks rose by another 28 MB (docs/design/admission.md).
 */
export class Garbage {
  readonly #collect: (options: { type: "minor" }) => void;
  /** Nobody listens: what is handed over here is freed at once. */
  readonly #nobody: MessagePort;
  #bytes = 0;

  constructor() {
    // The collector is a global only in contexts that are made after the flag is set.
    setFlagsFromString("--expose-gc");
    this.#collect = runInNewContext("gc");
    setFlagsFromString("--no-expose-gc");
    this.#nobody = new MessageChannel().port1;
    this.#nobody.close();
  }

  /**
   * A run is over that had these inputs and this answer. What is large of them is gone afterwards: while V8 marks, which
   * 64 MB of such memory make it do, a collection leaves it be (one to two inputs more in the mark, measured).
   */
  add(inputs: Tensors, answer: readonly Uint8Array[]): void {
    // The channel keeps memory for smaller questions.
    const given = [...inputs.values()].map(({ data }) => data.bytes.buffer);
    const made = answer.map(({ buffer }) => buffer);
    const large = new Set([...given, ...made].filter(isLarge));
    for (const buffer of large) this.#nobody.postMessage(null, [buffer]);
    for (const piece of answer) this.#bytes += piece.byteLength;
  }

  /** Collects if that is worth it. By now nobody refers to what is over. */
  collect(): boolean {
    if (this.#bytes < GARBAGE_BYTES) return false;
    this.#bytes = 0;
    this.#collect({ type: "minor" });
    return true;
  }
}

function isLarge(buffer: ArrayBufferLike): buffer is ArrayBuffer {
  return buffer instanceof ArrayBuffer && buffer.byteLength > KEPT_BYTES;
}
