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

/** An ONNX model in memory. */
export interface Model {
  readonly graph: Graph;
  readonly irVersion: number;
  readonly producer: { readonly name: string; readonly version: string };
  readonly functions: readonly ModelFunction[];
  /** Where it was read from, if it was. */
  readonly path?: string;
  /**
   * Writes the model to one file, atomically: the file is whole or not there.
   *
   * @throws SkipwayError `environment` when the disk refuses.
   */
  save(path: string): Promise<void>;
}

/** The messages that models were read from: what the graph does not model is written back from there. */
export const origins: WeakMap<Model, ModelProto> = new WeakMap();
