// The protocol's BYTES form written down a second time, to judge the first.

/** The elements of string tensors. */
export function bytesElements(bytes: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = [];
  const view = Buffer.from(bytes);
  for (let at = 0; at < view.byteLength; ) {
    const from = at + 4;
    at = from + view.readUInt32LE(at);
    found.push(view.subarray(from, at));
  }
  return found;
}

/** Elements in that form. */
export function bytesOfElements(elements: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(
    Buffer.concat(
      elements.flatMap((one) => {
        const length = Buffer.alloc(4);
        length.writeUInt32LE(one.byteLength);
        return [length, one];
      }),
    ),
  );
}
