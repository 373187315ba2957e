// What a file would take in memory once decoded, found out before anything is decoded: two bytes of
// protobuf can become an object of several hundred. Walks the messages by their schema and keeps nothing.
//
// Decoders differ in what they make of fields that reach beyond their message, or that stand in another form
// than the schema has. Both are refused here, so that what is counted is what will be decoded.

import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { limits } from "../base/limits.ts";
import { ModelProtoSchema, TensorProtoSchema } from "./proto/onnx_pb.js";
import { FIELD } from "./tensor-message.ts";

/** What stands in a message at one field. */
type Content =
  | { readonly kind: "message"; readonly message: Layout }
  | { readonly kind: "string" }
  /** Views of the file. */
  | { readonly kind: "bytes" }
  /** A number, `bytesEach` when decoded, or a list of them, which may stand packed in one field. */
  | {
      readonly kind: "numbers";
      readonly wireType: NumberWire;
      readonly list: boolean;
      readonly bytesEach: number;
    }
  /** Elements of a tensor: views of the file, one for each time that the field stands there. */
  | { readonly kind: "elements"; readonly wireType: NumberWire; readonly bytesEach: number };

type NumberWire = WireType.Varint | WireType.Bit32 | WireType.Bit64;

interface Layout {
  readonly fields: Map<number, Content>;
  readonly objectBytes: number;
}

/**
 * Heap bytes, measured on Node 20: an object with its header, a slot, an empty array, a view, a string, a
 * bigint in a list, a number in a list.
 */
const HEAP = { object: 64, slot: 8, list: 32, view: 200, text: 48, bigint: 80, number: 8 } as const;

/** What our own objects take on top, by the message that they are made from. */
const OWN_BYTES: ReadonlyMap<string, number> = new Map([
  ["onnx.NodeProto", 600],
  ["onnx.AttributeProto", 200],
  ["onnx.TensorProto", 1000],
  ["onnx.SparseTensorProto", 400],
  ["onnx.ValueInfoProto", 200],
  ["onnx.FunctionProto", 4000],
  ["onnx.GraphProto", 2000],
]);

/** Elements that stay views of the file: see `tensor-message.ts`. */
const VIEWS: ReadonlySet<number> = new Set(Object.values(FIELD));

/** Fields declared as bytes that hold the message of a tensor. */
const TENSOR_FIELDS: ReadonlySet<string> = new Set([
  ...["onnx.GraphProto.initializer", "onnx.AttributeProto.t", "onnx.AttributeProto.tensors"],
  ...["onnx.SparseTensorProto.values", "onnx.SparseTensorProto.indices"],
]);

/**
 * An upper estimate of the heap that decoding a model takes, weights not counted. Stops counting at
 * `limits.decodedBytesMax`.
 *
 * @throws Error of the protobuf reader for what is no protobuf.
 */
export function decodedBytes(bytes: Uint8Array): number {
  return new Scan(bytes).message(bytes.byteLength, layoutOf(ModelProtoSchema), 0);
}

class Scan {
  readonly #bytes: Uint8Array;
  readonly #reader: BinaryReader;
  #total = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#reader = new BinaryReader(bytes);
  }

  /** Counts the message that ends at `end`; gives the total so far. */
  message(end: number, layout: Layout, depth: number): number {
    const reader = this.#reader;
    if (depth > limits.messageDepthMax) throw new RangeError("messages are nested too deep");
    this.#total += layout.objectBytes;
    while (reader.pos < end && this.#total <= limits.decodedBytesMax) {
      const tag = reader.uint32();
      const wireType: WireType = tag & 7;
      const content = layout.fields.get(tag >>> 3);
      if (content !== undefined && !fits(content, wireType)) {
        throw new RangeError("a field stands in another form than its type has");
      }
      if (wireType === WireType.LengthDelimited) this.#delimited(content, end, depth);
      else this.#single(content, tag >>> 3, wireType);
    }
    if (reader.pos > end) throw new RangeError(BEYOND);
    return this.#total;
  }

  #delimited(content: Content | undefined, around: number, depth: number): void {
    const reader = this.#reader;
    const length = reader.uint32();
    const end = reader.pos + length;
    if (end > around) throw new RangeError(BEYOND);
    if (content?.kind === "message") {
      this.message(end, content.message, depth + 1);
    } else if (content?.kind === "numbers") {
      this.#total += content.bytesEach * this.#countNumbers(length, content.wireType);
    } else if (content?.kind === "elements") {
      this.#total += ELEMENTS_BYTES + this.#excess(length, content);
    } else if (content?.kind === "string") {
      this.#total += HEAP.slot + HEAP.text + length;
    } else {
      this.#total += HEAP.slot + HEAP.view;
    }
    reader.pos = end;
  }

  /** Numbers outside a packed list, and fields that the format does not have, which are kept as they are. */
  #single(content: Content | undefined, field: number, wireType: WireType): void {
    this.#reader.skip(wireType, field, limits.messageDepthMax);
    if (content === undefined) this.#total += HEAP.slot + HEAP.view;
    if (content?.kind === "numbers") this.#total += content.bytesEach;
    if (content?.kind === "elements") this.#total += ELEMENTS_BYTES;
  }

  /** What integers of a tensor take beyond what they take in the file, where a small one has one byte. */
  #excess(length: number, { wireType, bytesEach }: Content & { kind: "elements" }): number {
    if (wireType !== WireType.Varint) return 0;
    return Math.max(0, bytesEach * this.#countVarints(length) - length);
  }

  #countNumbers(length: number, wireType: NumberWire): number {
    const size = FIXED_BYTES[wireType];
    if (size !== 0) {
      if (length % size !== 0) throw new RangeError(CUT_OFF);
      return length / size;
    }
    const last = length === 0 ? 0 : this.#bytes[this.#reader.pos + length - 1];
    if ((last ?? 0) >= 0x80) throw new RangeError(CUT_OFF);
    return this.#countVarints(length);
  }

  #countVarints(length: number): number {
    const from = this.#reader.pos;
    let count = 0;
    // The last byte of a varint has no high bit.
    for (const byte of this.#bytes.subarray(from, from + length)) if (byte < 0x80) count++;
    return count;
  }
}

/** A list of elements as `tensor-message.ts` keeps it. */
const ELEMENTS_BYTES = HEAP.slot + HEAP.object + HEAP.view;

const BEYOND = "a field reaches beyond the message around it";
const CUT_OFF = "a list of numbers is cut off";

const FIXED_BYTES: Readonly<Record<NumberWire, 0 | 4 | 8>> = {
  [WireType.Varint]: 0,
  [WireType.Bit32]: 4,
  [WireType.Bit64]: 8,
};

/** Whether a field may stand in the file in a form. Lists may be packed or not ("Encoding", protobuf). */
function fits(content: Content, wireType: WireType): boolean {
  const delimited = wireType === WireType.LengthDelimited;
  switch (content.kind) {
    case "numbers":
      return wireType === content.wireType || (content.list && delimited);
    case "elements":
      return wireType === content.wireType || delimited;
    default:
      return delimited;
  }
}

const layouts = new Map<string, Layout>();

function layoutOf(message: DescMessage): Layout {
  const known = layouts.get(message.typeName);
  if (known !== undefined) return known;
  const lists = message.fields.filter((field) => field.fieldKind === "list").length;
  const slots = message.fields.length * HEAP.slot;
  const layout: Layout = {
    fields: new Map(),
    objectBytes: HEAP.object + slots + lists * HEAP.list + (OWN_BYTES.get(message.typeName) ?? 0),
  };
  // Before its fields: messages contain one another.
  layouts.set(message.typeName, layout);
  for (const field of message.fields) layout.fields.set(field.number, contentOf(message, field));
  return layout;
}

function contentOf(message: DescMessage, field: DescField): Content {
  if (TENSOR_FIELDS.has(`${message.typeName}.${field.name}`)) {
    return { kind: "message", message: layoutOf(TensorProtoSchema) };
  }
  if (field.message !== undefined) return { kind: "message", message: layoutOf(field.message) };
  const { scalar } = field;
  if (scalar === ScalarType.STRING) return { kind: "string" };
  if (scalar === ScalarType.BYTES) return { kind: "bytes" };
  const wireType = wireTypeOf(scalar);
  if (message.typeName === TensorProtoSchema.typeName && VIEWS.has(field.number)) {
    return { kind: "elements", wireType, bytesEach: scalar === ScalarType.INT32 ? 4 : 8 };
  }
  const list = field.fieldKind === "list";
  const each = wireType === WireType.Varint ? HEAP.bigint : HEAP.number;
  return { kind: "numbers", wireType, list, bytesEach: list ? each : 0 };
}

/** Enums, which have no scalar type, are varints. */
function wireTypeOf(scalar: ScalarType | undefined): NumberWire {
  if (scalar === ScalarType.FLOAT) return WireType.Bit32;
  return scalar === ScalarType.DOUBLE ? WireType.Bit64 : WireType.Varint;
}
