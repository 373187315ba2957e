// What runs a graph. One interface over every engine (in this process, in a child process, later on
// another machine), with one suite of tests that each of them passes.

import type { ValueType } from "../graph/graph.ts";
import type { Tensor } from "../graph/tensor.ts";

/** Where a model comes from: a file, or its bytes. */
export type ModelSource =
  | { readonly path: string }
  | {
      readonly bytes: Uint8Array;
      /** What messages call it. */
      readonly name?: string;
    };

/** How a session is set up. */
export interface SessionOptions {
  /** Threads that compute inside one run. Default 1. */
  readonly threads?: number;
  /** Reuse one plan of memory from run to run; off costs nothing and saves memory for training. */
  readonly memoryPattern?: boolean;
  /** Keep freed blocks for later runs. Off, memory goes back after each run, which is slower. Default on. */
  readonly arena?: boolean;
  /** Threads of the runtime wait busily for work for a moment. Off saves processor time on shared cores. Default on. */
  readonly spinning?: boolean;
  /**
   * Lay weights out anew for this processor. Off, weights in files beside the model are mapped and shared between
   * processes, and large batches are slower. Default on.
   */
  readonly prepacking?: boolean;
  /**
   * Compute with numbers below the smallest normal one. Off, they count as 0, which can be much faster. The first
   * session of a process sets it for the whole process. Default on.
   */
  readonly denormals?: boolean;
  /**
   * Where to write the model as the runtime rewrites it: with fused ops of its own, but nothing that fits
   * this machine alone. Only in this process.
   */
  readonly saveOptimized?: string;
  readonly signal?: AbortSignal;
}

/** What one call of `run` may be told. */
export interface RunOptions {
  /** Names of the outputs to compute; all if left out. */
  readonly outputs?: readonly string[];
  /**
   * Gives up waiting. Whether the computation itself stops depends on the engine: a child process
   * can be killed, a run in this process cannot be stopped.
   */
  readonly signal?: AbortSignal;
}

/** Bytes that the process behind a session holds. */
export interface MemoryReading {
  readonly residentBytes: number;
  readonly peakResidentBytes: number;
  /** Of the resident ones, those that no file backs: heap, weights that were copied. Where the system tells. */
  readonly anonymousBytes?: number;
  /** Resident bytes with shared pages divided among those who share them (PSS). Where the system tells. */
  readonly proportionalBytes?: number;
}

/** Tensors by name. */
export type Tensors = ReadonlyMap<string, Tensor>;

/** A model, loaded. Runs are served one after another, in the order of the calls. */
export interface Session extends AsyncDisposable {
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
  /**
   * Computes outputs from inputs. Names, types and shapes are checked before the runtime sees them.
   *
   * @throws SkipwayError `input` for a wrong name, type or shape, with one diagnostic per fault;
   * `environment` when the engine fails or is gone.
   */
  run(feeds: Tensors, options?: RunOptions): Promise<Tensors>;
  memory(): Promise<MemoryReading>;
  close(): Promise<void>;
}

/** An engine. */
export interface Runner {
  readonly name: string;
  /**
   * Loads a model.
   *
   * @throws SkipwayError `input` when the runtime refuses the model; `environment` when there is no
   * runtime.
   */
  load(model: ModelSource, options?: SessionOptions): Promise<Session>;
}
