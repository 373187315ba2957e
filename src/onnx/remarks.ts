// What a file says of nodes, values and graphs that they do not model (documentation, metadata, annotations,
// denotations, fields of later versions), as the bytes of a message that has nothing else. They go with the
// object when a pass changes it, and into the file that is written.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { Graph, Value } from "../graph/graph.ts";
import { sameType } from "../graph/value-type.ts";
import { DTYPE_CODES } from "./dtype-codes.ts";
import {
  type GraphProto,
  GraphProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type TypeProto,
  TypeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "./proto/onnx_pb.js";
import { typeFrom, typeTo, UNTYPED } from "./types.ts";

/** Documentation, metadata and device configurations of a node; undefined where there is nothing. */
export function nodeRemarks(proto: NodeProto): Uint8Array | undefined {
  const { docString, metadataProps, deviceConfigurations, $unknown } = proto;
  const none = docString === "" && metadataProps.length === 0 && deviceConfigurations.length === 0;
  if (none && $unknown === undefined) return undefined;
  const rest = create(NodeProtoSchema);
  if (docString !== "") rest.docString = docString;
  Object.assign(rest, { metadataProps, deviceConfigurations });
  if ($unknown !== undefined) rest.$unknown = $unknown;
  return toBinary(NodeProtoSchema, rest);
}

/** Documentation, metadata and annotations of a graph; undefined where there is nothing. */
export function graphRemarks(proto: GraphProto): Uint8Array | undefined {
  const { docString, metadataProps, quantizationAnnotation, $unknown } = proto;
  const none =
    docString === "" && metadataProps.length === 0 && quantizationAnnotation.length === 0;
  if (none && $unknown === undefined) return undefined;
  const rest = create(GraphProtoSchema);
  if (docString !== "") rest.docString = docString;
  Object.assign(rest, { metadataProps, quantizationAnnotation });
  if ($unknown !== undefined) rest.$unknown = $unknown;
  return toBinary(GraphProtoSchema, rest);
}

/** The message of a graph's remarks. */
export function graphRest({ remarks }: Graph): GraphProto | undefined {
  return remarks === undefined ? undefined : fromBinary(GraphProtoSchema, remarks);
}

/** Documentation, metadata and the type of a value, where there is more to them than our types say. */
export function valueRemarks(proto: ValueInfoProto): Uint8Array | undefined {
  const { type, docString, metadataProps, $unknown } = proto;
  const none = docString === "" && metadataProps.length === 0 && $unknown === undefined;
  if (none && isPlain(type)) return undefined;
  const rest = create(ValueInfoProtoSchema);
  if (docString !== "") rest.docString = docString;
  Object.assign(rest, { type, metadataProps });
  if ($unknown !== undefined) rest.$unknown = $unknown;
  return toBinary(ValueInfoProtoSchema, rest);
}

/** The message of a value. Its type is written as it was read if it says the same. */
export function valueWith(value: Value, remarks: Uint8Array | undefined): ValueInfoProto {
  const { name } = value;
  if (remarks === undefined) return create(ValueInfoProtoSchema, { name, type: typeTo(value) });
  const rest = fromBinary(ValueInfoProtoSchema, remarks);
  const type = typeWith(value, rest.type);
  return Object.assign(rest, { name }, type === undefined ? {} : { type });
}

function typeWith(value: Value, read: TypeProto | undefined): TypeProto | undefined {
  if (read !== undefined && sameType(typeFrom(read), value)) return read;
  if (read === undefined && sameType(UNTYPED, value)) return undefined;
  const type = create(TypeProtoSchema, typeTo(value));
  return read === undefined || read.denotation === ""
    ? type
    : Object.assign(type, { denotation: read.denotation });
}

/** Whether our types say all that a message says. */
function isPlain(type: TypeProto | undefined): boolean {
  if (type === undefined || type.denotation !== "" || type.$unknown !== undefined) return false;
  const { value } = type;
  switch (value.case) {
    case "tensorType": {
      const { elemType, shape } = value.value;
      const dims = shape?.dim ?? [];
      return DTYPE_CODES.has(elemType) && dims.every(({ denotation }) => denotation === "");
    }
    case "sequenceType":
    case "optionalType":
      return isPlain(value.value.elemType);
    case "mapType":
      return DTYPE_CODES.has(value.value.keyType) && isPlain(value.value.valueType);
    default:
      return false;
  }
}
