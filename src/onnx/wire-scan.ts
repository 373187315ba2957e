// What a file would take in memory once decoded, found out before anything is decoded: two bytes of
// protobuf can become an object of several hundred. Walks the messages by their schema and keeps nothing.

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
  /** A list of numbers, `bytesEach` when decoded; `fixed` bytes each on the wire, 0 for varints. */
  | { readonly kind: "numbers"; readonly fixed: 0 | 4; readonly bytesEach: number };

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
    if (end > reader.len) throw new RangeError("a message reaches beyond the one around it");
    if (depth > limits.messageDepthMax) throw new RangeError("messages are nested too deep");
    this.#total += layout.objectBytes;
    while (reader.pos < end && this.#total <= limits.decodedBytesMax) {
      const tag = reader.uint32();
      const wireType: WireType = tag & 7;
      const content = layout.fields.get(tag >>> 3);
      if (wireType === WireType.LengthDelimited) this.#delimited(content, depth);
      else this.#single(content, tag >>> 3, wireType);
    }
    return this.#total;
  }

  #delimited(content: Content | undefined, depth: number): void {
    const reader = this.#reader;
    const length = reader.uint32();
    const end = reader.pos + length;
    if (content?.kind === "message") {
      this.message(end, content.message, depth + 1);
    } else if (content?.kind === "numbers") {
      this.#total += content.bytesEach * this.#countNumbers(length, content.fixed);
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
  }

  #countNumbers(length: number, fixed: 0 | 4): number {
    if (fixed !== 0) return length / fixed;
    const from = this.#reader.pos;
    let count = 0;
    // The last byte of a varint has no high bit.
    for (const byte of this.#bytes.subarray(from, from + length)) if (byte < 0x80) count++;
    return count;
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

const NO_HEAP: Content = { kind: "numbers", fixed: 4, bytesEach: 0 };

function contentOf(message: DescMessage, field: DescField): Content {
  if (TENSOR_FIELDS.has(`${message.typeName}.${field.name}`)) {
    return { kind: "message", message: layoutOf(TensorProtoSchema) };
  }
  if (message.typeName === TensorProtoSchema.typeName && VIEWS.has(field.number)) return NO_HEAP;
  if (field.message !== undefined) return { kind: "message", message: layoutOf(field.message) };
  const { scalar } = field;
  if (scalar === ScalarType.STRING) return { kind: "string" };
  if (scalar === ScalarType.BYTES) return { kind: "bytes" };
  if (field.fieldKind !== "list") return NO_HEAP;
  const fixed = scalar === ScalarType.FLOAT ? 4 : 0;
  return { kind: "numbers", fixed, bytesEach: fixed === 0 ? HEAP.bigint : HEAP.number };
}
