// Where the elements of a tensor lie in another file, as the entries of its message say it ("External
// Data" in the ONNX specification), and which such places are allowed: a model file must not make us, or
// the runtime, open a file that its user did not name.

import { create } from "@bufbuild/protobuf";
import type { ExternalData } from "../graph/tensor.ts";
import { type StringStringEntryProto, StringStringEntryProtoSchema } from "./proto/onnx_pb.js";

/** Where locations start. */
export interface Beside {
  readonly folder: string;
  /** Where the files may really lie besides; see `ExternalData`. */
  readonly home?: string;
}

/**
 * The place that entries name, or a sentence about what is wrong with it. `wantedBytes` is what the tensor
 * takes, where its type and dims make sense.
 */
export function externalFrom(
  entries: readonly StringStringEntryProto[],
  wantedBytes: number | undefined,
  beside: Beside | undefined,
): ExternalData | string {
  const texts = new Map(entries.map(({ key, value }) => [key, value]));
  const size = (key: string): number | undefined => {
    const text = texts.get(key);
    // Number("") and Number(" 1 ") are numbers; only digits are an offset.
    return text === undefined ? undefined : /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  };
  const [offset = 0, length] = [size("offset"), size("length")];
  const whole = (n: number): boolean => Number.isSafeInteger(n);
  if (!whole(offset) || !whole(length ?? 0)) {
    return "has its data in another file, at an offset or of a length that is no whole number";
  }
  if (length !== undefined && wantedBytes !== undefined && length !== wantedBytes) {
    return `takes ${wantedBytes} bytes, and its external data has a length of ${length}`;
  }
  const location = texts.get("location") ?? "";
  const fault = locationFault(location);
  if (fault !== undefined) return `has its data in the file "${location.slice(0, 200)}", ${fault}`;
  return {
    kind: "external",
    location,
    offset,
    length,
    ...beside,
  };
}

/** The entries that name a place. */
export function externalEntries({
  location,
  offset,
  length,
}: ExternalData): StringStringEntryProto[] {
  const entries: readonly (readonly [string, string])[] = [
    ["location", location],
    ["offset", String(offset)],
    ...(length === undefined ? [] : [["length", String(length)] as const]),
  ];
  return entries.map(([key, value]) => create(StringStringEntryProtoSchema, { key, value }));
}

/**
 * Why a location is not allowed: it must be a relative path that stays in the model's folder on every
 * system, with forward slashes.
 */
export function locationFault(location: string): string | undefined {
  if (location === "") return "which is no name";
  // Nor may a star stand in a name on Windows. ONNX Runtime takes "*/_ORT_MEM_ADDR_/*" and its like for its own
  // memory, and the offset for an address in it (`kTensorProtoMemoryAddressTag`).
  if (/[\0*]/.test(location)) return "which no file can be called";
  if (/^[/\\]|^[A-Za-z]:/.test(location)) return "and an absolute path is not allowed";
  const parts = location.split(/[/\\]/);
  if (parts.includes("..")) return "and a path with .. is not allowed";
  if (["", "."].includes(parts.at(-1) ?? "")) return "which is the name of no file";
  return undefined;
}
