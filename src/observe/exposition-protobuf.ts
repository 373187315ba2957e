// Metrics in the protobuf exposition format (prometheus/client_model, `io.prometheus.client`), which
// alone has native histograms: all exponential buckets, so that a P99 is within 1.1 % at any scale.

import {
  type Exemplar,
  type Family,
  type HistogramValue,
  type Labels,
  suffixOf,
} from "./exposition.ts";
import type { NativeBuckets } from "./histogram.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";

/** Numbers of `MetricType`. */
const TYPES = { counter: 0, gauge: 1, histogram: 4 } as const;
/** Field of `Metric` that holds the value. */
const VALUE_FIELDS = { counter: 3, gauge: 2, histogram: 7 } as const;

/** All families, each a message after its length. */
export function exposeProtobuf(families: readonly Family[]): Buffer {
  const parts: Buffer[] = [];
  for (const family of families) {
    // A family without series says nothing, and Prometheus refuses one.
    if (family.samples.length === 0) continue;
    const message = familyMessage(family);
    parts.push(lengthOf(message), message);
  }
  return Buffer.concat(parts);
}

function familyMessage(family: Family): Buffer {
  const writer = new ProtobufWriter();
  writer.string(1, `${family.name}${suffixOf(family)}`);
  writer.string(2, family.help);
  writer.varint(3, TYPES[family.type]);
  for (const { labels, value, exemplar } of family.samples) {
    const metric = writer.open(4);
    addLabels(writer, labels);
    const body = writer.open(VALUE_FIELDS[family.type]);
    if (typeof value === "number") {
      writer.double(1, value);
      if (family.type === "counter" && exemplar !== undefined) addExemplar(writer, 2, exemplar);
    } else addHistogram(writer, value);
    writer.close(body);
    writer.close(metric);
  }
  return writer.finish();
}

function addLabels(writer: ProtobufWriter, labels: Labels): void {
  for (const [name, value] of Object.entries(labels)) {
    const pair = writer.open(1);
    writer.string(1, name);
    writer.string(2, value);
    writer.close(pair);
  }
}

function addHistogram(writer: ProtobufWriter, value: HistogramValue): void {
  writer.varint(1, value.count);
  writer.double(2, value.sum);
  for (const [i, bound] of [...value.bounds, Number.POSITIVE_INFINITY].entries()) {
    const bucket = writer.open(3);
    writer.varint(1, value.cumulative[i] ?? value.count);
    writer.double(2, bound);
    const exemplar = value.exemplars?.[i];
    if (exemplar !== undefined) addExemplar(writer, 3, exemplar);
    writer.close(bucket);
  }
  const native = value.native?.();
  if (native !== undefined) addNative(writer, native);
}

/** Spans of neighbouring buckets, and the difference of each count to the one before. */
function addNative(writer: ProtobufWriter, native: NativeBuckets): void {
  writer.zigzag(5, native.schema);
  writer.double(6, native.zeroThreshold);
  writer.varint(7, native.zeroCount);
  for (const { offset, length } of spansOf(native.buckets.map(({ index }) => index))) {
    const span = writer.open(12);
    writer.zigzag(1, offset);
    writer.varint(2, length);
    writer.close(span);
  }
  let before = 0;
  for (const { count } of native.buckets) {
    writer.zigzag(13, count - before);
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

function addExemplar(writer: ProtobufWriter, field: number, exemplar: Exemplar): void {
  const message = writer.open(field);
  addLabels(writer, { trace_id: exemplar.traceId });
  writer.double(2, exemplar.value);
  const time = writer.open(3);
  const seconds = Math.floor(exemplar.atMs / 1000);
  writer.varint(1, seconds);
  writer.varint(2, Math.floor((exemplar.atMs - seconds * 1000) * 1e6));
  writer.close(time);
  writer.close(message);
}

function lengthOf(message: Buffer): Buffer {
  const bytes: number[] = [];
  let rest = message.byteLength;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  return Buffer.from([...bytes, rest]);
}
