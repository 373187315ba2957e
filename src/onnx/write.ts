// From a model to the bytes of an ONNX file. Nodes, values and tensors that were read and not changed
// are written as they were read, unknown fields included.

import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { diagnostic } from "../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import type { Attribute, Graph, Node, Value } from "../graph/graph.ts";
import { type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import { CODE_OF } from "./dtype-codes.ts";
import { origins } from "./graph-from.ts";
import { type Model, origins as modelOrigins } from "./model.ts";
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
  OperatorSetIdProtoSchema,
  StringStringEntryProtoSchema,
  AttributeProto_AttributeType as Type,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "./proto/onnx_pb.js";
import { tensorTo } from "./tensors.ts";

/** The bytes of an ONNX file: the same model gives the same bytes. */
export function encodeModel(model: Model): Uint8Array {
  return toBinary(ModelProtoSchema, modelTo(model));
}

/** Writes a model to a file that is whole or not there: written aside, flushed, then renamed. */
export async function saveModel(model: Model, path: string): Promise<void> {
  const aside = `${path}.${process.pid}.tmp`;
  try {
    const file = await open(aside, "w");
    try {
      await file.writeFile(encodeModel(model));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(aside, path);
  } catch (cause) {
    await rm(aside, { force: true });
    throw new SkipwayError("environment", `cannot write ${path}: ${messageOf(cause)}`, {
      cause,
      diagnostics: [
        diagnostic({
          id: "onnx/unwritable",
          severity: "error",
          where: path,
          text: `the file cannot be written: ${messageOf(cause)}`,
          fix: `Check that ${dirname(path)} exists, is writable and has room.`,
        }),
      ],
    });
  }
}

function modelTo(model: Model): ModelProto {
  const origin = modelOrigins.get(model);
  const entry = (key: string, value: string) =>
    create(StringStringEntryProtoSchema, { key, value });
  return Object.assign(create(ModelProtoSchema), origin, {
    irVersion: BigInt(model.irVersion),
    producerName: model.producer.name,
    producerVersion: model.producer.version,
    opsetImport: opsetsTo(model.graph, origin),
    graph: graphTo(model.graph, origin?.graph),
    metadataProps: [...model.graph.metadata].map(([key, value]) => entry(key, value)),
    functions: model.functions.map((one) => fromBinary(FunctionProtoSchema, one.bytes)),
  });
}

function opsetsTo(graph: Graph, origin: ModelProto | undefined): ModelProto["opsetImport"] {
  const written = new Map(origin?.opsetImport.map((one) => [normal(one.domain), one]));
  return [...graph.opsets].map(([domain, version]) => {
    const known = written.get(domain);
    if (known !== undefined && Number(known.version) === version) return known;
    return create(OperatorSetIdProtoSchema, { domain, version: BigInt(version) });
  });
}

function normal(domain: string): string {
  return domain === "ai.onnx" ? "" : domain;
}

function graphTo(graph: Graph, around?: GraphProto): GraphProto {
  const same = origins.graphs.get(graph);
  if (same !== undefined) return same;
  const ends = new Set([...graph.inputs, ...graph.outputs].map((value) => value.name));
  const sparse = around?.sparseInitializer ?? [];
  const isSparse = new Set(sparse.map((one) => one.values?.name));
  return Object.assign(create(GraphProtoSchema), around, {
    name: graph.name,
    node: graph.nodes.map(nodeTo),
    initializer: [...graph.initializers]
      .filter(([name]) => !isSparse.has(name))
      .map(([name, ref]) => tensorTo(ref, name)),
    input: graph.inputs.map(valueTo),
    output: graph.outputs.map(valueTo),
    valueInfo: [...graph.values.values()].filter(({ name }) => !ends.has(name)).map(valueTo),
  });
}

function nodeTo(node: Node): NodeProto {
  const same = origins.nodes.get(node);
  if (same !== undefined) return same;
  return create(NodeProtoSchema, {
    name: node.name,
    opType: node.op,
    domain: node.domain,
    input: [...node.inputs],
    output: [...node.outputs],
    attribute: [...node.attributes].map(([name, attribute]) => attributeTo(name, attribute)),
  });
}

function attributeTo(name: string, attribute: Attribute): AttributeProto {
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
      return make({ type: Type.TENSOR, t: tensorTo(attribute.value, "") });
    case "graph":
      return make({ type: Type.GRAPH, g: graphTo(attribute.value) });
    case "graphs":
      return make({ type: Type.GRAPHS, graphs: attribute.value.map((g) => graphTo(g)) });
    case "reference":
    case "opaque":
      return Object.assign(fromBinary(AttributeProtoSchema, attribute.bytes), { name });
  }
}

function valueTo(value: Value): ValueInfoProto {
  const same = origins.values.get(value);
  if (same !== undefined) return same;
  return create(ValueInfoProtoSchema, {
    name: value.name,
    type: {
      value: {
        case: "tensorType",
        value: { elemType: CODE_OF.get(value.dtype) ?? 0, ...shapeTo(value.shape) },
      },
    },
  });
}

function shapeTo(shape: Shape | undefined) {
  if (shape === undefined) return {};
  const dim = shape.map((size) => {
    if (size === UNKNOWN_DIM) return {};
    return typeof size === "number"
      ? { value: { case: "dimValue" as const, value: BigInt(size) } }
      : { value: { case: "dimParam" as const, value: size } };
  });
  return { shape: { dim } };
}
