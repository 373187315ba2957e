// Traces as an OTLP request (opentelemetry-proto, `ExportTraceServiceRequest`), in protobuf: what every
// collector takes at /v1/traces.

import { ProtobufWriter } from "./protobuf-writer.ts";
import type { Attribute, FinishedTrace, TraceSpan } from "./trace.ts";
import { randomHex } from "./trace-context.ts";

/** `SPAN_KIND_SERVER` and `SPAN_KIND_INTERNAL`. */
const SERVER = 2;
const INTERNAL = 1;
const STATUS_ERROR = 2;
const NANOSECONDS = 1000;

/** Who sends the traces. */
export interface TraceSource {
  /** Attributes of the resource: `service.name` and the like. */
  readonly resource: Readonly<Record<string, Attribute>>;
  readonly scope: { readonly name: string; readonly version: string };
}

/** The body of one request with all these traces. */
export function encodeTraces(source: TraceSource, traces: readonly FinishedTrace[]): Buffer {
  const writer = new ProtobufWriter(64 + traces.length * 1024);
  const resourceSpans = writer.open(1);
  const resource = writer.open(1);
  addAttributes(writer, 1, source.resource);
  writer.close(resource);
  const scopeSpans = writer.open(2);
  const scope = writer.open(1);
  writer.string(1, source.scope.name);
  writer.string(2, source.scope.version);
  writer.close(scope);
  for (const trace of traces) addTrace(writer, trace);
  writer.close(scopeSpans);
  writer.close(resourceSpans);
  return writer.finish();
}

/** The request itself, and below it its parts. */
function addTrace(writer: ProtobufWriter, trace: FinishedTrace): void {
  const { context, error } = trace;
  const root = openSpan(writer, trace, { ...trace, spanId: context.spanId });
  if (context.state !== undefined) writer.string(3, context.state);
  if (context.parentId !== undefined) writer.hex(4, context.parentId);
  writer.varint(6, SERVER);
  addAttributes(writer, 9, trace.attributes);
  if (error !== undefined) {
    const status = writer.open(15);
    writer.string(2, error);
    writer.varint(3, STATUS_ERROR);
    writer.close(status);
  }
  writer.close(root);
  for (const part of trace.spans) {
    const span = openSpan(writer, trace, part);
    writer.hex(4, context.spanId);
    writer.varint(6, INTERNAL);
    if (part.attributes !== undefined) addAttributes(writer, 9, part.attributes);
    writer.close(span);
  }
}

function openSpan(writer: ProtobufWriter, trace: FinishedTrace, span: TraceSpan): number {
  const start = writer.open(2);
  writer.hex(1, trace.context.traceId);
  writer.hex(2, span.spanId ?? randomHex(8));
  writer.string(5, span.name);
  // Microseconds are whole numbers that a double holds until the year 2255.
  writer.fixed64(7, Math.round(span.startMs * 1000), NANOSECONDS);
  writer.fixed64(8, Math.round(span.endMs * 1000), NANOSECONDS);
  writer.fixed32(16, trace.context.sampled ? 1 : 0);
  return start;
}

function addAttributes(
  writer: ProtobufWriter,
  field: number,
  attributes: Readonly<Record<string, Attribute>>,
): void {
  for (const key in attributes) {
    const value = attributes[key];
    if (value === undefined) continue;
    const pair = writer.open(field);
    writer.string(1, key);
    const any = writer.open(2);
    if (typeof value === "string") writer.string(1, value);
    else if (typeof value === "boolean") writer.varint(2, value ? 1 : 0);
    else if (Number.isSafeInteger(value) && value >= 0) writer.varint(3, value);
    else writer.double(4, value);
    writer.close(any);
    writer.close(pair);
  }
}
