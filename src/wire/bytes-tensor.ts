// The protocol's BYTES form of string tensors: for each element its length as u32 little-endian, then its bytes.

/** What is wrong with bytes that should hold `count` elements, or undefined. */
export function bytesFault(bytes: Uint8Array, count: number): string | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  let found = 0;
  while (at + 4 <= bytes.byteLength) {
    at += 4 + view.getUint32(at, true);
    found++;
  }
  if (at !== bytes.byteLength) return `its BYTES end inside element ${Math.max(0, found - 1)}`;
  return found === count ? undefined : `its shape has ${count} elements, its BYTES ${found}`;
}

/** The elements, as views. The bytes are whole: `bytesFault` has said so. */
export function* bytesElements(bytes: Uint8Array): Generator<Uint8Array> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + 4 <= bytes.byteLength; ) {
    const from = at + 4;
    at = from + view.getUint32(at, true);
    yield bytes.subarray(from, at);
  }
}

/** Elements in this form. */
export function bytesOfElements(elements: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(elements.reduce((sum, one) => sum + 4 + one.byteLength, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const element of elements) {
    view.setUint32(at, element.byteLength, true);
    bytes.set(element, at + 4);
    at += 4 + element.byteLength;
  }
  return bytes;
}
