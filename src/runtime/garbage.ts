// Gives the bytes of requests and answers that are over back to the system. V8 lets tens of megabytes of them
// lie before it collects, since they are outside its heap; a process that promises how much it takes cannot.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
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

  /** A run with these inputs and outputs is over, and nobody holds them any more. */
  add(inputs: Tensors, outputs: Tensors): void {
    // Inputs come in chunks of the pipe, and are put together in one buffer.
    this.#bytes += 2 * sizeOf(inputs) + sizeOf(outputs);
    if (this.#bytes < GARBAGE_BYTES) return;
    this.#bytes = 0;
    setImmediate(() => this.#collect({ type: "minor" }));
  }
}

function sizeOf(tensors: Tensors): number {
  let total = 0;
  for (const { data } of tensors.values()) total += data.bytes.byteLength;
  return total;
}
