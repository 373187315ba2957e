// What the queue of a version asks of memory admission (version-memory.ts answers).

import type { InputShapes } from "./admission/batch-axis.ts";
import type { MemoryFit } from "./batcher/types.ts";

/** Memory admission for one version. */
export interface EngineMemory {
  /**
   * Finds out what requests of these shapes take. undefined: it is known.
   *
   * @throws RequestError 503, as a rejection, where too many shapes are new.
   */
  prepare(shapes: InputShapes): Promise<void> | undefined;
  /** Whether so many rows of a request of this form may run now. Changes nothing. */
  fits(form: BucketForm, rows: number, slot: string | undefined): MemoryFit;
  /** Why so many rows never fit, and what would; undefined where nothing is known. */
  explain(form: BucketForm, rows: number): string | undefined;
  /** A request waits for memory that others hold. Said again each time that it is found to wait. */
  waits(request: number, form: BucketForm, rows: number, slot: string): void;
  /** A request waits no more. */
  left(request: number): void;
  /** A batch begins, and fits. @returns bytes that it may take beyond the loaded process, where that is told. */
  begin(batch: number, form: BucketForm, rows: number, slot: string): number | undefined;
  end(batch: number): void;
  /** Calls back when memory was freed while one of this version's requests waits for it. */
  whenFree(listener: () => void): void;
}

/** A bucket as memory admission knows it: the shapes of one of its requests. */
export interface BucketForm {
  readonly bucket: string;
  readonly shapes: InputShapes;
  /** Whether axis 0 of the shapes stands for the rows. */
  readonly batchable: boolean;
}
