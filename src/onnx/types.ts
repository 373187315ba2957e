// Types of values from and to their protobuf form: tensors, and the containers that hold them.

import { fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { limits } from "../base/limits.ts";
import type { DType } from "../graph/dtype.ts";
import type { ValueType } from "../graph/graph.ts";
import { type Dim, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import { containerType, sequenceOf } from "../graph/value-type.ts";
import { CODE_OF, DTYPE_CODES } from "./dtype-codes.ts";
import { AttributeProtoSchema, type TypeProto, type TypeProtoSchema } from "./proto/onnx_pb.js";

/** What a value reads as whose type is not said, or not of a kind that is modelled. */
export const UNTYPED: ValueType = { dtype: "float32", shape: undefined };

/** The type that a message states. A sparse tensor counts as the dense one that it stands for. */
export function typeFrom(proto: TypeProto | undefined, depth = 0): ValueType {
  const type = proto?.value;
  if (type === undefined || depth > limits.subgraphDepthMax) return UNTYPED;
  const inside = (of: TypeProto | undefined): ValueType => typeFrom(of, depth + 1);
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
      return sequenceOf(inside(type.value.elemType));
    case "optionalType":
      return containerType({ kind: "optional", of: inside(type.value.elemType) });
    case "mapType": {
      const key: DType = DTYPE_CODES.get(type.value.keyType) ?? "int64";
      return containerType({ kind: "map", key, of: inside(type.value.valueType) });
    }
    default:
      return UNTYPED;
  }
}

/** The type in an attribute that holds one, from its bytes. */
export function typeOfAttribute(bytes: Uint8Array): ValueType | undefined {
  const { tp } = fromBinary(AttributeProtoSchema, bytes);
  return tp === undefined ? undefined : typeFrom(tp);
}

/** The message that states a type. */
export function typeTo(type: ValueType): MessageInitShape<typeof TypeProtoSchema> {
  const { container } = type;
  if (container === undefined) {
    const elemType = CODE_OF.get(type.dtype) ?? 0;
    return { value: { case: "tensorType", value: { elemType, ...shapeTo(type.shape) } } };
  }
  const inside = typeTo(container.of);
  switch (container.kind) {
    case "sequence":
      return { value: { case: "sequenceType", value: { elemType: inside } } };
    case "optional":
      return { value: { case: "optionalType", value: { elemType: inside } } };
    case "map": {
      const keyType = CODE_OF.get(container.key) ?? 0;
      return { value: { case: "mapType", value: { keyType, valueType: inside } } };
    }
  }
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
