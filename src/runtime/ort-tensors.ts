// Tensors as the runtime's binding takes and gives them. It views our bytes where they are aligned; it has
// arrays of JavaScript for most types, strings for BYTES, and nothing for bfloat16, which travels as float32.

import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import type { DType } from "../graph/dtype.ts";
import type { ValueType } from "../graph/graph.ts";
import { type Dim, UNKNOWN_DIM } from "../graph/shape.ts";
import { stringTensor, visitStrings } from "../graph/string-tensor.ts";
import { bytesOf, copyBytes, type Tensor } from "../graph/tensor.ts";
import type { BindingMetadata, BindingTensor } from "./ort.ts";

/** Typed arrays by element type; the binding hands float16 over as its bits. */
const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
} as const;

type ArrayDType = keyof typeof ARRAYS;

/** Element types by their codes in ONNX (`TensorProto.DataType`): those that a model's ends can have here. */
const BY_CODE: Readonly<Record<number, DType>> = {
  1: "float32",
  2: "uint8",
  3: "int8",
  4: "uint16",
  5: "int16",
  6: "int32",
  7: "int64",
  8: "string",
  9: "bool",
  10: "float16",
  11: "float64",
  12: "uint32",
  13: "uint64",
  16: "bfloat16",
};

/** Views the bytes as the binding wants them; copies only where they are not aligned. */
export function toBinding(value: Tensor): BindingTensor {
  const { dtype, shape } = value;
  if (dtype === "bfloat16") return bound("float32", widened(value.data.bytes), shape);
  if (dtype === "string") return bound("string", textsOf(value), shape);
  if (!isArrayDType(dtype)) throw unsupportedType(dtype);
  const ArrayType = ARRAYS[dtype];
  const size = ArrayType.BYTES_PER_ELEMENT;
  const given = value.data.bytes;
  const bytes = given.byteOffset % size === 0 ? given : copyBytes(given);
  // Not shared memory, which the binding refuses (and nobody here allocates).
  const buffer = bytes.buffer as ArrayBuffer;
  return bound(dtype, new ArrayType(buffer, bytes.byteOffset, bytes.byteLength / size), shape);
}

/** `dtype` is the type of the model's own output: what it gives as float32 may have been bfloat16. */
export function fromBinding(name: string, value: BindingTensor, dtype: DType): Tensor {
  const { type, data, dims } = value;
  if (Array.isArray(data)) return stringTensor(dims, data);
  if (!isArrayDType(type)) throw unsupportedType(`${type} (output "${name}")`);
  const bytes = dtype === "bfloat16" ? narrowed(data) : bytesOf(data);
  const own = dtype === "bfloat16" ? dtype : type;
  return { dtype: own, shape: dims, data: { kind: "bytes", bytes } };
}

/** Types of a model's inputs or outputs. Containers count as unknown strings: nothing here can feed them. */
export function typesOf(metadata: readonly BindingMetadata[]): Map<string, ValueType> {
  return new Map(
    metadata.map((one) => [
      one.name,
      one.isTensor
        ? { dtype: dtypeOf(one), shape: one.shape.map((dim, i) => dimOf(dim, one, i)) }
        : { dtype: "string" as const, shape: undefined },
    ]),
  );
}

/** A type at the model's ends that cannot be passed, as a finding. */
export function unsupportedType(what: string): SkipwayError {
  const found: Diagnostic = diagnostic({
    id: "runtime/dtype",
    severity: "error",
    where: "run",
    text: `tensors of type ${what} cannot be passed to ONNX Runtime from JavaScript`,
    fix: "Add a Cast to float32 or an integer type at this end of the model.",
  });
  return SkipwayError.fromDiagnostics("input", [found]);
}

function dtypeOf({ name, type }: BindingMetadata): DType {
  const dtype = BY_CODE[type];
  if (dtype === undefined) throw unsupportedType(`${type} in ONNX's numbering ("${name}")`);
  return dtype;
}

function dimOf(dim: number, { symbolicDimensions }: BindingMetadata, axis: number): Dim {
  if (dim >= 0) return dim;
  const symbol = symbolicDimensions[axis] ?? "";
  return symbol === "" ? UNKNOWN_DIM : symbol;
}

function isArrayDType(dtype: string): dtype is ArrayDType {
  return Object.hasOwn(ARRAYS, dtype);
}

function bound(type: string, data: BindingTensor["data"], dims: readonly number[]): BindingTensor {
  return { type, data, dims, location: "cpu" };
}

const UTF8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** `checkFeeds` has seen that these are strings that the runtime can take. */
function textsOf(value: Tensor): string[] {
  const texts: string[] = [];
  visitStrings(value, (bytes) => texts.push(UTF8.decode(bytes)));
  return texts;
}

/** bfloat16 is the upper half of a float32: exact. */
function widened(bytes: Uint8Array): Float32Array {
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : copyBytes(bytes);
  const halves = new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 2);
  const words = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) words[i] = (halves[i] ?? 0) << 16;
  return new Float32Array(words.buffer);
}

/** The runtime has rounded to bfloat16 before it widened: the lower half holds nothing. */
function narrowed(data: ArrayBufferView): Uint8Array {
  const words = new Uint32Array(data.buffer, data.byteOffset, data.byteLength / 4);
  const halves = new Uint16Array(words.length);
  for (let i = 0; i < words.length; i++) halves[i] = (words[i] ?? 0) >>> 16;
  return bytesOf(halves);
}
