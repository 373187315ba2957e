// Gives the bytes of requests and answers that are over back to the system. V8 lets tens of megabytes of them
// lie before it collects, since they are outside its heap; a process that promises how much it takes cannot.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
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
  #bytes = 0;

  constructor() {
    // The collector is a global only in contexts that are made after the flag is set.
    setFlagsFromString("--expose-gc");
    this.#collect = runInNewContext("gc");
    setFlagsFromString("--no-expose-gc");
  }

  /** A run is over that had these inputs and this answer. */
  add(inputs: Tensors, answer: readonly Uint8Array[]): void {
    let bytes = 0;
    for (const { data } of inputs.values()) bytes += data.bytes.byteLength;
    // The channel keeps memory for smaller questions.
    if (bytes > KEPT_BYTES) this.#bytes += bytes;
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
