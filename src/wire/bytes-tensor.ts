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
