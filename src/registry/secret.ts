// Secrets of tokens: 256 random bits in a form that people, scanners of source code and we ourselves
// recognise, `skw_` + 43 digits of base 62 + 6 digits of checksum, and what is stored in their place.

import { createHash, randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";

const PREFIX = "skw_";
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE = BigInt(DIGITS.length);
const SECRET_BYTES = 32;
/** 62^43 > 2^256, and 62^6 > 2^32. */
const SECRET_CHARS = 43;
const CHECK_CHARS = 6;
const FORM = new RegExp(`^${PREFIX}[0-9A-Za-z]{${SECRET_CHARS + CHECK_CHARS}}$`);
/** Any part of one counts: what is cut off by a limit of length is still half of a secret. */
const ANYWHERE = /skw(?:_|%5f)[0-9A-Za-z]+/gi;

/** A new secret. */
export function newSecret(): string {
  const value = BigInt(`0x${randomBytes(SECRET_BYTES).toString("hex")}`);
  const body = inBase62(value, SECRET_CHARS);
  return `${PREFIX}${body}${checkOf(body)}`;
}

/** Whether a text is one that `newSecret` could have given: a slip of the keyboard is not looked up. */
export function isSecret(text: string): boolean {
  if (!FORM.test(text)) return false;
  const end = PREFIX.length + SECRET_CHARS;
  return text.slice(end) === checkOf(text.slice(PREFIX.length, end));
}

/**
 * What is stored of a secret: its SHA-256 in hex. A slow hash with a salt protects words that people choose
 * from being guessed; 256 random bits cannot be guessed, and a slow hash would cost every request.
 */
export function secretDigest(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}

/** The same text with every secret in it, or part of one, blotted out. */
export function redacted(text: string): string {
  return text.replace(ANYWHERE, "skw_…");
}

function checkOf(body: string): string {
  return inBase62(BigInt(crc32(body)), CHECK_CHARS);
}

function inBase62(value: bigint, chars: number): string {
  let rest = value;
  let text = "";
  for (let i = 0; i < chars; i++) {
    text = DIGITS.charAt(Number(rest % BASE)) + text;
    rest /= BASE;
  }
  return text;
}
