// Messages from models, graphs and nodes. Nodes, values and tensors that were read and not changed are
// written as they were read, unknown fields included. Fields are written in the order of their numbers, as
// other writers do, so that a file that was not changed is the same byte for byte.

import { create, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import { boundNames, calleeOf, calleesOf } from "../graph/callee.ts";
import type { Attribute, Graph, GraphFunction, Node, Value } from "../graph/graph.ts";
import { functionKey } from "../graph/graph.ts";
import { TYPE_OF } from "./attribute-types.ts";
import { Chunks } from "./chunks.ts";
import { origins, plainDomain } from "./graph-from.ts";
import { type Model, type ModelFunction, origins as modelOrigins } from "./model.ts";
import {
  type AttributeProto,
  AttributeProtoSchema,
  FunctionProtoSchema,
  type GraphProto,
  GraphProtoSchema,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type OperatorSetIdProto,
  OperatorSetIdProtoSchema,
  type SparseTensorProto,
  type StringStringEntryProto,
  StringStringEntryProtoSchema,
  AttributeProto_AttributeType as Type,
  type ValueInfoProto,
} from "./proto/onnx_pb.js";
import { graphRest, valueWith } from "./remarks.ts";
import { sparseTo, tensorTo } from "./tensors.ts";

/** Numbers of the fields that are written by themselves. */
const MODEL = { graph: 7, functions: 25 };
const GRAPH = { node: 1, initializer: 5 };

/** The message of a model, or of it with another graph; weights as views. */
export function modelChunks(model: Model, graph: Graph = model.graph): Chunks {
  const origin = modelOrigins.get(model);
  const chunks = new Chunks();
  const { irVersion, producer } = model;
  const part = (fields: Partial<ModelProto>): void =>
    chunks.push(toBinary(ModelProtoSchema, Object.assign(create(ModelProtoSchema), fields)));
  part({
    irVersion: BigInt(irVersion),
    ...text({ producerName: producer.name, producerVersion: producer.version }, origin),
    ...own(origin, ["domain", "modelVersion", "docString"]),
  });
  chunks.nested(MODEL.graph, graphChunks(graph, origin?.graph));
  part({
    opsetImport: opsetsTo(graph, origin),
    metadataProps: metadataTo(graph.metadata, origin?.metadataProps ?? []),
    ...own(origin, ["trainingInfo"]),
  });
  for (const one of model.functions) chunks.nested(MODEL.functions, Chunks.of(one.bytes));
  part(own(origin, ["configuration", "$unknown"]));
  return chunks;
}

/** The functions of a graph as messages: those that are known as they are, others made. */
export function functionMessages(graph: Graph, known: readonly ModelFunction[]): ModelFunction[] {
  const found = new Set(
    known.map((one) => functionKey({ ...one, domain: plainDomain(one.domain), op: one.name })),
  );
  const missing = [...(graph.functions ?? [])].filter(([key]) => !found.has(key));
  const callees = missing.length === 0 ? new Map() : calleesOf(graph);
  const made = missing.map(([key, one]): ModelFunction => {
    const { domain, op: name, overload = "" } = callees.get(key) ?? calleeOf(key);
    return { domain, name, overload, bytes: functionTo({ domain, name, overload }, one) };
  });
  return [...known, ...made];
}

function functionTo(called: Omit<ModelFunction, "bytes">, one: GraphFunction): Uint8Array {
  const { defaults, nodes, inputs, outputs, opsets } = one;
  const message = Object.assign(create(FunctionProtoSchema), {
    ...text({ ...called }, undefined),
    input: [...inputs],
    output: [...outputs],
    attribute: [...boundNames(nodes)].filter((name) => !defaults.has(name)),
    attributeProto: [...defaults].map(([name, attribute]) => attributeTo(name, attribute)),
    node: nodes.map(nodeTo),
    opsetImport: [...opsets].map(([domain, version]) => versionTo(domain, version)),
  });
  return toBinary(FunctionProtoSchema, message);
}

/** Fields that are set in a message, and no defaults. */
function own<M extends Message, K extends keyof M>(
  message: M | undefined,
  keys: readonly K[],
): Partial<M> {
  const found: Partial<M> = {};
  if (message === undefined) return found;
  for (const key of keys) if (Object.hasOwn(message, key)) found[key] = message[key];
  return found;
}

/** Texts without those that are empty, unless the file that was read has them empty. */
function text<T extends Record<string, string>>(fields: T, origin: object | undefined): Partial<T> {
  const kept: Partial<T> = { ...fields };
  for (const key in fields) {
    if (fields[key] === "" && (origin === undefined || !Object.hasOwn(origin, key))) {
      delete kept[key];
    }
  }
  return kept;
}

function opsetsTo(graph: Graph, origin: ModelProto | undefined): OperatorSetIdProto[] {
  const read = origin?.opsetImport ?? [];
  const written = new Map(read.map((one) => [plainDomain(one.domain), one]));
  const isRead = (domain: string, version: number): boolean =>
    Number(written.get(domain)?.version) === version;
  // As it was read, which may name a domain twice.
  const same = [...graph.opsets].every(([domain, version]) => isRead(domain, version));
  if (same && graph.opsets.size === written.size) return [...read];
  return [...graph.opsets].map(([domain, version]) => {
    const known = written.get(domain);
    if (known !== undefined && isRead(domain, version)) return known;
    return versionTo(domain, version);
  });
}

function versionTo(domain: string, version: number): OperatorSetIdProto {
  return create(OperatorSetIdProtoSchema, { domain, version: BigInt(version) });
}

function metadataTo(
  metadata: ReadonlyMap<string, string>,
  read: readonly StringStringEntryProto[],
): StringStringEntryProto[] {
  const written = new Map(read.map((entry) => [entry.key, entry]));
  const same = [...metadata].every(([key, value]) => written.get(key)?.value === value);
  if (same && metadata.size === written.size) return [...read];
  return [...metadata].map(([key, value]) => {
    const known = written.get(key);
    return known?.value === value ? known : create(StringStringEntryProtoSchema, { key, value });
  });
}

/** The message of a graph. */
function graphChunks(graph: Graph, around?: GraphProto): Chunks {
  const same = origins.graphs.get(graph);
  const chunks = new Chunks();
  const part = (fields: Partial<GraphProto>): void =>
    chunks.push(toBinary(GraphProtoSchema, Object.assign(create(GraphProtoSchema), fields)));
  const rest = same ?? graphRest(graph) ?? around;
  const nodes = same?.node ?? graph.nodes.map(nodeTo);
  for (const node of nodes) {
    chunks.nested(GRAPH.node, Chunks.of(toBinary(NodeProtoSchema, node)));
  }
  part(text({ name: graph.name }, same ?? around));
  for (const tensor of initializersOf(graph, same)) {
    chunks.nested(GRAPH.initializer, tensor);
  }
  part({
    ...own(rest, ["docString", "quantizationAnnotation", "metadataProps", "$unknown"]),
    sparseInitializer: same?.sparseInitializer ?? sparseOf(graph),
    ...(same === undefined ? valuesTo(graph) : own(same, ["input", "output", "valueInfo"])),
  });
  return chunks;
}

function valuesTo(graph: Graph): Pick<GraphProto, "input" | "output" | "valueInfo"> {
  const ends = new Set([...graph.inputs, ...graph.outputs].map((value) => value.name));
  return {
    input: graph.inputs.map(valueTo),
    output: graph.outputs.map(valueTo),
    valueInfo: [...graph.values.values()].filter(({ name }) => !ends.has(name)).map(valueTo),
  };
}

function initializersOf(graph: Graph, same: GraphProto | undefined): Chunks[] {
  if (same !== undefined) return same.initializer.map((message) => Chunks.of(message));
  return [...graph.initializers]
    .filter(([name, ref]) => sparseTo(ref, name) === undefined)
    .map(([name, ref]) => tensorTo(ref, name));
}

function sparseOf(graph: Graph): SparseTensorProto[] {
  return [...graph.initializers].flatMap(([name, ref]) => sparseTo(ref, name) ?? []);
}

function nodeTo(node: Node): NodeProto {
  const same = origins.nodes.get(node);
  if (same !== undefined) return same;
  const { name, op: opType, domain, overload = "", remarks } = node;
  const fields = {
    ...text({ name, opType, domain, overload }, undefined),
    input: [...node.inputs],
    output: [...node.outputs],
    attribute: [...node.attributes].map(([key, attribute]) => attributeTo(key, attribute)),
  };
  const rest =
    remarks === undefined ? create(NodeProtoSchema) : fromBinary(NodeProtoSchema, remarks);
  return Object.assign(rest, fields);
}

function graphTo(graph: Graph): GraphProto {
  return origins.graphs.get(graph) ?? fromBinary(GraphProtoSchema, graphChunks(graph).joined());
}

function attributeTo(name: string, attribute: Attribute): AttributeProto {
  const same = origins.attributes.get(attribute);
  if (same !== undefined) return same.name === name ? same : { ...same, name };
  const make = (fields: Partial<AttributeProto>): AttributeProto =>
    Object.assign(create(AttributeProtoSchema), { name }, fields);
  const bytes = (text: string): Uint8Array => Buffer.from(text, "utf8");
  switch (attribute.kind) {
    case "int":
      return make({ type: Type.INT, i: BigInt(attribute.value) });
    case "ints":
      return make({ type: Type.INTS, ints: attribute.value.map(BigInt) });
    case "float":
      return make({ type: Type.FLOAT, f: attribute.value });
    case "floats":
      return make({ type: Type.FLOATS, floats: [...attribute.value] });
    case "string":
      return make({ type: Type.STRING, s: bytes(attribute.value) });
    case "strings":
      return make({ type: Type.STRINGS, strings: attribute.value.map(bytes) });
    case "tensor":
      return make({ type: Type.TENSOR, t: [tensorTo(attribute.value, "").joined()] });
    case "graph":
      return make({ type: Type.GRAPH, g: graphTo(attribute.value) });
    case "graphs":
      return make({ type: Type.GRAPHS, graphs: attribute.value.map(graphTo) });
    case "reference": {
      const type = TYPE_OF.get(attribute.type);
      return make({ refAttrName: attribute.attribute, ...(type === undefined ? {} : { type }) });
    }
    case "opaque":
      return Object.assign(fromBinary(AttributeProtoSchema, attribute.bytes), { name });
  }
}

function valueTo(value: Value): ValueInfoProto {
  const same = origins.values.get(value);
  if (same !== undefined) return same;
  return valueWith(value, value.remarks);
}
