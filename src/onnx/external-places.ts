// Every tensor of a file whose elements lie in another file, wherever in a model it can stand: weights,
// sparse weights, attributes, bodies of control flow, functions, training graphs.

import type { ExternalData } from "../graph/tensor.ts";
import { concatenated } from "./chunks.ts";
import { DTYPE_CODES } from "./dtype-codes.ts";
import { type Beside, externalFrom } from "./external-entries.ts";
import {
  type AttributeProto,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  type SparseTensorProto,
  TensorProto_DataLocation,
} from "./proto/onnx_pb.js";
import { dimsFrom, tensorBytes, tensorHeader } from "./tensors.ts";

/** A tensor with its data in another file. */
export interface ExternalPlace {
  /** In the user's words. */
  readonly where: string;
  readonly data: ExternalData;
  /** What the tensor takes. */
  readonly bytes: number;
}

/** Collects the places, and a sentence for each that is not allowed. */
export class ExternalPlaces {
  readonly found: ExternalPlace[] = [];
  readonly faults: { readonly where: string; readonly text: string }[] = [];
  readonly #beside: Beside | undefined;

  constructor(file: ModelProto, beside: Beside | undefined) {
    this.#beside = beside;
    this.#graph(file.graph);
    for (const { initialization, algorithm } of file.trainingInfo) {
      this.#graph(initialization);
      this.#graph(algorithm);
    }
    for (const one of file.functions) {
      this.#nodes(one.node);
      one.attributeProto.forEach(this.#attribute);
    }
  }

  #graph(graph: GraphProto | undefined): void {
    if (graph === undefined) return;
    graph.initializer.forEach(this.#tensor);
    graph.sparseInitializer.forEach(this.#sparse);
    this.#nodes(graph.node);
  }

  #nodes(nodes: readonly NodeProto[]): void {
    for (const { attribute } of nodes) {
      attribute.forEach(this.#attribute);
    }
  }

  readonly #attribute = (one: AttributeProto): void => {
    if (one.t.length > 0) this.#tensor(concatenated(one.t));
    one.tensors.forEach(this.#tensor);
    one.sparseTensors.forEach(this.#sparse);
    if (one.sparseTensor !== undefined) this.#sparse(one.sparseTensor);
    this.#graph(one.g);
    for (const graph of one.graphs) this.#graph(graph);
  };

  readonly #sparse = ({ values, indices }: SparseTensorProto): void => {
    this.#tensor(concatenated(values));
    this.#tensor(concatenated(indices));
  };

  readonly #tensor = (message: Uint8Array): void => {
    const header = message.length === 0 ? undefined : tensorHeader(message);
    if (header?.dataLocation !== TensorProto_DataLocation.EXTERNAL) return;
    const dtype = DTYPE_CODES.get(header.dataType);
    const shape = dimsFrom(header.dims);
    const where = `tensor "${header.name}"`;
    // An unknown type or impossible shape is told where the tensor is read, if it is; the runtime may read more.
    const known = dtype !== undefined && typeof shape !== "string";
    const bytes = known ? tensorBytes(dtype, shape) : undefined;
    const data = externalFrom(header.externalData, bytes, this.#beside);
    if (typeof data === "string") this.faults.push({ where, text: data });
    else this.found.push({ where, data, bytes: bytes ?? 0 });
  };
}
