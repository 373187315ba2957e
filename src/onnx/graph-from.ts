// Graphs from their protobuf form. What our graph does not model stays in the message that each node,
// value and graph was read from, and is written back from there.

import { isUtf8 } from "node:buffer";
import { toBinary } from "@bufbuild/protobuf";
import { diagnostic } from "../base/diagnostic.ts";
import { limits } from "../base/limits.ts";
import type {
  Attribute,
  AttributeInt,
  Graph,
  GraphFunction,
  Node,
  Value,
  ValueName,
} from "../graph/graph.ts";
import { functionKey } from "../graph/graph.ts";
import { NodeNames } from "../graph/node-names.ts";
import { inOrder } from "../graph/order.ts";
import type { TensorRef } from "../graph/tensor.ts";
import { ATTRIBUTE_TYPES } from "./attribute-types.ts";
import { concatenated } from "./chunks.ts";
import {
  type AttributeProto,
  AttributeProtoSchema,
  type FunctionProto,
  type GraphProto,
  type NodeProto,
  AttributeProto_AttributeType as Type,
  type ValueInfoProto,
} from "./proto/onnx_pb.js";
import { graphRemarks, nodeRemarks, valueRemarks } from "./remarks.ts";
import { type NamedTensor, sparseFrom, type TensorSetting, tensorFrom } from "./tensors.ts";
import { typeFrom } from "./types.ts";

/** The messages that parts of a graph were read from. */
export const origins: {
  readonly graphs: WeakMap<Graph, GraphProto>;
  readonly nodes: WeakMap<Node, NodeProto>;
  readonly attributes: WeakMap<Attribute, AttributeProto>;
  readonly values: WeakMap<Value, ValueInfoProto>;
} = {
  graphs: new WeakMap(),
  nodes: new WeakMap(),
  attributes: new WeakMap(),
  values: new WeakMap(),
};

/** What surrounds a graph in a file. */
export interface GraphSetting extends TensorSetting {
  readonly opsets: ReadonlyMap<string, number>;
  readonly metadata: ReadonlyMap<string, string>;
  readonly depth?: number;
}

/** The graph of a message; faults go to `report`. */
export function graphFrom(proto: GraphProto, setting: GraphSetting): Graph {
  const { report, opsets, metadata } = setting;
  const depth = setting.depth ?? 0;
  const tooDeep = depth > limits.subgraphDepthMax;
  if (tooDeep || proto.node.length > limits.nodesMax) report(overLimit(proto, tooDeep));
  const nodes = tooDeep || proto.node.length > limits.nodesMax ? [] : proto.node;
  const initializers = new Map<ValueName, TensorRef>();
  const add = ({ name, ref }: NamedTensor): void => {
    if (initializers.has(name)) report(duplicate(name));
    // A weight with a fault, which is told, still is the value of that name.
    initializers.set(name, ref ?? { dtype: "float32", shape: [], data: { kind: "absent" } });
  };
  for (const message of proto.initializer) add(tensorFrom(message, setting));
  for (const sparse of proto.sparseInitializer) add(sparseFrom(sparse, setting));
  const names = new NodeNames();
  const remarks = graphRemarks(proto);
  const read = nodes.map((node) => nodeFrom(node, names, { ...setting, depth: depth + 1 }));
  const ordered = inOrder(read);
  if (ordered !== read) {
    // What is written from the message comes in that order, too.
    const messages = new Map(read.map((node, i) => [node, nodes[i]]));
    proto.node = ordered.flatMap((node) => messages.get(node) ?? []);
  }
  const graph: Graph = {
    name: proto.name,
    inputs: proto.input.map(valueFrom),
    outputs: proto.output.map(valueFrom),
    nodes: ordered,
    initializers,
    values: new Map(proto.valueInfo.map((value) => [value.name, valueFrom(value)])),
    opsets,
    metadata,
    ...(remarks === undefined ? {} : { remarks }),
  };
  origins.graphs.set(graph, proto);
  return graph;
}

/** The functions of a model, by `domain/op`. Calls of one another are bounded when they are inlined. */
export function functionsFrom(
  protos: readonly FunctionProto[],
  setting: GraphSetting,
): Map<string, GraphFunction> {
  const functions = new Map<string, GraphFunction>();
  for (const proto of protos) {
    const names = new NodeNames();
    const inner = { ...setting, depth: 1 };
    const key = functionKey({ ...proto, domain: plainDomain(proto.domain), op: proto.name });
    functions.set(key, {
      inputs: proto.input,
      outputs: proto.output,
      nodes: inOrder(proto.node.map((node) => nodeFrom(node, names, inner))),
      defaults: new Map(
        proto.attributeProto.map((attribute) => [attribute.name, attributeFrom(attribute, inner)]),
      ),
      opsets: new Map(
        proto.opsetImport.map(({ domain, version }) => [plainDomain(domain), Number(version)]),
      ),
    });
  }
  return functions;
}

/** The graph with functions, still known as read from the same message. */
export function withFunctions(graph: Graph, functions: ReadonlyMap<string, GraphFunction>): Graph {
  const proto = origins.graphs.get(graph);
  const called: Graph = { ...graph, functions };
  if (proto !== undefined) origins.graphs.set(called, proto);
  return called;
}

function nodeFrom(proto: NodeProto, names: NodeNames, setting: GraphSetting): Node {
  const attributes = new Map<string, Attribute>();
  for (const attribute of proto.attribute) {
    const made = attributeFrom(attribute, setting);
    attributes.set(attribute.name, made);
    origins.attributes.set(made, attribute);
  }
  const remarks = nodeRemarks(proto);
  const node: Node = {
    name: names.take(proto.name, proto.opType),
    op: proto.opType,
    domain: plainDomain(proto.domain),
    inputs: proto.input,
    outputs: proto.output,
    attributes,
    ...(proto.overload === "" ? {} : { overload: proto.overload }),
    ...(remarks === undefined ? {} : { remarks }),
  };
  origins.nodes.set(node, proto);
  return node;
}

function attributeFrom(proto: AttributeProto, setting: GraphSetting): Attribute {
  const bytes = (): Uint8Array => toBinary(AttributeProtoSchema, proto);
  if (proto.refAttrName !== "") {
    const type = ATTRIBUTE_TYPES.get(proto.type);
    const reference = { kind: "reference", attribute: proto.refAttrName } as const;
    return type === undefined ? reference : { ...reference, type };
  }
  const text = (b: Uint8Array): string => Buffer.from(b.buffer, b.byteOffset, b.length).toString();
  switch (proto.type) {
    case Type.INT:
      return { kind: "int", value: integer(proto.i) };
    case Type.INTS:
      return { kind: "ints", value: proto.ints.map(integer) };
    case Type.FLOAT:
      return { kind: "float", value: proto.f };
    case Type.FLOATS:
      return { kind: "floats", value: proto.floats };
    case Type.STRING:
      if (!isUtf8(proto.s)) return { kind: "opaque", bytes: bytes() };
      return { kind: "string", value: text(proto.s) };
    case Type.STRINGS:
      if (!proto.strings.every((one) => isUtf8(one))) return { kind: "opaque", bytes: bytes() };
      return { kind: "strings", value: proto.strings.map(text) };
    case Type.TENSOR: {
      const { ref } =
        proto.t.length > 0 ? tensorFrom(concatenated(proto.t), setting) : { ref: undefined };
      if (ref === undefined) return { kind: "opaque", bytes: bytes() };
      return { kind: "tensor", value: ref };
    }
    case Type.GRAPH:
      if (proto.g === undefined) return { kind: "opaque", bytes: bytes() };
      return { kind: "graph", value: graphFrom(proto.g, { ...setting, metadata: new Map() }) };
    case Type.GRAPHS:
      return {
        kind: "graphs",
        value: proto.graphs.map((g) => graphFrom(g, { ...setting, metadata: new Map() })),
      };
    default:
      return { kind: "opaque", bytes: bytes() };
  }
}

function integer(value: bigint): AttributeInt {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function valueFrom(proto: ValueInfoProto): Value {
  const remarks = valueRemarks(proto);
  const type = typeFrom(proto.type);
  const value: Value = { name: proto.name, ...type, ...(remarks === undefined ? {} : { remarks }) };
  origins.values.set(value, proto);
  return value;
}

/** "ai.onnx" is another spelling of the standard domain. */
export function plainDomain(domain: string): string {
  return domain === "ai.onnx" ? "" : domain;
}

function overLimit(proto: GraphProto, deep: boolean): ReturnType<typeof diagnostic> {
  return diagnostic({
    id: "onnx/limit",
    severity: "error",
    where: `graph "${proto.name}"`,
    text: deep
      ? `graphs are nested deeper than ${limits.subgraphDepthMax}`
      : `has ${proto.node.length} nodes, at most ${limits.nodesMax} are read`,
    fix: "Simplify the model; no real model comes near this limit.",
  });
}

function duplicate(name: string): ReturnType<typeof diagnostic> {
  return diagnostic({
    id: "onnx/duplicate-initializer",
    severity: "error",
    where: `initializer "${name}"`,
    text: "stands in the file twice",
    fix: "Export the model again; names of weights must be unique.",
  });
}
