// A certificate for `localhost` that signs itself, made in the test: one in the repository would run out.

import { generateKeyPairSync, randomBytes, sign } from "node:crypto";

/** PEM texts, as Node's servers take them. */
export interface Certificate {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** An element of DER (ITU-T X.690): its tag, its length, its content. */
function der(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(contents);
  const size = content.byteLength;
  const length = size < 128 ? [size] : size < 256 ? [0x81, size] : [0x82, size >> 8, size & 255];
  return Buffer.concat([Buffer.of(tag, ...length), content]);
}

const sequence = (...contents: readonly Uint8Array[]): Buffer => der(0x30, ...contents);
const oid = (...bytes: number[]): Buffer => der(0x06, Buffer.of(...bytes));

/** ecdsa-with-SHA256. */
const ALGORITHM = sequence(oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02));
/** Common name: localhost. */
const NAME = sequence(
  der(0x31, sequence(oid(0x55, 0x04, 0x03), der(0x0c, Buffer.from("localhost")))),
);

function utcTime(milliseconds: number): Buffer {
  const digits = new Date(milliseconds).toISOString().replace(/[-:T]|\.\d+/g, "");
  return der(0x17, Buffer.from(digits.slice(2)));
}

function extensions(): Buffer {
  const san = sequence(der(0x82, Buffer.from("localhost")), der(0x87, Buffer.of(127, 0, 0, 1)));
  const alternative = sequence(oid(0x55, 0x1d, 0x11), der(0x04, san));
  const authority = sequence(der(0x01, Buffer.of(255)));
  const basic = sequence(oid(0x55, 0x1d, 0x13), der(0x01, Buffer.of(255)), der(0x04, authority));
  return der(0xa3, sequence(alternative, basic));
}

/** A new one, good for an hour. */
export function selfSigned(): Certificate {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const hour = 3_600_000;
  const body = sequence(
    der(0xa0, der(0x02, Buffer.of(2))),
    der(0x02, Buffer.concat([Buffer.of(1), randomBytes(8)])),
    ALGORITHM,
    NAME,
    sequence(utcTime(Date.now() - hour), utcTime(Date.now() + hour)),
    NAME,
    publicKey.export({ type: "spki", format: "der" }),
    extensions(),
  );
  const signature = der(0x03, Buffer.of(0), sign("sha256", body, privateKey));
  const base64 = sequence(body, ALGORITHM, signature).toString("base64");
  const lines = base64.match(/.{1,64}/g)?.join("\n");
  return {
    cert: Buffer.from(`-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`),
    key: Buffer.from(privateKey.export({ type: "pkcs8", format: "pem" })),
  };
}
