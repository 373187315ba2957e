// A protobuf message as the pieces it is made of, so that weights are written from where they lie and
// never gathered in one buffer first.

import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

/** Bytes in pieces. A message is the concatenation of its fields, in any order. */
export class Chunks {
  readonly #pieces: Uint8Array[] = [];
  #byteLength = 0;

  /** One piece. */
  static of(bytes: Uint8Array): Chunks {
    const chunks = new Chunks();
    chunks.push(bytes);
    return chunks;
  }

  get pieces(): readonly Uint8Array[] {
    return this.#pieces;
  }

  get byteLength(): number {
    return this.#byteLength;
  }

  /** Adds encoded fields. */
  push(bytes: Uint8Array): void {
    if (bytes.byteLength === 0) return;
    this.#pieces.push(bytes);
    this.#byteLength += bytes.byteLength;
  }

  /** Adds a field that is itself a message or bytes. */
  nested(field: number, inner: Chunks): void {
    const head = new BinaryWriter().tag(field, WireType.LengthDelimited).uint32(inner.byteLength);
    this.push(head.finish());
    for (const piece of inner.#pieces) this.#pieces.push(piece);
    this.#byteLength += inner.#byteLength;
  }

  /** All pieces in one. */
  joined(): Uint8Array {
    return concatenated(this.#pieces);
  }
}

/** Pieces in one; without a copy where it is one already. */
export function concatenated(pieces: readonly Uint8Array[]): Uint8Array {
  const [only] = pieces;
  if (pieces.length === 1 && only !== undefined) return only;
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.byteLength, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.byteLength;
  }
  return whole;
}
