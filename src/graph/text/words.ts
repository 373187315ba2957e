// The words of the text form: names of types, and what has to be quoted.

import { present } from "../../base/assert.ts";
import type { DType } from "../dtype.ts";

/** How the elements of a tensor are written: as numbers, as integers of so many bits, or quoted. */
export type ElementForm = "float32" | "float64" | "signed" | "unsigned" | "string";

/**
 * Element types with their words (PrimitiveTypeNameMap of the reference parser). Types with no literal of
 * their own, such as float16, are written as the integers that have the same bits.
 */
const TYPES: readonly (readonly [DType, string, ElementForm])[] = [
  ["float32", "float", "float32"],
  ["float64", "double", "float64"],
  ["complex64", "complex64", "float32"],
  ["complex128", "complex128", "float64"],
  ["int8", "int8", "signed"],
  ["int16", "int16", "signed"],
  ["int32", "int32", "signed"],
  ["int64", "int64", "signed"],
  ["int4", "int4", "signed"],
  ["int2", "int2", "signed"],
  ["uint8", "uint8", "unsigned"],
  ["uint16", "uint16", "unsigned"],
  ["uint32", "uint32", "unsigned"],
  ["uint64", "uint64", "unsigned"],
  ["uint4", "uint4", "unsigned"],
  ["uint2", "uint2", "unsigned"],
  ["bool", "bool", "unsigned"],
  ["float16", "float16", "unsigned"],
  ["bfloat16", "bfloat16", "unsigned"],
  ["float8e4m3fn", "float8e4m3fn", "unsigned"],
  ["float8e4m3fnuz", "float8e4m3fnuz", "unsigned"],
  ["float8e5m2", "float8e5m2", "unsigned"],
  ["float8e5m2fnuz", "float8e5m2fnuz", "unsigned"],
  ["float8e8m0", "float8e8m0", "unsigned"],
  ["float6e2m3", "float6e2m3", "unsigned"],
  ["float6e3m2", "float6e3m2", "unsigned"],
  ["float4e2m1", "float4e2m1", "unsigned"],
  ["string", "string", "string"],
];

const DTYPES: ReadonlyMap<string, DType> = new Map(TYPES.map(([dtype, word]) => [word, dtype]));
const WORDS: ReadonlyMap<DType, string> = new Map(TYPES.map(([dtype, word]) => [dtype, word]));
const FORMS: ReadonlyMap<DType, ElementForm> = new Map(
  TYPES.map(([dtype, , form]) => [dtype, form]),
);

/** Types made of other types. */
const COMPOUND: ReadonlySet<string> = new Set([
  ...["seq", "optional", "map", "sparse_tensor", "opaque"],
]);

/** The element type that a word names. */
export function dtypeOf(word: string): DType | undefined {
  return DTYPES.get(word);
}

/** The word for an element type. */
export function wordOf(dtype: DType): string {
  return present(WORDS.get(dtype), `${dtype} has a word`);
}

/** How elements of a type are written. */
export function formOf(dtype: DType): ElementForm {
  return present(FORMS.get(dtype), `${dtype} has a form`);
}

/** Whether a name begins a type. */
export function isTypeWord(name: string): boolean {
  return DTYPES.has(name) || COMPOUND.has(name);
}

/** Whether a name is a float: `nan`, `inf` and `infinity`, in any case. */
export function isFloatWord(name: string): boolean {
  return name.length <= 8 && /^(nan|inf|infinity)$/i.test(name);
}

/** In quotes, with a backslash before quotes and backslashes; everything else stands for itself. */
export function quoted(text: string): string {
  return `"${text.replaceAll(/["\\]/g, "\\$&")}"`;
}

const IDENTIFIER = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** A word as it is, or in quotes where it is no identifier: for places where no type or number can stand. */
export function wordText(word: string): string {
  return IDENTIFIER.test(word) ? word : quoted(word);
}

/** A name as it is, or in quotes where it would be read as something else. */
export function nameText(name: string): string {
  return isTypeWord(name) || isFloatWord(name) ? quoted(name) : wordText(name);
}
