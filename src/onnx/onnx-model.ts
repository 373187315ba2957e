// Models as objects: read from a file or built around a graph, and written to a file.

import { dirname } from "node:path";
import { functionKey, type Graph } from "../graph/graph.ts";
import { withExternalTensors } from "./external-data.ts";
import { plainDomain } from "./graph-from.ts";
import { functionMessages } from "./messages.ts";
import { type Model, type ModelFunction, origins, type SaveOptions } from "./model.ts";
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

  async save(path: string, options?: SaveOptions): Promise<void> {
    await saveModel(this, path, options);
  }
}

/** A model around a graph. */
export function modelOf(graph: Graph, parts: Partial<ModelParts> = {}): Model {
  return new OnnxModel({
    irVersion: IR_VERSION,
    producer: { name: "skipway", version: "" },
    functions: functionMessages(graph, []),
    ...parts,
    graph,
  });
}

/** The same model with another graph: producer, functions and unknown fields stay. */
export function withGraph(model: Model, graph: Graph): Model {
  const origin = origins.get(model);
  return new OnnxModel({
    irVersion: irVersionFor(model, graph),
    producer: model.producer,
    functions: functionMessages(graph, functionsKept(model, graph)),
    graph,
    ...(model.path === undefined ? {} : { path: model.path }),
    ...(origin === undefined ? {} : { origin }),
  });
}

/** Functions that the graph still has, in the operator sets that they were read with: byte for byte. */
function functionsKept(model: Model, graph: Graph): readonly ModelFunction[] {
  return model.functions.filter((one) => {
    const key = functionKey({ ...one, domain: plainDomain(one.domain), op: one.name });
    const before = model.graph.functions?.get(key);
    const now = graph.functions?.get(key);
    if (now === undefined) return before === undefined;
    return before?.opsets.get("") === now.opsets.get("");
  });
}

/** Before IR version 4 every initializer had to be an input too (onnx, docs/IR.md); a new one is none. */
function irVersionFor(model: Model, graph: Graph): number {
  if (model.irVersion >= 4 || graph === model.graph) return model.irVersion;
  const inputs = new Set(graph.inputs.map(({ name }) => name));
  return [...graph.initializers.keys()].every((name) => inputs.has(name)) ? model.irVersion : 4;
}

/**
 * The model with the data of its weights in memory, where they lie in files beside it.
 *
 * @throws SkipwayError `input` for files that are missing, outside the model's folder or too short.
 * @example
 * const model = await withExternalData(await loadModel("model.onnx"));
 */
export async function withExternalData(model: Model): Promise<Model> {
  const folder = model.path === undefined ? undefined : dirname(model.path);
  const graph = await withExternalTensors(model.graph, folder);
  return graph === model.graph ? model : withGraph(model, graph);
}
