// The numbers by which ONNX names element types in attributes such as Cast's `to`
// (TensorProto.DataType in the specification).

import type { DType } from "../graph/dtype.ts";

const CODES: readonly (readonly [number, DType])[] = [
  [1, "float32"],
  [2, "uint8"],
  [3, "int8"],
  [4, "uint16"],
  [5, "int16"],
  [6, "int32"],
  [7, "int64"],
  [8, "string"],
  [9, "bool"],
  [10, "float16"],
  [11, "float64"],
  [12, "uint32"],
  [13, "uint64"],
  [14, "complex64"],
  [15, "complex128"],
  [16, "bfloat16"],
  [17, "float8e4m3fn"],
  [18, "float8e4m3fnuz"],
  [19, "float8e5m2"],
  [20, "float8e5m2fnuz"],
  [21, "uint4"],
  [22, "int4"],
  [23, "float4e2m1"],
  [24, "float8e8m0"],
  [25, "uint2"],
  [26, "int2"],
  [27, "float6e2m3"],
  [28, "float6e3m2"],
];

/** Element type by its ONNX number. */
export const DTYPE_CODES: ReadonlyMap<number, DType> = new Map(CODES);

/** ONNX number by element type. */
export const CODE_OF: ReadonlyMap<DType, number> = new Map(
  CODES.map(([code, dtype]) => [dtype, code]),
);
