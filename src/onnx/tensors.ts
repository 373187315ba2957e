// Tensors between their protobuf form and ours. The only place where ONNX's many ways of storing
// elements (raw bytes, typed lists, another file) become one.

import { create } from "@bufbuild/protobuf";
import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { limits } from "../base/limits.ts";
import { type DType, dtypeBytes } from "../graph/dtype.ts";
import type { TensorData, TensorRef } from "../graph/tensor.ts";
import { CODE_OF, DTYPE_CODES } from "./dtype-codes.ts";
import {
  StringStringEntryProtoSchema,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProtoSchema,
} from "./proto/onnx_pb.js";

/** Collects findings while a file is read. */
export type Report = (found: Diagnostic) => void;

/** What a tensor was read from, to be written back as it was. */
const origins = new WeakMap<TensorRef, TensorProto>();

/** A tensor of a file; undefined, with a finding, if it makes no sense. */
export function tensorFrom(proto: TensorProto, report: Report): TensorRef | undefined {
  const where = `tensor "${proto.name}"`;
  const dtype = DTYPE_CODES.get(proto.dataType);
  const shape = dimsOf(proto);
  if (dtype === undefined || shape === undefined) {
    report(
      invalid(
        where,
        dtype === undefined ? `has the unknown type ${proto.dataType}` : badDims(proto),
      ),
    );
    return undefined;
  }
  const data = dataOf(proto, dtype, shape);
  if (typeof data === "string") {
    report(invalid(where, data));
    return undefined;
  }
  const ref = { dtype, shape, data };
  origins.set(ref, proto);
  return ref;
}

/** The protobuf form of a tensor; one that came from a file is written as it was read. */
export function tensorTo(ref: TensorRef, name: string): TensorProto {
  const origin = origins.get(ref);
  if (origin?.name === name) return origin;
  if (origin !== undefined) return Object.assign(create(TensorProtoSchema), origin, { name });
  const proto = create(TensorProtoSchema, {
    name,
    dataType: CODE_OF.get(ref.dtype) ?? 0,
    dims: ref.shape.map(BigInt),
  });
  switch (ref.data.kind) {
    case "bytes":
      proto.rawData = ref.data.bytes;
      break;
    case "strings":
      proto.stringData = [...ref.data.values];
      break;
    case "external":
      proto.dataLocation = TensorProto_DataLocation.EXTERNAL;
      proto.externalData = Object.entries({
        location: ref.data.location,
        offset: String(ref.data.offset),
        ...(ref.data.length === undefined ? {} : { length: String(ref.data.length) }),
      }).map(([key, value]) => create(StringStringEntryProtoSchema, { key, value }));
      break;
    case "absent":
      break;
  }
  return proto;
}

function dimsOf(proto: TensorProto): readonly number[] | undefined {
  if (proto.dims.length > limits.rankMax) return undefined;
  const dims = proto.dims.map(Number);
  const valid = dims.every((dim) => Number.isSafeInteger(dim) && dim >= 0);
  return valid && Number.isSafeInteger(count(dims)) ? dims : undefined;
}

function badDims(proto: TensorProto): string {
  return proto.dims.length > limits.rankMax
    ? `has ${proto.dims.length} dims, at most ${limits.rankMax} are read`
    : `has the dims [${proto.dims.join(",")}], which no tensor can have`;
}

function count(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

/** The elements, or a sentence about what is wrong with them. */
function dataOf(proto: TensorProto, dtype: DType, shape: readonly number[]): TensorData | string {
  if (proto.dataLocation === TensorProto_DataLocation.EXTERNAL) return externalOf(proto);
  const elements = count(shape);
  if (dtype === "string") {
    if (proto.stringData.length === elements) return { kind: "strings", values: proto.stringData };
    return proto.stringData.length === 0
      ? { kind: "absent" }
      : `declares ${elements} strings and holds ${proto.stringData.length}`;
  }
  const wanted = dtypeBytes(dtype, elements);
  const bytes = proto.rawData.byteLength > 0 ? proto.rawData : typedBytes(proto, dtype);
  if (bytes === undefined || (bytes.byteLength === 0 && wanted > 0)) return { kind: "absent" };
  if (bytes.byteLength === wanted) return { kind: "bytes", bytes };
  return `declares ${dtype}[${shape.join(",")}], which takes ${wanted} bytes, and holds ${bytes.byteLength}`;
}

function externalOf(proto: TensorProto): TensorData | string {
  const entries = new Map(proto.externalData.map(({ key, value }) => [key, value]));
  const size = (key: string): number | undefined => {
    const text = entries.get(key);
    return text === undefined ? undefined : Number(text);
  };
  const [offset = 0, length] = [size("offset"), size("length")];
  const whole = (n: number | undefined): boolean =>
    n === undefined || (Number.isSafeInteger(n) && n >= 0);
  if (!whole(offset) || !whole(length)) return "has an offset or length that is no whole number";
  return { kind: "external", location: entries.get("location") ?? "", offset, length };
}

/** Elements of the typed lists as little-endian bytes (TensorProto in onnx.proto says which list). */
function typedBytes(proto: TensorProto, dtype: DType): Uint8Array | undefined {
  const bytes = (array: ArrayBufferView): Uint8Array =>
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  switch (dtype) {
    case "float32":
    case "complex64":
      return bytes(Float32Array.from(proto.floatData));
    case "float64":
    case "complex128":
      return bytes(Float64Array.from(proto.doubleData));
    case "int64":
      return bytes(BigInt64Array.from(proto.int64Data));
    case "uint64":
      return bytes(BigUint64Array.from(proto.uint64Data));
    case "uint32":
      return bytes(Uint32Array.from(proto.uint64Data, Number));
    case "int32":
      return bytes(Int32Array.from(proto.int32Data));
    case "int16":
    case "uint16":
    case "float16":
    case "bfloat16":
      return bytes(Uint16Array.from(proto.int32Data));
    default:
      // One byte each; types below a byte are packed by the writer of the file.
      return bytes(Uint8Array.from(proto.int32Data));
  }
}

/** A finding about a tensor. */
export function invalid(where: string, text: string): Diagnostic {
  return diagnostic({
    id: "onnx/tensor",
    severity: "error",
    where,
    text,
    fix: "Export the model again; the file is damaged or was written by a broken tool.",
  });
}
