// Metrics in the protobuf exposition format (prometheus/client_model, `io.prometheus.client`), which
// alone has native histograms: all exponential buckets, so that a P99 is within 1.1 % at any scale.

import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import {
  type Exemplar,
  type Family,
  type HistogramValue,
  type Labels,
  suffixOf,
} from "./exposition.ts";
import type { NativeBuckets } from "./histogram.ts";

/** Numbers of `MetricType`. */
const TYPES = { counter: 0, gauge: 1, histogram: 4 } as const;
/** Field of `Metric` that holds the value. */
const VALUE_FIELDS = { counter: 3, gauge: 2, histogram: 7 } as const;

const { LengthDelimited, Varint, Bit64 } = WireType;

/** All families, each a message after its length. */
export function exposeProtobuf(families: readonly Family[]): Uint8Array {
  const writer = new BinaryWriter();
  for (const family of families) {
    // A family without series says nothing, and Prometheus refuses one.
    if (family.samples.length === 0) continue;
    writer.fork();
    addFamily(writer, family);
    writer.join();
  }
  return writer.finish();
}

function addFamily(writer: BinaryWriter, family: Family): void {
  addText(writer, 1, `${family.name}${suffixOf(family)}`);
  addText(writer, 2, family.help);
  writer.tag(3, Varint).uint32(TYPES[family.type]);
  for (const { labels, value, exemplar } of family.samples) {
    open(writer, 4);
    addLabels(writer, labels);
    open(writer, VALUE_FIELDS[family.type]);
    if (typeof value === "number") {
      addDouble(writer, 1, value);
      if (family.type === "counter" && exemplar !== undefined) addExemplar(writer, 2, exemplar);
    } else addHistogram(writer, value);
    writer.join().join();
  }
}

function addLabels(writer: BinaryWriter, labels: Labels): void {
  for (const [name, value] of Object.entries(labels)) {
    open(writer, 1);
    addText(writer, 1, name);
    addText(writer, 2, value);
    writer.join();
  }
}

function addHistogram(writer: BinaryWriter, value: HistogramValue): void {
  addCount(writer, 1, value.count);
  addDouble(writer, 2, value.sum);
  for (const [i, bound] of [...value.bounds, Number.POSITIVE_INFINITY].entries()) {
    open(writer, 3);
    addCount(writer, 1, value.cumulative[i] ?? value.count);
    addDouble(writer, 2, bound);
    const exemplar = value.exemplars?.[i];
    if (exemplar !== undefined) addExemplar(writer, 3, exemplar);
    writer.join();
  }
  const native = value.native?.();
  if (native !== undefined) addNative(writer, native);
}

/** Spans of neighbouring buckets, and the difference of each count to the one before. */
function addNative(writer: BinaryWriter, native: NativeBuckets): void {
  writer.tag(5, Varint).sint32(native.schema);
  addDouble(writer, 6, native.zeroThreshold);
  addCount(writer, 7, native.zeroCount);
  for (const { offset, length } of spansOf(native.buckets.map(({ index }) => index))) {
    open(writer, 12);
    writer.tag(1, Varint).sint32(offset).tag(2, Varint).uint32(length).join();
  }
  let before = 0;
  for (const { count } of native.buckets) {
    const more = count - before;
    writer.tag(13, Varint);
    // The same bytes: those of 64 bits go through BigInt.
    if ((more | 0) === more) writer.sint32(more);
    else writer.sint64(more);
    before = count;
  }
}

/** Runs of neighbours: how many lie before each (from the end of the last one), and how many it has. */
function spansOf(indexes: readonly number[]): { offset: number; length: number }[] {
  const spans: { offset: number; length: number }[] = [];
  let end = 0;
  for (const index of indexes) {
    const last = spans.at(-1);
    if (last !== undefined && index === end) last.length++;
    else spans.push({ offset: index - end, length: 1 });
    end = index + 1;
  }
  // A histogram without events has one empty span: it is a native one all the same.
  return spans.length === 0 ? [{ offset: 0, length: 0 }] : spans;
}

function addExemplar(writer: BinaryWriter, field: number, exemplar: Exemplar): void {
  open(writer, field);
  addLabels(writer, { trace_id: exemplar.traceId });
  addDouble(writer, 2, exemplar.value);
  open(writer, 3);
  const seconds = Math.floor(exemplar.atMs / 1000);
  addCount(writer, 1, seconds);
  addCount(writer, 2, Math.floor((exemplar.atMs - seconds * 1000) * 1e6));
  writer.join().join();
}

/** Begins a nested message, which `join` ends. */
function open(writer: BinaryWriter, field: number): void {
  writer.tag(field, LengthDelimited).fork();
}

function addText(writer: BinaryWriter, field: number, text: string): void {
  writer.tag(field, LengthDelimited).string(text);
}

function addDouble(writer: BinaryWriter, field: number, value: number): void {
  writer.tag(field, Bit64).double(value);
}

/** A whole number that is not negative. */
function addCount(writer: BinaryWriter, field: number, value: number): void {
  writer.tag(field, Varint);
  if (value < 2 ** 32) writer.uint32(value);
  else writer.uint64(value);
}
