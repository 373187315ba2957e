// Traces as an OTLP request (opentelemetry-proto, `ExportTraceServiceRequest`), in protobuf: what every
// collector takes at /v1/traces.

import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
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

/** Where identifiers are read from their digits: an object for each costs more than all else that is written. */
const TRACE_ID = Buffer.alloc(16);
const SPAN_ID = Buffer.alloc(8);

const { LengthDelimited, Varint, Bit32, Bit64 } = WireType;
/** 2^32: a fixed64 is written as two halves, which doubles compute exactly and BigInt far more slowly. */
const HALF = 4_294_967_296;

/** The body of one request with all these traces. */
export function encodeTraces(source: TraceSource, traces: readonly FinishedTrace[]): Uint8Array {
  const writer = new BinaryWriter();
  open(writer, 1);
  open(writer, 1);
  addAttributes(writer, 1, source.resource);
  writer.join();
  open(writer, 2);
  open(writer, 1);
  addText(writer, 1, source.scope.name);
  addText(writer, 2, source.scope.version);
  writer.join();
  for (const trace of traces) addTrace(writer, trace);
  writer.join().join();
  return writer.finish();
}

/** The request itself, and below it its parts. */
function addTrace(writer: BinaryWriter, trace: FinishedTrace): void {
  const { context, error } = trace;
  openSpan(writer, trace, { ...trace, spanId: context.spanId });
  if (context.state !== undefined) addText(writer, 3, context.state);
  if (context.parentId !== undefined) addHex(writer, 4, context.parentId);
  writer.tag(6, Varint).uint32(SERVER);
  addAttributes(writer, 9, trace.attributes);
  if (error !== undefined) {
    open(writer, 15);
    addText(writer, 2, error);
    writer.tag(3, Varint).uint32(STATUS_ERROR).join();
  }
  writer.join();
  for (const part of trace.spans) {
    openSpan(writer, trace, part);
    addHex(writer, 4, context.spanId);
    writer.tag(6, Varint).uint32(INTERNAL);
    if (part.attributes !== undefined) addAttributes(writer, 9, part.attributes);
    writer.join();
  }
}

function openSpan(writer: BinaryWriter, trace: FinishedTrace, span: TraceSpan): void {
  open(writer, 2);
  addHex(writer, 1, trace.context.traceId);
  addHex(writer, 2, span.spanId ?? randomHex(8));
  addText(writer, 5, span.name);
  addTime(writer, 7, span.startMs);
  addTime(writer, 8, span.endMs);
  writer.tag(16, Bit32).fixed32(trace.context.sampled ? 1 : 0);
}

function addAttributes(
  writer: BinaryWriter,
  field: number,
  attributes: Readonly<Record<string, Attribute>>,
): void {
  for (const key in attributes) {
    const value = attributes[key];
    if (value === undefined) continue;
    open(writer, field);
    addText(writer, 1, key);
    open(writer, 2);
    if (typeof value === "string") addText(writer, 1, value);
    else if (typeof value === "boolean") writer.tag(2, Varint).bool(value);
    // The same bytes: those of 64 bits go through BigInt.
    else if (value >>> 0 === value) writer.tag(3, Varint).uint32(value);
    else if (Number.isSafeInteger(value)) writer.tag(3, Varint).int64(value);
    else writer.tag(4, Bit64).double(value);
    writer.join().join();
  }
}

/** Begins a nested message, which `join` ends. */
function open(writer: BinaryWriter, field: number): void {
  writer.tag(field, LengthDelimited).fork();
}

function addText(writer: BinaryWriter, field: number, text: string): void {
  writer.tag(field, LengthDelimited).string(text);
}

/** An identifier. */
function addHex(writer: BinaryWriter, field: number, digits: string): void {
  const bytes = digits.length === 32 ? TRACE_ID : SPAN_ID;
  bytes.write(digits, "hex");
  writer.tag(field, LengthDelimited).bytes(bytes);
}

/** Nanoseconds since 1970; 64 bits hold them, doubles do not, but microseconds, until the year 2255. */
function addTime(writer: BinaryWriter, field: number, ms: number): void {
  const microseconds = Math.round(ms * 1000);
  const high = Math.floor(microseconds / HALF);
  const low = (microseconds - high * HALF) * NANOSECONDS;
  const carried = high * NANOSECONDS + Math.floor(low / HALF);
  writer
    .tag(field, Bit64)
    .fixed32(low % HALF)
    .fixed32(carried % HALF);
}
