// Content addresses: the SHA-256 of the bytes, written `sha256:…` as in the OCI image specification.

import { createHash } from "node:crypto";

/** A content address. */
export type Digest = string;

const FORM = /^sha256:[0-9a-f]{64}$/;

/** The address of bytes. */
export function digestOf(bytes: Uint8Array): Digest {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** Whether a text has the form of a content address. */
export function isDigest(text: string): boolean {
  return FORM.test(text);
}
