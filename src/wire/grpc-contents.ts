// Typed contents of gRPC tensors (InferTensorContents): from protobuf's lists of numbers to the bytes of a
// tensor and back. Nothing is allocated beyond what the shape asks for: lists of one-byte varints would grow
// eightfold.

import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { DType } from "../graph/dtype.ts";
import { bytesOf, copyBytes, type Tensor } from "../graph/tensor.ts";
import { bytesElements, bytesOfElements } from "./bytes-tensor.ts";
import { expectForm, type FieldWalk } from "./grpc-reader.ts";

/** The field that holds the elements of a type, and how they stand there. */
interface Contents {
  readonly field: number;
  readonly form: "varint" | "fixed32" | "fixed64" | "bytes";
}

const FP32: Contents = { field: 6, form: "fixed32" };
const FP64: Contents = { field: 7, form: "fixed64" };
const BYTES: Contents = { field: 8, form: "bytes" };

/** How one number of a list that is not packed stands in the message ("Encoding", protobuf documentation). */
const SINGLE: Readonly<Record<Contents["form"], WireType>> = {
  varint: WireType.Varint,
  fixed32: WireType.Bit32,
  fixed64: WireType.Bit64,
  bytes: WireType.LengthDelimited,
};

const CONTENTS: Partial<Readonly<Record<DType, Contents>>> = {
  bool: { field: 1, form: "varint" },
  int8: { field: 2, form: "varint" },
  int16: { field: 2, form: "varint" },
  int32: { field: 2, form: "varint" },
  int64: { field: 3, form: "varint" },
  uint8: { field: 4, form: "varint" },
  uint16: { field: 4, form: "varint" },
  uint32: { field: 4, form: "varint" },
  uint64: { field: 5, form: "varint" },
  float32: FP32,
  float64: FP64,
  string: BYTES,
};

const NAMES: readonly (string | undefined)[] = [
  ...[
    undefined,
    "bool_contents",
    "int_contents",
    "int64_contents",
    "uint_contents",
    "uint64_contents",
  ],
  ...["fp32_contents", "fp64_contents", "bytes_contents"],
];

/** The ranges of integers that protobuf sends in more bits than they have. */
const NARROW: Partial<Readonly<Record<DType, readonly [low: number, high: number]>>> = {
  int8: [-128, 127],
  int16: [-32_768, 32_767],
  uint8: [0, 255],
  uint16: [0, 65_535],
};

const ARRAYS = {
  bool: Uint8Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
} as const;

type Narrow = keyof typeof ARRAYS;

/** What is to become a tensor of `count` elements. */
interface TypedContents {
  readonly dtype: DType;
  readonly count: number;
  readonly messages: readonly Uint8Array[];
}

/** Whether elements of this type can stand in typed contents; the others travel as raw bytes. */
export function fitsContents(dtype: DType): boolean {
  return dtype in CONTENTS;
}

/**
 * The bytes of `count` elements from the messages of typed contents (more than one is as if they were joined),
 * or a sentence about what is wrong with them.
 *
 * @throws Error of the protobuf reader for what is no such message.
 */
export function contentsToBytes(
  walk: FieldWalk,
  { dtype, count, messages }: TypedContents,
): Uint8Array | string {
  // Of no elements there is nothing to say, whatever their type.
  if (count === 0 && messages.length === 0) return new Uint8Array(0);
  const contents = CONTENTS[dtype];
  if (contents === undefined) return `${dtype} elements travel in raw_input_contents alone`;
  const found = spansOf(walk, messages, contents);
  if (typeof found === "string") return found;
  if (contents === BYTES) {
    return found.length === count ? bytesOfElements(found) : miscount(count, found.length, BYTES);
  }
  if (contents === FP32 || contents === FP64) return floats(contents, found, count);
  const elements = countVarints(found);
  if (elements !== count) return miscount(count, elements, contents);
  return dtype === "int64" || dtype === "uint64"
    ? integers64(found, count)
    : integers(dtype, found, count);
}

/** The bytes of a field, each time that it stands in the messages. */
function spansOf(
  walk: FieldWalk,
  messages: readonly Uint8Array[],
  { field, form }: Contents,
): Uint8Array[] | string {
  const spans: Uint8Array[] = [];
  let other: string | undefined;
  for (const message of messages) {
    walk.each(message, (from, number, wireType) => {
      if (NAMES[number] === undefined) return false;
      const delimited = wireType === WireType.LengthDelimited;
      const span = delimited ? from.bytes() : from.skip(wireType, number);
      if (number === field) {
        if (!delimited) expectForm(wireType, SINGLE[form]);
        spans.push(span);
      } else if (number === BYTES.field || span.length > 0) {
        // An empty list of another type has no element of it.
        other = NAMES[number];
      }
      return true;
    });
  }
  return other === undefined
    ? spans
    : `its elements stand in ${other}; for its datatype they stand in ${NAMES[field]}`;
}

function miscount(wanted: number, given: number, { field }: Contents): string {
  return `its shape has ${wanted} elements, its ${NAMES[field]} ${given}`;
}

/** Floats lie in the message as they lie in a tensor: one list is taken as it is. */
function floats(
  contents: Contents,
  spans: readonly Uint8Array[],
  count: number,
): Uint8Array | string {
  const size = contents === FP32 ? 4 : 8;
  const bytes = spans.reduce((sum, span) => sum + span.byteLength, 0);
  if (bytes !== count * size) return miscount(count, bytes / size, contents);
  const [first] = spans;
  return first !== undefined && spans.length === 1 ? first : joined(spans, bytes);
}

function joined(spans: readonly Uint8Array[], length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const span of spans) {
    bytes.set(span, at);
    at += span.byteLength;
  }
  return bytes;
}

/** The last byte of a varint has no high bit. */
function countVarints(spans: readonly Uint8Array[]): number {
  let count = 0;
  for (const span of spans) for (const byte of span) if (byte < 0x80) count++;
  return count;
}

function integers(dtype: DType, spans: readonly Uint8Array[], count: number): Uint8Array | string {
  const values = new ARRAYS[dtype as Narrow](count);
  const [low, high] = NARROW[dtype] ?? [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
  const signed = dtype.startsWith("int");
  let at = 0;
  for (const span of spans) {
    const from = new BinaryReader(span);
    while (from.pos < from.len) {
      let value: number;
      if (dtype === "bool") value = from.bool() ? 1 : 0;
      else value = signed ? from.int32() : from.uint32();
      if (value < low || value > high)
        return `element ${at} of its contents, ${value}, is no ${dtype}`;
      values[at++] = value;
    }
  }
  return bytesOf(values);
}

/** As pairs of 32 bits: a bigint for each would take ten times as long. */
function integers64(spans: readonly Uint8Array[], count: number): Uint8Array | string {
  const halves = new Uint32Array(count * 2);
  let at = 0;
  for (const span of spans) {
    let [low, high, shift] = [0, 0, 0];
    for (const byte of span) {
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high |= bits >>> 4;
      } else if (shift < 64) high |= bits << (shift - 32);
      else return "a number of its contents is longer than 64 bits";
      shift += 7;
      if (byte >= 0x80) continue;
      halves[at++] = low;
      halves[at++] = high;
      [low, high, shift] = [0, 0, 0];
    }
    if (shift !== 0) return "a number of its contents is cut off";
  }
  return bytesOf(halves);
}

/** The message of typed contents for a tensor whose type has them. */
export function contentsOf(value: Tensor): Uint8Array {
  const { dtype } = value;
  const contents = CONTENTS[dtype];
  const writer = new BinaryWriter();
  const { bytes } = value.data;
  if (contents === undefined || bytes.byteLength === 0) return writer.finish();
  if (contents === BYTES) {
    for (const element of bytesElements(bytes))
      writer.tag(BYTES.field, WireType.LengthDelimited).bytes(element);
    return writer.finish();
  }
  writer.tag(contents.field, WireType.LengthDelimited);
  if (contents === FP32 || contents === FP64) return writer.bytes(bytes).finish();
  writer.fork();
  const { buffer } = copyBytes(bytes);
  if (dtype === "int64") for (const one of new BigInt64Array(buffer)) writer.int64(one);
  else if (dtype === "uint64") for (const one of new BigUint64Array(buffer)) writer.uint64(one);
  else if (dtype.startsWith("int")) {
    for (const one of new ARRAYS[dtype as Narrow](buffer as ArrayBuffer)) writer.int32(one);
  } else for (const one of new ARRAYS[dtype as Narrow](buffer as ArrayBuffer)) writer.uint32(one);
  return writer.join().finish();
}
