// Reading protobuf field by field, for messages whose objects would cost far more than their bytes. What is no
// message of its type is refused: fields in another form, strings that are no UTF-8, and more fields than anyone
// sends, since each takes time however short it is.

import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { limits } from "../base/limits.ts";

/** Bytes that are no message of the type that they should be; the text is for the client. */
export class MalformedMessage extends Error {
  constructor(text: string) {
    super(text);
    this.name = "MalformedMessage";
  }
}

/** Reads one field, or leaves it to be skipped (false). */
type TakeField = (from: BinaryReader, field: number, wireType: WireType) => boolean;

/** Walks the messages of one request, and knows how many fields they had together. */
export class FieldWalk {
  #left: number;

  constructor(fieldsMax: number = limits.requestFieldsMax) {
    this.#left = fieldsMax;
  }

  /** Calls back for every field of a message. @throws MalformedMessage and what the protobuf reader throws. */
  each(message: Uint8Array, take: TakeField): void {
    const from = new BinaryReader(message);
    while (from.pos < from.len) {
      if (this.#left-- === 0) {
        throw new MalformedMessage(
          `has more than ${limits.requestFieldsMax} fields; send long tensors in raw_input_contents`,
        );
      }
      const [field, wireType] = from.tag();
      if (!take(from, field, wireType)) from.skip(wireType, field);
    }
  }
}

/** The bytes of a field: a view of the message. @throws MalformedMessage */
export function bytesField(from: BinaryReader, wireType: WireType): Uint8Array {
  expectForm(wireType, WireType.LengthDelimited);
  return from.bytes();
}

/** The text of a field. @throws MalformedMessage */
export function stringField(from: BinaryReader, wireType: WireType): string {
  expectForm(wireType, WireType.LengthDelimited);
  try {
    return from.string(true);
  } catch (cause) {
    // The decoder's word for bytes that are no UTF-8.
    if (cause instanceof TypeError) throw new MalformedMessage("has a string that is no UTF-8");
    throw cause;
  }
}

/** @throws MalformedMessage for a field that stands in another form than its type has. */
export function expectForm(found: WireType, wanted: WireType): void {
  if (found !== wanted) {
    throw new MalformedMessage("has a field in another form than its type has");
  }
}
