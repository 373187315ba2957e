// A model: a graph with what the file says around it.

import type { Graph } from "../graph/graph.ts";
import type { ModelProto } from "./proto/onnx_pb.js";

/** A model-local function, kept as the file has it until the canonical form inlines it. */
export interface ModelFunction {
  readonly domain: string;
  readonly name: string;
  readonly overload: string;
  /** The protobuf message, byte for byte. */
  readonly bytes: Uint8Array;
}

/** How a model is written. */
export interface SaveOptions {
  /**
   * Weights in a file beside the model: `true` for `NAME.data`, or where and from which size on; `false` for
   * one file in any case. Left out: weights that lie beside the model stay there, others are put there
   * only where one file could not hold the model, which ends at 2 GiB.
   */
  readonly externalData?: boolean | { readonly location?: string; readonly bytesMin?: number };
}

/** An ONNX model in memory. */
export interface Model {
  readonly graph: Graph;
  readonly irVersion: number;
  readonly producer: { readonly name: string; readonly version: string };
  readonly functions: readonly ModelFunction[];
  /** Where it was read from, if it was. */
  readonly path?: string;
  /**
   * Writes the model, atomically: the file is whole or not there. Weights that lie beside the file that
   * the model was read from are taken along to another folder.
   *
   * @throws SkipwayError `environment` when the disk refuses, `input` when a weight's data is not there.
   */
  save(path: string, options?: SaveOptions): Promise<void>;
}

/** The messages that models were read from: what the graph does not model is written back from there. */
export const origins: WeakMap<Model, ModelProto> = new WeakMap();
