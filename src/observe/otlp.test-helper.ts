// Reads OTLP trace requests with the protobuf library and the field numbers of opentelemetry-proto.

import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

export interface ReadSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly traceState: string;
  readonly name: string;
  readonly kind: number;
  readonly startNs: bigint;
  readonly endNs: bigint;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly statusCode: number;
  readonly statusMessage: string;
}

export interface ReadBatch {
  readonly resource: Readonly<Record<string, unknown>>;
  readonly scope: string;
  readonly spans: readonly ReadSpan[];
}

type Value = bigint | number | Uint8Array;

/** Fields of a message; 64-bit fixed fields as bigint where `fixed` says so, else as doubles. */
function read(bytes: Uint8Array, fixed = false): Map<number, Value[]> {
  const reader = new BinaryReader(bytes);
  const fields = new Map<number, Value[]>();
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    const value =
      type === WireType.Varint
        ? BigInt(reader.uint64())
        : type === WireType.Bit32
          ? reader.fixed32()
          : type !== WireType.Bit64
            ? reader.bytes()
            : fixed
              ? BigInt(reader.fixed64())
              : reader.double();
    fields.set(field, [...(fields.get(field) ?? []), value]);
  }
  return fields;
}

function parts(fields: Map<number, Value[]>, field: number): Uint8Array[] {
  return (fields.get(field) ?? []).flatMap((one) => (one instanceof Uint8Array ? [one] : []));
}

const textOf = (fields: Map<number, Value[]>, field: number): string =>
  Buffer.from(parts(fields, field)[0] ?? []).toString("utf8");
const hexOf = (fields: Map<number, Value[]>, field: number): string =>
  Buffer.from(parts(fields, field)[0] ?? []).toString("hex");

function attributesOf(fields: Map<number, Value[]>, field: number): Record<string, unknown> {
  return Object.fromEntries(
    parts(fields, field).map((pair) => {
      const entry = read(pair);
      const value = read(parts(entry, 2)[0] ?? new Uint8Array());
      const [[kind, [given]] = [0, []]] = value;
      const meant = kind === 1 ? textOf(value, 1) : kind === 2 ? given === 1n : given;
      return [textOf(entry, 1), meant];
    }),
  );
}

function spanOf(bytes: Uint8Array): ReadSpan {
  const fields = read(bytes, true);
  const status = read(parts(fields, 15)[0] ?? new Uint8Array());
  return {
    traceId: hexOf(fields, 1),
    spanId: hexOf(fields, 2),
    traceState: textOf(fields, 3),
    parentSpanId: hexOf(fields, 4),
    name: textOf(fields, 5),
    kind: Number(fields.get(6)?.[0]),
    startNs: asBig(fields.get(7)?.[0]),
    endNs: asBig(fields.get(8)?.[0]),
    attributes: attributesOf(fields, 9),
    statusCode: Number(status.get(3)?.[0] ?? 0),
    statusMessage: textOf(status, 2),
  };
}

function asBig(value: Value | undefined): bigint {
  if (typeof value !== "bigint") throw new Error("no 64-bit number");
  return value;
}

/** The batches of a request. */
export function decodeTraces(body: Uint8Array): ReadBatch[] {
  return parts(read(body), 1).map((bytes) => {
    const resourceSpans = read(bytes);
    const scopeSpans = read(parts(resourceSpans, 2)[0] ?? new Uint8Array());
    const scope = read(parts(scopeSpans, 1)[0] ?? new Uint8Array());
    return {
      resource: attributesOf(read(parts(resourceSpans, 1)[0] ?? new Uint8Array()), 1),
      scope: `${textOf(scope, 1)}@${textOf(scope, 2)}`,
      spans: parts(scopeSpans, 2).map(spanOf),
    };
  });
}
