// The message of a tensor taken apart: its data as views of the file, the rest decoded. A list of floats
// is packed in a message as its little-endian bytes (protobuf documentation, "Encoding"), which is how a
// tensor holds it anyway; decoded to numbers it would take several times the memory.

import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { limits } from "../base/limits.ts";
import { Chunks, concatenated } from "./chunks.ts";
import { type TensorProto, TensorProtoSchema } from "./proto/onnx_pb.js";

/** Field numbers of TensorProto that hold elements. */
export const FIELD = {
  floatData: 4,
  int32Data: 5,
  int64Data: 7,
  rawData: 9,
  doubleData: 10,
  uint64Data: 11,
} as const;

const DATA_FIELDS: ReadonlySet<number> = new Set(Object.values(FIELD));

/** Elements as they stand in the message: the payload of a packed list, or of single elements in a row. */
export interface DataRecord {
  readonly field: number;
  /** How it stood: length-delimited for raw data and packed lists. */
  readonly wireType: WireType;
  readonly payload: Uint8Array;
}

/** A tensor message taken apart. */
export interface TensorParts {
  /** All but the elements. */
  readonly header: TensorProto;
  readonly data: readonly DataRecord[];
}

const known = new WeakMap<Uint8Array, TensorParts>();

/**
 * Takes a message apart, once for all who ask. Views, no copies of data.
 *
 * @throws Error of the protobuf reader, if it is no such message.
 */
export function splitTensor(message: Uint8Array): TensorParts {
  const parts = known.get(message) ?? split(message);
  known.set(message, parts);
  return parts;
}

function split(message: Uint8Array): TensorParts {
  const reader = new BinaryReader(message);
  const kept: Uint8Array[] = [];
  const data: DataRecord[] = [];
  // Where the fields that are kept began, since the last elements.
  let from = 0;
  const keep = (until: number): void => {
    if (until > from) kept.push(message.subarray(from, until));
  };
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const [field, wireType] = reader.tag();
    const payloadStart = reader.pos;
    if (!DATA_FIELDS.has(field)) {
      reader.skip(wireType, field, limits.messageDepthMax);
      continue;
    }
    keep(start);
    if (wireType === WireType.LengthDelimited) {
      data.push({ field, wireType, payload: reader.bytes() });
    } else {
      reader.skip(wireType, field, limits.messageDepthMax);
      data.push({ field, wireType, payload: message.subarray(payloadStart, reader.pos) });
    }
    from = reader.pos;
  }
  keep(reader.pos);
  return { header: fromBinary(TensorProtoSchema, concatenated(kept)), data };
}

/** Puts a message together. */
export function joinTensor({ header, data }: TensorParts): Chunks {
  const chunks = new Chunks();
  chunks.push(toBinary(TensorProtoSchema, header));
  for (const { field, wireType, payload } of data) {
    if (wireType === WireType.LengthDelimited) {
      chunks.nested(field, Chunks.of(payload));
    } else {
      chunks.push(new BinaryWriter().tag(field, wireType).finish());
      chunks.push(payload);
    }
  }
  return chunks;
}

/** The payloads of one field, in one piece: without a copy where it is one already. */
export function payloadOf(data: readonly DataRecord[], field: number): Uint8Array {
  return concatenated(data.filter((one) => one.field === field).map((one) => one.payload));
}
