// The safetensors file format (Hugging Face, "safetensors", Format): 8 bytes with the length of a JSON
// header, the header with dtype, shape and place of each tensor, then the bytes. Nothing to execute.

import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { type DType, dtypeBytes } from "../graph/dtype.ts";
import { type Tensor, tensor } from "../graph/tensor.ts";

const CODES: readonly (readonly [DType, string])[] = [
  ["float32", "F32"],
  ["float64", "F64"],
  ["float16", "F16"],
  ["bfloat16", "BF16"],
  ["int8", "I8"],
  ["int16", "I16"],
  ["int32", "I32"],
  ["int64", "I64"],
  ["uint8", "U8"],
  ["uint16", "U16"],
  ["uint32", "U32"],
  ["uint64", "U64"],
  ["bool", "BOOL"],
];
const CODE_OF = new Map(CODES);
const DTYPE_OF = new Map(CODES.map(([dtype, code]) => [code, dtype]));

/** The format's own limit on its header. */
const HEADER_BYTES_MAX = 100_000_000;
/** The bytes behind the header start on a multiple of this, so that every tensor is aligned. */
const ALIGNMENT = 8;

/** Tensors by name, and free text by name. */
export interface Safetensors {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** The bytes of a safetensors file. Deterministic: names are sorted, widest types first. */
export function encodeSafetensors(
  tensors: ReadonlyMap<string, Tensor>,
  metadata: ReadonlyMap<string, string>,
): Uint8Array {
  const width = (t: Tensor): number => dtypeBytes(t.dtype, 1);
  const ordered = [...tensors].sort(
    ([a, x], [b, y]) => width(y) - width(x) || (a < b ? -1 : Number(a > b)),
  );
  const header: Record<string, unknown> = {};
  if (metadata.size > 0) header["__metadata__"] = Object.fromEntries([...metadata].sort());
  let offset = 0;
  for (const [name, t] of ordered) {
    const dtype = CODE_OF.get(t.dtype);
    if (dtype === undefined) throw new SkipwayError("input", `safetensors has no type ${t.dtype}`);
    const end = offset + t.data.bytes.byteLength;
    header[name] = { dtype, shape: t.shape, data_offsets: [offset, end] };
    offset = end;
  }
  const text = Buffer.from(JSON.stringify(header));
  const headerBytes = Math.ceil(text.byteLength / ALIGNMENT) * ALIGNMENT;
  const out = Buffer.alloc(8 + headerBytes + offset, " ");
  out.writeBigUInt64LE(BigInt(headerBytes), 0);
  text.copy(out, 8);
  let at = 8 + headerBytes;
  for (const [, t] of ordered) {
    out.set(t.data.bytes, at);
    at += t.data.bytes.byteLength;
  }
  return out;
}

/**
 * Reads a safetensors file; the tensors are views of it.
 *
 * @throws SkipwayError `input` for anything that the format does not allow.
 */
export function decodeSafetensors(bytes: Uint8Array): Safetensors {
  if (bytes.byteLength < 8) throw broken("it is shorter than its header");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const declared = view.getBigUint64(0, true);
  const available = Math.min(HEADER_BYTES_MAX, bytes.byteLength - 8);
  if (declared > BigInt(available)) throw broken(`its header of ${declared} bytes does not fit`);
  const start = 8 + Number(declared);
  const header = parseHeader(bytes.subarray(8, start));
  const body = bytes.subarray(start);
  const tensors = new Map<string, Tensor>();
  const metadata = new Map<string, string>();
  let covered = 0;
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") {
      for (const [key, value] of Object.entries(record(entry))) metadata.set(key, String(value));
      continue;
    }
    const one = readEntry(name, record(entry), body);
    covered += one.data.bytes.byteLength;
    tensors.set(name, one);
  }
  if (covered !== body.byteLength) throw broken("its tensors do not cover its bytes exactly");
  return { tensors, metadata };
}

function parseHeader(bytes: Uint8Array): Record<string, unknown> {
  try {
    return record(JSON.parse(Buffer.from(bytes).toString("utf8")));
  } catch (error) {
    if (error instanceof SkipwayError) throw error;
    throw broken("its header is not JSON");
  }
}

function readEntry(name: string, entry: Record<string, unknown>, body: Uint8Array): Tensor {
  const dtype = DTYPE_OF.get(String(entry["dtype"]));
  const shape = sizes(entry["shape"]);
  const [from = -1, to = -1] = sizes(entry["data_offsets"]) ?? [];
  if (dtype === undefined || shape === undefined) throw broken(`its entry "${name}" is not valid`);
  const wanted = dtypeBytes(
    dtype,
    shape.reduce((a, b) => a * b, 1),
  );
  if (from < 0 || to > body.byteLength || to - from !== wanted) {
    throw broken(`its tensor "${name}" of ${wanted} bytes lies at ${from}…${to}`);
  }
  return tensor(dtype, shape, body.subarray(from, to));
}

function record(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw broken("its header has an entry that is no object");
  }
  return Object.fromEntries(Object.entries(value));
}

function sizes(value: unknown): readonly number[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const list: readonly unknown[] = value;
  return list.every((n): n is number => Number.isSafeInteger(n) && Number(n) >= 0)
    ? list
    : undefined;
}

function broken(text: string): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "safetensors/invalid",
      severity: "error",
      where: "safetensors file",
      text,
      fix: "Write the file again; a checkpoint of skipway may be deleted, the next run writes it.",
    }),
  ]);
}
