// Tensors between their protobuf form and ours. Data stays a view of the file wherever its layout allows
// it; a tensor that came from a file is written back as it was.

import { create } from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { messageOf } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { type DType, dtypeBytes } from "../graph/dtype.ts";
import { bytesOf, type TensorData, type TensorRef } from "../graph/tensor.ts";
import { Chunks, concatenated } from "./chunks.ts";
import { CODE_OF, DTYPE_CODES } from "./dtype-codes.ts";
import { type Beside, externalEntries, externalFrom } from "./external-entries.ts";
import {
  type SparseTensorProto,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProtoSchema,
} from "./proto/onnx_pb.js";
import {
  type DataRecord,
  FIELD,
  joinTensor,
  payloadOf,
  splitTensor,
  type TensorParts,
} from "./tensor-message.ts";

/** Collects findings while a file is read. */
export type Report = (found: Diagnostic) => void;

/** What surrounds a tensor in a file. */
export interface TensorSetting {
  readonly report: Report;
  /** Where locations of external data start. */
  readonly beside: Beside | undefined;
}

/** What a tensor was read from; without the message where its data has been moved since. */
interface Origin {
  readonly parts: TensorParts;
  readonly message?: Uint8Array;
}

const origins = new WeakMap<TensorRef, Origin>();

/** Sparse weights stay in their message. */
const sparseOrigins = new WeakMap<TensorRef, SparseTensorProto>();

/** A tensor as a file holds it. */
export interface NamedTensor {
  readonly name: string;
  /** undefined, with a finding, if it makes no sense. */
  readonly ref: TensorRef | undefined;
}

/** The tensor of a message. */
export function tensorFrom(message: Uint8Array, setting: TensorSetting): NamedTensor {
  try {
    return decoded(message, splitTensor(message), setting);
  } catch (cause) {
    setting.report(invalid("tensor", `cannot be decoded: ${messageOf(cause)}`));
    return { name: "", ref: undefined };
  }
}

function decoded(message: Uint8Array, parts: TensorParts, setting: TensorSetting): NamedTensor {
  const { header } = parts;
  const fault = (text: string): NamedTensor => {
    setting.report(invalid(`tensor "${header.name}"`, text));
    return { name: header.name, ref: undefined };
  };
  const dtype = DTYPE_CODES.get(header.dataType);
  if (dtype === undefined) return fault(`has the unknown type ${header.dataType}`);
  const shape = dimsFrom(header.dims);
  if (typeof shape === "string") return fault(shape);
  const data = dataOf(parts, { dtype, shape }, setting.beside);
  if (typeof data === "string") return fault(data);
  const ref = { dtype, shape, data };
  origins.set(ref, { parts, message });
  return { name: header.name, ref };
}

/** A sparse weight: its type and shape; the elements stay in the file. */
export function sparseFrom(sparse: SparseTensorProto, setting: TensorSetting): NamedTensor {
  const header = tensorHeader(concatenated(sparse.values));
  const name = header?.name ?? "";
  const dtype = DTYPE_CODES.get(header?.dataType ?? 0);
  const shape = dimsFrom(sparse.dims);
  if (dtype !== undefined && typeof shape !== "string") {
    const ref: TensorRef = { dtype, shape, data: { kind: "absent" } };
    sparseOrigins.set(ref, sparse);
    return { name, ref };
  }
  const text = typeof shape === "string" ? shape : "has an unknown type";
  setting.report(invalid(`sparse tensor "${name}"`, text));
  return { name, ref: undefined };
}

/** The message of a weight that is sparse, by the name that its values have; undefined for others. */
export function sparseTo(ref: TensorRef, name: string): SparseTensorProto | undefined {
  const sparse = sparseOrigins.get(ref);
  if (sparse === undefined) return undefined;
  const { header, data } = splitTensor(concatenated(sparse.values));
  if (header.name === name) return sparse;
  const named = Object.assign(create(TensorProtoSchema), header, { name });
  return { ...sparse, values: [joinTensor({ header: named, data }).joined()] };
}

/** All of a tensor message but its data; undefined for what is none. */
export function tensorHeader(message: Uint8Array): TensorProto | undefined {
  try {
    return splitTensor(message).header;
  } catch {
    return undefined;
  }
}

/** The message of a tensor; one that came from a file is written as it was read. */
export function tensorTo(ref: TensorRef, name: string): Chunks {
  const { parts, message } = origins.get(ref) ?? { parts: partsOf(ref) };
  if (parts.header.name === name && message !== undefined) return Chunks.of(message);
  const header = Object.assign(create(TensorProtoSchema), parts.header, { name });
  return joinTensor({ ...parts, header });
}

/** The same tensor with its data in another place; what else a file says of it stays. */
export function withData(ref: TensorRef, data: TensorData): TensorRef {
  const moved: TensorRef = { ...ref, data };
  const origin = origins.get(ref);
  if (origin !== undefined) {
    const { header, data: elements } = partsOf(moved);
    const { dataType, dims, externalData, dataLocation, stringData } = header;
    const kept = Object.assign(create(TensorProtoSchema), origin.parts.header);
    Object.assign(kept, { dataType, dims, externalData, dataLocation, stringData });
    origins.set(moved, { parts: { header: kept, data: elements } });
  }
  return moved;
}

function partsOf(ref: TensorRef): TensorParts {
  const header = create(TensorProtoSchema, {
    dataType: CODE_OF.get(ref.dtype) ?? 0,
    dims: ref.shape.map(BigInt),
  });
  const data: DataRecord[] = [];
  switch (ref.data.kind) {
    case "bytes":
      data.push({
        field: FIELD.rawData,
        wireType: WireType.LengthDelimited,
        payload: ref.data.bytes,
      });
      break;
    case "strings":
      header.stringData = [...ref.data.values];
      break;
    case "external":
      header.dataLocation = TensorProto_DataLocation.EXTERNAL;
      header.externalData = externalEntries(ref.data);
      break;
    case "absent":
      break;
  }
  return { header, data };
}

/** Dims as numbers, or a sentence about what is wrong with them. */
export function dimsFrom(dims: readonly bigint[]): readonly number[] | string {
  if (dims.length > limits.rankMax) {
    return `has ${dims.length} dims, at most ${limits.rankMax} are read`;
  }
  const sizes = dims.map(Number);
  const valid = sizes.every((dim) => Number.isSafeInteger(dim) && dim >= 0);
  if (valid && Number.isSafeInteger(count(sizes))) return sizes;
  return `has the dims [${dims.join(",")}], which no tensor can have`;
}

/** Bytes of a tensor with its data in it. */
export function tensorBytes(dtype: DType, shape: readonly number[]): number {
  return dtypeBytes(dtype, count(shape));
}

function count(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

/** The elements, or a sentence about what is wrong with them. */
function dataOf(
  { header, data }: TensorParts,
  { dtype, shape }: { dtype: DType; shape: readonly number[] },
  beside: Beside | undefined,
): TensorData | string {
  const elements = count(shape);
  const wanted = tensorBytes(dtype, shape);
  if (header.dataLocation === TensorProto_DataLocation.EXTERNAL) {
    // "External Data" in the specification: of raw data, which strings never are.
    if (dtype === "string") return "holds strings, which cannot lie in another file";
    return externalFrom(header.externalData, wanted, beside);
  }
  if (dtype === "string") {
    if (header.stringData.length === elements)
      return { kind: "strings", values: header.stringData };
    return header.stringData.length === 0
      ? { kind: "absent" }
      : `declares ${elements} strings and holds ${header.stringData.length}`;
  }
  const raw = data.findLast((one) => one.field === FIELD.rawData)?.payload;
  const bytes = raw !== undefined && raw.byteLength > 0 ? raw : typedBytes(data, dtype);
  if (bytes.byteLength === wanted) return { kind: "bytes", bytes };
  if (bytes.byteLength === 0) return { kind: "absent" };
  return `declares ${dtype}[${shape.join(",")}], which takes ${wanted} bytes, and holds ${bytes.byteLength}`;
}

/** Elements of the typed lists as little-endian bytes (onnx.proto says which type lies in which list). */
function typedBytes(data: readonly DataRecord[], dtype: DType): Uint8Array {
  switch (dtype) {
    case "float32":
    case "complex64":
      return payloadOf(data, FIELD.floatData);
    case "float64":
    case "complex128":
      return payloadOf(data, FIELD.doubleData);
    case "int64":
      return integers(
        payloadOf(data, FIELD.int64Data),
        (n) => new BigInt64Array(n),
        (reader) => BigInt(reader.int64()),
      );
    case "uint64":
      return integers(
        payloadOf(data, FIELD.uint64Data),
        (n) => new BigUint64Array(n),
        (reader) => BigInt(reader.uint64()),
      );
    case "uint32":
      return integers(
        payloadOf(data, FIELD.uint64Data),
        (n) => new Uint32Array(n),
        (reader) => Number(reader.uint64()),
      );
    case "int32":
      return integers(payloadOf(data, FIELD.int32Data), (n) => new Int32Array(n), int32);
    case "int16":
    case "uint16":
    case "float16":
    case "bfloat16":
      return integers(payloadOf(data, FIELD.int32Data), (n) => new Uint16Array(n), int32);
    default:
      // One byte each; types below a byte are packed by the writer of the file.
      return integers(payloadOf(data, FIELD.int32Data), (n) => new Uint8Array(n), int32);
  }
}

const int32 = (reader: BinaryReader): number => reader.int32();

type IntegerArray =
  | BigInt64Array
  | BigUint64Array
  | Int32Array
  | Uint32Array
  | Uint16Array
  | Uint8Array;

/** Reads a list of varints into an array that is made as long as the list. */
function integers<A extends IntegerArray>(
  payload: Uint8Array,
  make: (length: number) => A,
  next: (reader: BinaryReader) => A[number],
): Uint8Array {
  // Each ends with the one byte of it that has no high bit.
  let length = 0;
  for (const byte of payload) if (byte < 0x80) length++;
  const reader = new BinaryReader(payload);
  const array = make(length);
  for (let i = 0; i < length; i++) array[i] = next(reader);
  if (reader.pos < reader.len) throw new RangeError("a list of integers is cut off");
  return bytesOf(array);
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
