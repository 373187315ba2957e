// Element types by the names of the Open Inference Protocol ("Tensor Data Types").

import type { DType } from "../graph/dtype.ts";

const NAMES: readonly (readonly [string, DType])[] = [
  ["BOOL", "bool"],
  ["UINT8", "uint8"],
  ["UINT16", "uint16"],
  ["UINT32", "uint32"],
  ["UINT64", "uint64"],
  ["INT8", "int8"],
  ["INT16", "int16"],
  ["INT32", "int32"],
  ["INT64", "int64"],
  ["FP16", "float16"],
  ["FP32", "float32"],
  ["FP64", "float64"],
  ["BF16", "bfloat16"],
  ["BYTES", "string"],
];

const DTYPE_OF = new Map(NAMES);
const NAME_OF = new Map(NAMES.map(([name, dtype]) => [dtype, name]));

/** The element type of a protocol name. */
export function dtypeOf(datatype: string): DType | undefined {
  return DTYPE_OF.get(datatype);
}

/** The protocol's name of an element type; our own name in capitals where it has none. */
export function datatypeOf(dtype: DType): string {
  return NAME_OF.get(dtype) ?? dtype.toUpperCase();
}
