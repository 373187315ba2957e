// Element types of tensors, by the names that ONNX Runtime uses in JavaScript.

/** Element type of a tensor. */
export type DType =
  | "float32"
  | "float64"
  | "float16"
  | "bfloat16"
  | "int8"
  | "int16"
  | "int32"
  | "int64"
  | "uint8"
  | "uint16"
  | "uint32"
  | "uint64"
  | "bool"
  | "string"
  | "complex64"
  | "complex128"
  | "float8e4m3fn"
  | "float8e4m3fnuz"
  | "float8e5m2"
  | "float8e5m2fnuz"
  | "float8e8m0"
  | "float6e2m3"
  | "float6e3m2"
  | "float4e2m1"
  | "uint4"
  | "int4"
  | "uint2"
  | "int2";

const BITS: Readonly<Record<DType, number>> = {
  float32: 32,
  float64: 64,
  float16: 16,
  bfloat16: 16,
  int8: 8,
  int16: 16,
  int32: 32,
  int64: 64,
  uint8: 8,
  uint16: 16,
  uint32: 32,
  uint64: 64,
  bool: 8,
  string: 0,
  complex64: 64,
  complex128: 128,
  float8e4m3fn: 8,
  float8e4m3fnuz: 8,
  float8e5m2: 8,
  float8e5m2fnuz: 8,
  float8e8m0: 8,
  float6e2m3: 6,
  float6e3m2: 6,
  float4e2m1: 4,
  uint4: 4,
  int4: 4,
  uint2: 2,
  int2: 2,
};

/** Whether a name is one of an element type. */
export function isDType(name: string): name is DType {
  return Object.hasOwn(BITS, name);
}

/** Bytes that `count` elements take, sub-byte types packed as ONNX packs them. Strings count as 0. */
export function dtypeBytes(dtype: DType, count: number): number {
  return Math.ceil((BITS[dtype] * count) / 8);
}

/** Whether gradients can flow through values of this type. */
export function isFloat(dtype: DType): boolean {
  return dtype.startsWith("float") || dtype === "bfloat16";
}

const COMPUTED: ReadonlySet<DType> = new Set(["float32", "float64", "float16", "bfloat16"]);

/** Whether arithmetic is done in this type; floats of 8 bits and less are for storage. */
export function isComputedFloat(dtype: DType): boolean {
  return COMPUTED.has(dtype);
}
