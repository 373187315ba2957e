// Ways to damage a model file: bytes that are wrong, and messages that are whole and in the wrong place.

import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Random } from "../src/base/random.ts";

/** A damaged copy of a file; `other` is a second file to take parts from. */
export type Damage = (bytes: Uint8Array, random: Random, other: Uint8Array) => Uint8Array;

/** Field of ModelProto that holds the graph. */
const GRAPH = 7;

/** Every kind of damage, by name. */
export const DAMAGES: Readonly<Record<string, Damage>> = {
  flip(bytes, random) {
    const copy = Uint8Array.from(bytes);
    for (let i = 1 + random.integer(8); i > 0; i--) {
      const at = random.integer(copy.length);
      copy[at] = (copy[at] ?? 0) ^ (1 << random.integer(8));
    }
    return copy;
  },
  truncate: (bytes, random) => bytes.slice(0, random.integer(bytes.length)),
  // Lengths and counts of protobuf are varints: a high bit makes one of them far larger.
  lengthen(bytes, random) {
    const copy = Uint8Array.from(bytes);
    const at = random.integer(copy.length);
    for (let i = 0; i < 1 + random.integer(5); i++) copy[at + i] = 0xff;
    return copy;
  },
  splice(bytes, random, other) {
    const [from, to] = [random.integer(bytes.length), random.integer(other.length)];
    return joined([bytes.subarray(0, from), other.subarray(to)]);
  },
  repeat(bytes, random) {
    const from = random.integer(bytes.length);
    const part = bytes.subarray(from, from + random.integer(2000));
    return joined([bytes.subarray(0, from), part, part, bytes.subarray(from)]);
  },
  /** Nodes, weights and types that are missing, twice there, in another order, or of another model. */
  transplant(bytes, random, other) {
    const [own, foreign] = [recordsOf(bytes), recordsOf(other)];
    const at = own.findIndex((record) => record.field === GRAPH);
    const graph = own[at]?.payload;
    if (graph === undefined) return bytes;
    const parts = recordsOf(graph).map((record) => record.whole);
    const taken = recordsOf(foreign.find((one) => one.field === GRAPH)?.payload ?? graph);
    for (let i = 1 + random.integer(6); i > 0; i--) {
      const [place, from] = [random.integer(parts.length + 1), random.integer(parts.length + 1)];
      const [part] = [parts[from] ?? new Uint8Array()];
      if (random.uniform() < 0.25) parts.splice(place, 1);
      else if (random.uniform() < 0.4) parts.splice(place, 0, part);
      else if (random.uniform() < 0.6) parts.splice(place, 1, part);
      else parts.splice(place, 0, taken[random.integer(taken.length)]?.whole ?? part);
    }
    const changed = new BinaryWriter().tag(GRAPH, WireType.LengthDelimited).bytes(joined(parts));
    return joined(own.map((record, i) => (i === at ? changed.finish() : record.whole)));
  },
};

interface WireRecord {
  readonly field: number;
  readonly whole: Uint8Array;
  readonly payload: Uint8Array;
}

function recordsOf(message: Uint8Array): WireRecord[] {
  const reader = new BinaryReader(message);
  const found: WireRecord[] = [];
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const [field, wireType] = reader.tag();
    const isBytes = wireType === WireType.LengthDelimited;
    const payload = isBytes ? reader.bytes() : reader.skip(wireType, field);
    found.push({ field, whole: message.subarray(start, reader.pos), payload });
  }
  return found;
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}
