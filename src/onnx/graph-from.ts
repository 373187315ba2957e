// Graphs from their protobuf form. What our graph does not model stays in the message that each node,
// value and graph was read from, and is written back from there.

import { toBinary } from "@bufbuild/protobuf";
import { diagnostic } from "../base/diagnostic.ts";
import { limits } from "../base/limits.ts";
import type { DType } from "../graph/dtype.ts";
import type {
  Attribute,
  AttributeInt,
  Graph,
  GraphFunction,
  Node,
  Value,
  ValueName,
} from "../graph/graph.ts";
import { type Dim, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import type { TensorRef } from "../graph/tensor.ts";
import { DTYPE_CODES } from "./dtype-codes.ts";
import {
  type AttributeProto,
  AttributeProtoSchema,
  type FunctionProto,
  type GraphProto,
  type NodeProto,
  AttributeProto_AttributeType as Type,
  type TypeProto,
  type ValueInfoProto,
} from "./proto/onnx_pb.js";
import { type Report, tensorFrom } from "./tensors.ts";

/** The messages that parts of a graph were read from. */
export const origins: {
  readonly graphs: WeakMap<Graph, GraphProto>;
  readonly nodes: WeakMap<Node, NodeProto>;
  readonly values: WeakMap<Value, ValueInfoProto>;
} = { graphs: new WeakMap(), nodes: new WeakMap(), values: new WeakMap() };

/** What surrounds a graph in a file. */
export interface GraphSetting {
  readonly opsets: ReadonlyMap<string, number>;
  readonly metadata: ReadonlyMap<string, string>;
  readonly report: Report;
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
  for (const tensor of proto.initializer) {
    const ref = tensorFrom(tensor, report);
    if (initializers.has(tensor.name)) report(duplicate(tensor.name));
    if (ref !== undefined) initializers.set(tensor.name, ref);
  }
  for (const sparse of proto.sparseInitializer) {
    const dtype = DTYPE_CODES.get(sparse.values?.dataType ?? 0);
    const shape = sparse.dims.map(Number);
    if (dtype !== undefined && sparse.values !== undefined) {
      initializers.set(sparse.values.name, { dtype, shape, data: { kind: "absent" } });
    }
  }
  const names = new Set<string>();
  const graph: Graph = {
    name: proto.name,
    inputs: proto.input.map(valueFrom),
    outputs: proto.output.map(valueFrom),
    nodes: nodes.map((node) => nodeFrom(node, names, { ...setting, depth: depth + 1 })),
    initializers,
    values: new Map(proto.valueInfo.map((value) => [value.name, valueFrom(value)])),
    opsets,
    metadata,
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
    const names = new Set<string>();
    const inner = { ...setting, depth: 1 };
    functions.set(`${proto.domain === "ai.onnx" ? "" : proto.domain}/${proto.name}`, {
      inputs: proto.input,
      outputs: proto.output,
      nodes: proto.node.map((node) => nodeFrom(node, names, inner)),
      defaults: new Map(
        proto.attributeProto.map((attribute) => [attribute.name, attributeFrom(attribute, inner)]),
      ),
      opsets: new Map(
        proto.opsetImport.map(({ domain, version }) => [
          domain === "ai.onnx" ? "" : domain,
          Number(version),
        ]),
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

function nodeFrom(proto: NodeProto, names: Set<string>, setting: GraphSetting): Node {
  const stem = proto.name === "" ? `${proto.opType}_${names.size}` : proto.name;
  let name = stem;
  for (let n = 1; names.has(name); n++) name = `${stem}_${n}`;
  names.add(name);
  const attributes = new Map<string, Attribute>();
  for (const attribute of proto.attribute) {
    attributes.set(attribute.name, attributeFrom(attribute, setting));
  }
  const node: Node = {
    name,
    op: proto.opType,
    domain: proto.domain === "ai.onnx" ? "" : proto.domain,
    inputs: proto.input,
    outputs: proto.output,
    attributes,
  };
  origins.nodes.set(node, proto);
  return node;
}

function attributeFrom(proto: AttributeProto, setting: GraphSetting): Attribute {
  const bytes = (): Uint8Array => toBinary(AttributeProtoSchema, proto);
  if (proto.refAttrName !== "") {
    return { kind: "reference", attribute: proto.refAttrName, bytes: bytes() };
  }
  const text = (b: Uint8Array): string => Buffer.from(b).toString("utf8");
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
      return { kind: "string", value: text(proto.s) };
    case Type.STRINGS:
      return { kind: "strings", value: proto.strings.map(text) };
    case Type.TENSOR: {
      const value = proto.t && tensorFrom(proto.t, setting.report);
      return value === undefined ? { kind: "opaque", bytes: bytes() } : { kind: "tensor", value };
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
  const { dtype, shape } = typeFrom(proto.type);
  const value = { name: proto.name, dtype, shape };
  origins.values.set(value, proto);
  return value;
}

/** Sequences, maps and optionals count as their elements, with an unknown shape. */
function typeFrom(
  proto: TypeProto | undefined,
  depth = 0,
): { dtype: DType; shape: Shape | undefined } {
  const type = proto?.value;
  const unknown = { dtype: "float32" as const, shape: undefined };
  if (type === undefined || depth > limits.subgraphDepthMax) return unknown;
  switch (type.case) {
    case "tensorType":
    case "sparseTensorType":
      return {
        dtype: DTYPE_CODES.get(type.value.elemType) ?? "float32",
        shape: type.value.shape?.dim.map((dim): Dim => {
          if (dim.value.case === "dimParam") return dim.value.value || UNKNOWN_DIM;
          if (dim.value.case !== "dimValue") return UNKNOWN_DIM;
          const size = Number(dim.value.value);
          return Number.isSafeInteger(size) && size >= 0 ? size : UNKNOWN_DIM;
        }),
      };
    case "sequenceType":
    case "optionalType":
      return { dtype: typeFrom(type.value.elemType, depth + 1).dtype, shape: undefined };
    default:
      return unknown;
  }
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
