// Tensors whose elements lie in other files, wherever in a model they can stand: initializers, node
// attributes, bodies of control flow, model-local functions. A model file must not make us, or the
// runtime, open a file that its user did not name.

import { type Model, origins } from "./model.ts";
import {
  type GraphProto,
  type NodeProto,
  type TensorProto,
  TensorProto_DataLocation,
} from "./proto/onnx_pb.js";

/** The locations that the file of a model names, each once. Built models have none. */
export function externalLocations(model: Model): string[] {
  const found = new Set<string>();
  const file = origins.get(model);
  visitGraph(file?.graph, found);
  for (const { initialization, algorithm } of file?.trainingInfo ?? []) {
    visitGraph(initialization, found);
    visitGraph(algorithm, found);
  }
  for (const one of file?.functions ?? []) visitNodes(one.node, found);
  return [...found];
}

function visitNodes(nodes: readonly NodeProto[], found: Set<string>): void {
  for (const { attribute } of nodes) {
    for (const one of attribute) {
      const sparse = [one.sparseTensor, ...one.sparseTensors].flatMap((s) => [
        s?.values,
        s?.indices,
      ]);
      for (const tensor of [one.t, ...one.tensors, ...sparse]) visitTensor(tensor, found);
      for (const graph of [one.g, ...one.graphs]) visitGraph(graph, found);
    }
  }
}

function visitGraph(graph: GraphProto | undefined, found: Set<string>): void {
  if (graph === undefined) return;
  const sparse = graph.sparseInitializer.flatMap((s) => [s.values, s.indices]);
  for (const tensor of [...graph.initializer, ...sparse]) visitTensor(tensor, found);
  visitNodes(graph.node, found);
}

function visitTensor(tensor: TensorProto | undefined, found: Set<string>): void {
  if (tensor?.dataLocation !== TensorProto_DataLocation.EXTERNAL) return;
  found.add(tensor.externalData.find(({ key }) => key === "location")?.value ?? "");
}
