// Models as objects: read from a file or built around a graph, and written to a file.

import type { Graph } from "../graph/graph.ts";
import { type Model, type ModelFunction, origins } from "./model.ts";
import type { ModelProto } from "./proto/onnx_pb.js";
import { saveModel } from "./write.ts";

/** IR version of what skipway writes (ONNX 1.16); every runtime in use reads it. */
const IR_VERSION = 10;

/** What a model is made of. */
export interface ModelParts extends Omit<Model, "save"> {
  /** The message that it was read from: what the graph does not model is written back from there. */
  readonly origin?: ModelProto;
}

/** A model as read or built. */
export class OnnxModel implements Model {
  readonly graph: Graph;
  readonly irVersion: number;
  readonly producer: Model["producer"];
  readonly functions: readonly ModelFunction[];
  readonly path?: string;

  constructor(parts: ModelParts) {
    this.graph = parts.graph;
    this.irVersion = parts.irVersion;
    this.producer = parts.producer;
    this.functions = parts.functions;
    if (parts.path !== undefined) this.path = parts.path;
    if (parts.origin !== undefined) origins.set(this, parts.origin);
  }

  async save(path: string): Promise<void> {
    await saveModel(this, path);
  }
}

/** A model around a graph. */
export function modelOf(graph: Graph, parts: Partial<ModelParts> = {}): Model {
  return new OnnxModel({
    irVersion: IR_VERSION,
    producer: { name: "skipway", version: "" },
    functions: [],
    ...parts,
    graph,
  });
}

/** The same model with another graph: producer, functions and unknown fields stay. */
export function withGraph(model: Model, graph: Graph): Model {
  const origin = origins.get(model);
  return new OnnxModel({
    irVersion: model.irVersion,
    producer: model.producer,
    functions: model.functions,
    graph,
    ...(origin === undefined ? {} : { origin }),
  });
}
