// The types of attributes by the numbers that a file has for them (AttributeProto.AttributeType).

import type { AttributeType } from "../graph/graph.ts";
import { AttributeProto_AttributeType as Type } from "./proto/onnx_pb.js";

const TYPES: readonly (readonly [Type, AttributeType])[] = [
  [Type.FLOAT, "float"],
  [Type.INT, "int"],
  [Type.STRING, "string"],
  [Type.TENSOR, "tensor"],
  [Type.GRAPH, "graph"],
  [Type.FLOATS, "floats"],
  [Type.INTS, "ints"],
  [Type.STRINGS, "strings"],
  [Type.TENSORS, "tensors"],
  [Type.GRAPHS, "graphs"],
  [Type.SPARSE_TENSOR, "sparse_tensor"],
  [Type.SPARSE_TENSORS, "sparse_tensors"],
  [Type.TYPE_PROTO, "type_proto"],
  [Type.TYPE_PROTOS, "type_protos"],
];

/** Type of an attribute by its number. */
export const ATTRIBUTE_TYPES: ReadonlyMap<Type, AttributeType> = new Map(TYPES);

/** Number of an attribute's type. */
export const TYPE_OF: ReadonlyMap<AttributeType | undefined, Type> = new Map(
  TYPES.map(([number, type]) => [type, number]),
);
