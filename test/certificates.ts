// Certificates for tests, made here: an authority, and what it signs (RFC 5280, in DER). Nothing checks them
// but Node's TLS.

import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";

/** A certificate and its key in PEM. */
export interface Pair {
  readonly cert: string;
  readonly key: string;
}

/** An authority that signs. */
export interface Authority {
  readonly cert: string;
  /** A certificate for 127.0.0.1 and localhost, for servers and clients. */
  issue(name: string): Pair;
}

function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const length =
    body.length < 128
      ? Buffer.from([body.length])
      : Buffer.from([0x82, body.length >> 8, body.length & 0xff]);
  return Buffer.concat([Buffer.from([tag]), length, body]);
}

const sequence = (...parts: readonly Uint8Array[]): Buffer => der(0x30, ...parts);
const oid = (...bytes: readonly number[]): Buffer => der(0x06, Buffer.from(bytes));
const bool = (value: boolean): Buffer => der(0x01, Buffer.from([value ? 0xff : 0]));
const ECDSA_SHA256 = sequence(oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02));
const BASIC_CONSTRAINTS = oid(0x55, 0x1d, 0x13);
const SUBJECT_ALT_NAME = oid(0x55, 0x1d, 0x11);

function nameOf(common: string): Buffer {
  return sequence(der(0x31, sequence(oid(0x55, 0x04, 0x03), der(0x0c, Buffer.from(common)))));
}

function extension(id: Buffer, critical: boolean, value: Buffer): Buffer {
  return sequence(id, ...(critical ? [bool(true)] : []), der(0x04, value));
}

function certificate(
  subject: { name: string; publicKey: KeyObject; authority: boolean },
  issuer: { name: string; privateKey: KeyObject },
): string {
  const names = sequence(
    der(0x82, Buffer.from("localhost")),
    der(0x87, Buffer.from([127, 0, 0, 1])),
  );
  const serial = randomBytes(8);
  serial[0] = 1;
  const body = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, serial),
    ECDSA_SHA256,
    nameOf(issuer.name),
    sequence(der(0x17, Buffer.from("200101000000Z")), der(0x17, Buffer.from("490101000000Z"))),
    nameOf(subject.name),
    subject.publicKey.export({ type: "spki", format: "der" }),
    der(
      0xa3,
      sequence(
        extension(BASIC_CONSTRAINTS, true, subject.authority ? sequence(bool(true)) : sequence()),
        ...(subject.authority ? [] : [extension(SUBJECT_ALT_NAME, false, names)]),
      ),
    ),
  );
  const signature = der(0x03, Buffer.from([0]), sign("sha256", body, issuer.privateKey));
  const base64 = sequence(body, ECDSA_SHA256, signature).toString("base64");
  const lines = base64.match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

/** A new authority. */
export function authority(name = "skipway test authority"): Authority {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const issuer = { name, privateKey };
  return {
    cert: certificate({ name, publicKey, authority: true }, issuer),
    issue(common) {
      const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
      return {
        cert: certificate({ name: common, publicKey: pair.publicKey, authority: false }, issuer),
        key: String(pair.privateKey.export({ type: "pkcs8", format: "pem" })),
      };
    },
  };
}
