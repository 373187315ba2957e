import { createServer, type IncomingHttpHeaders, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { SkipwayError } from "../base/errors.ts";
import { decodeTraces } from "./otlp.test-helper.ts";
import { encodeTraces } from "./otlp.ts";
import { OtlpExporter, type OtlpOptions } from "./otlp-exporter.ts";
import { traceSettings } from "./otlp-options.ts";
import { type FinishedTrace, TailSampler } from "./trace.ts";
import { contextOf, traceparentOf } from "./trace-context.ts";

const TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT_ID = "00f067aa0ba902b7";

describe("trace context", () => {
  test("goes on where the caller is", () => {
    const traceparent = `00-${TRACE_ID}-${PARENT_ID}-01`;
    const context = contextOf({ traceparent, tracestate: "a=1, b=x y" }, 0);
    expect(context).toMatchObject({ traceId: TRACE_ID, parentId: PARENT_ID, sampled: true });
    expect(context.state).toBe("a=1,b=x y");
    expect(context.spanId).toMatch(/^(?!0{16})[0-9a-f]{16}$/);
    expect(traceparentOf(context)).toBe(`00-${TRACE_ID}-${context.spanId}-01`);
    expect(contextOf({ traceparent: traceparent.replace(/01$/, "00") }, 1).sampled).toBe(false);
  });

  test.each([
    ["no version", `${TRACE_ID}-${PARENT_ID}-01`],
    ["the forbidden version", `ff-${TRACE_ID}-${PARENT_ID}-01`],
    ["capital letters", `00-${TRACE_ID.toUpperCase()}-${PARENT_ID}-01`],
    ["an empty trace id", `00-${"0".repeat(32)}-${PARENT_ID}-01`],
    ["an empty parent id", `00-${TRACE_ID}-${"0".repeat(16)}-01`],
    ["more than version 00 has", `00-${TRACE_ID}-${PARENT_ID}-01-more`],
    ["a short id", `00-${TRACE_ID.slice(1)}-${PARENT_ID}-01`],
    ["two of them", `00-${TRACE_ID}-${PARENT_ID}-01,00-${TRACE_ID}-${PARENT_ID}-01`],
    ["far too much", `01-${TRACE_ID}-${PARENT_ID}-01-${"x".repeat(100_000)}`],
  ])("with %s a new trace begins", (_what, traceparent) => {
    const context = contextOf({ traceparent, tracestate: "a=1" }, 1);
    expect(context.traceId).not.toBe(TRACE_ID);
    expect([context.parentId, context.state, context.sampled]).toEqual([
      undefined,
      undefined,
      true,
    ]);
  });

  test("a version to come may have more fields", () => {
    const context = contextOf({ traceparent: `01-${TRACE_ID}-${PARENT_ID}-01-more` }, 0);
    expect(context.traceId).toBe(TRACE_ID);
  });

  test.each(["", "a", "a=1,a=2", "A=1", "a=1\u0000", `a=${"x".repeat(600)}`, "a==", "=1"])(
    "the state %j is not handed on",
    (tracestate) => {
      const traceparent = `00-${TRACE_ID}-${PARENT_ID}-01`;
      expect(contextOf({ traceparent, tracestate }, 0).state).toBeUndefined();
    },
  );

  test("any header gives a valid context", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string(), (traceparent, tracestate) => {
        const context = contextOf({ traceparent, tracestate }, 0.5);
        expect(traceparentOf(context)).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/);
      }),
    );
  });

  test("the share of a ratio is chosen by the trace id, so that all servers choose alike", () => {
    const sampled = Array.from({ length: 20_000 }, () => contextOf({}, 0.1).sampled);
    const share = sampled.filter(Boolean).length / sampled.length;
    // Five standard deviations of a binomial of 20,000.
    expect(Math.abs(share - 0.1)).toBeLessThan(0.011);
    expect(contextOf({}, 0).sampled).toBe(false);
  });
});

test("at the end, failed and slow requests are kept, so many a second", () => {
  let now = 0;
  const clock = { nowMs: () => now, monotonicMs: () => now };
  const tail = new TailSampler({ ratio: 0, slowMs: 100, tailPerSecond: 2 }, clock);
  expect(tail.keeps({ tookMs: 99, failed: false })).toBe(false);
  expect(tail.keeps({ tookMs: 100, failed: false })).toBe(true);
  expect(tail.keeps({ tookMs: 1, failed: true })).toBe(true);
  expect(tail.keeps({ tookMs: 1, failed: true })).toBe(false);
  now = 500;
  expect(tail.keeps({ tookMs: 1, failed: true })).toBe(true);
  expect(tail.keeps({ tookMs: 1, failed: true })).toBe(false);
});

function finished(index: number): FinishedTrace {
  const startMs = 1_700_000_000_000.125 + index;
  return {
    context: contextOf({ traceparent: `00-${TRACE_ID}-${PARENT_ID}-01`, tracestate: "a=1" }, 1),
    name: "inference",
    startMs,
    endMs: startMs + 7.5,
    spans: [
      { name: "queue", startMs: startMs + 1, endMs: startMs + 2 },
      {
        name: "infer",
        spanId: "00000000000000ff",
        startMs: startMs + 2,
        endMs: startMs + 5,
        attributes: { rows: 3 },
      },
    ],
    attributes: { "skipway.model.name": 'ü"\n', index, share: 0.5, on: true },
    error: index === 1 ? "runtime" : undefined,
  };
}

const SOURCE = {
  resource: { "service.name": "skipway" },
  scope: { name: "skipway", version: "1" },
};

test("OTLP: ids, parents, times to the microsecond, attributes and errors", () => {
  const traces = [finished(0), finished(1)];
  const [{ resource, scope, spans } = { resource: {}, scope: "", spans: [] }] = decodeTraces(
    encodeTraces(SOURCE, traces),
  );
  expect(resource).toEqual({ "service.name": "skipway" });
  expect(scope).toBe("skipway@1");
  expect(spans).toHaveLength(6);
  const [root, queue, infer, second] = spans;
  expect(root).toMatchObject({
    traceId: TRACE_ID,
    spanId: traces[0]?.context.spanId,
    parentSpanId: PARENT_ID,
    traceState: "a=1",
    kind: 2,
    startNs: 1_700_000_000_000_125_000n,
    endNs: 1_700_000_000_007_625_000n,
    attributes: { "skipway.model.name": 'ü"\n', index: 0n, share: 0.5, on: true },
    statusCode: 0,
  });
  expect(queue).toMatchObject({ name: "queue", parentSpanId: root?.spanId, kind: 1 });
  expect(infer).toMatchObject({ spanId: "00000000000000ff", attributes: { rows: 3n } });
  expect(second).toMatchObject({ statusCode: 2, statusMessage: "runtime" });
  expect(new Set(spans.map((one) => one.spanId)).size).toBe(5);
});

test("OTLP: any time until the year 2255, and any text and number, is what a reader finds", () => {
  const text = fc.string({ unit: "binary", maxLength: 300 });
  const number = fc.oneof(fc.maxSafeInteger(), fc.double({ noNaN: true }));
  const ms = fc.double({ min: 0, max: 9e12, noNaN: true });
  fc.assert(
    fc.property(ms, text, number, (startMs, word, value) => {
      const attributes = { [word]: word, value };
      const trace = { ...finished(0), startMs, attributes: word === "value" ? {} : attributes };
      const [root] = decodeTraces(encodeTraces(SOURCE, [trace]))[0]?.spans ?? [];
      expect(root?.startNs).toBe(BigInt(Math.round(startMs * 1000)) * 1000n);
      if (word === "value") return;
      const sent = Buffer.from(word).toString();
      expect(root?.attributes).toEqual({
        [sent]: sent,
        value: Number.isSafeInteger(value) ? BigInt.asUintN(64, BigInt(value)) : value,
      });
    }),
    { numRuns: 50 },
  );
});

const closing: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

async function collector(answer: RequestListener): Promise<URL> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  // A server that listens on a port has an address of this form.
  const { port } = server.address() as AddressInfo;
  return new URL(`http://127.0.0.1:${port}/v1/traces`);
}

function exporterTo(url: URL, options: Partial<OtlpOptions> = {}): OtlpExporter {
  return new OtlpExporter({
    ...{ url, headers: {}, source: SOURCE, timeoutMs: 2000, delayMs: 5 },
    ...{ batchMax: 4, queueMax: 10, ...options },
  });
}

describe("export", () => {
  test("all traces arrive, in batches, with the headers that were given", async () => {
    const seen: { headers: IncomingHttpHeaders; spans: number }[] = [];
    const url = await collector((request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        const [{ spans } = { spans: [] }] = decodeTraces(Buffer.concat(chunks));
        seen.push({ headers: request.headers, spans: spans.length });
        response.end();
      });
    });
    const exporter = exporterTo(url, { headers: { "x-key": "k" } });
    for (let i = 0; i < 9; i++) exporter.push(finished(i));
    await exporter.close(2000);
    expect(seen.map((one) => one.spans)).toEqual([12, 12, 3]);
    expect(seen[0]?.headers).toMatchObject({
      "x-key": "k",
      "content-type": "application/x-protobuf",
    });
    expect(exporter.counts().sent).toBe(9);
    expect(Object.values(exporter.counts().dropped)).toEqual([0, 0, 0]);
  });

  test("what is refused is dropped; what may go through later is sent again", async () => {
    const answers = [503, 200, 400, 200];
    const url = await collector((request, response) => {
      request.resume();
      request.on("end", () => response.writeHead(answers.shift() ?? 200).end());
    });
    const exporter = exporterTo(url, { batchMax: 1 });
    for (let i = 0; i < 3; i++) exporter.push(finished(i));
    await expect
      .poll(() => exporter.counts())
      .toEqual({
        sent: 2,
        dropped: { "queue-full": 0, refused: 1, unreachable: 0 },
      });
    await exporter.close(1000);
  });

  test.each([
    ["is not there", undefined],
    ["never answers", (() => undefined) as RequestListener],
    ["hangs up", ((request) => request.socket.destroy()) as RequestListener],
  ])(
    "a collector that %s costs traces, all of which are counted, and holds nothing up",
    async (_what, answer) => {
      const url =
        answer === undefined ? new URL("http://127.0.0.1:9/v1/traces") : await collector(answer);
      const exporter = exporterTo(url);
      for (let i = 0; i < 50; i++) exporter.push(finished(i));
      await exporter.close(50);
      const { sent, dropped } = exporter.counts();
      expect(sent).toBe(0);
      expect(dropped["queue-full"]).toBeGreaterThanOrEqual(36);
      expect(dropped["queue-full"] + dropped.unreachable).toBe(50);
      exporter.push(finished(0));
      expect(exporter.counts().dropped["queue-full"]).toBe(dropped["queue-full"] + 1);
    },
  );
});

describe("settings", () => {
  const settings = (env: Record<string, string>, given = {}) => traceSettings(env, "1.2.3", given);

  test("nothing is sent unless somebody says where", () => {
    expect(settings({}).otlp).toBeUndefined();
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4318", OTEL_SDK_DISABLED: "true" };
    expect(settings(env).otlp).toBeUndefined();
  });

  test.each([
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4318" }, {}, "http://c:4318/v1/traces"],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: "https://c/base/" }, {}, "https://c/base/v1/traces"],
    [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://c/exact" }, {}, "http://c/exact"],
    [
      { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://c/x" },
      { otlp: "http://d:1" },
      "http://d:1/v1/traces",
    ],
    [{}, { otlp: "http://d:1/v1/traces" }, "http://d:1/v1/traces"],
  ])("%j %j", (env, given, url) => {
    expect(settings(env, given).otlp?.url.href).toBe(url);
  });

  test("names, headers and sizes come from the usual variables", () => {
    const { otlp, sampling } = settings({
      OTEL_EXPORTER_OTLP_ENDPOINT: "http://c",
      OTEL_EXPORTER_OTLP_HEADERS: "authorization=Bearer%20x,y=2",
      OTEL_SERVICE_NAME: "vision",
      OTEL_RESOURCE_ATTRIBUTES: "service.name=other,zone=a",
      OTEL_TRACES_SAMPLER: "parentbased_traceidratio",
      OTEL_TRACES_SAMPLER_ARG: "0.25",
      OTEL_BSP_MAX_QUEUE_SIZE: "80",
      OTEL_EXPORTER_OTLP_TIMEOUT: "1234",
    });
    expect(otlp?.headers).toEqual({ authorization: "Bearer x", y: "2" });
    expect(otlp?.source.resource).toMatchObject({ "service.name": "vision", zone: "a" });
    expect([otlp?.queueMax, otlp?.timeoutMs, sampling.ratio]).toEqual([10, 1234, 0.25]);
  });

  test.each([
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: "ftp://user:secret@c" }],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c", OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" }],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c", OTEL_EXPORTER_OTLP_HEADERS: "secret" }],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c", OTEL_EXPORTER_OTLP_HEADERS: "a=secret%0d%0ab" }],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c", OTEL_EXPORTER_OTLP_HEADERS: "a b=secret" }],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c", OTEL_EXPORTER_OTLP_HEADERS: "a=%secret" }],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c", OTEL_EXPORTER_OTLP_TIMEOUT: "soon" }],
    [{ OTEL_TRACES_SAMPLER_ARG: "2" }],
    [{ OTEL_TRACES_SAMPLER: "jaeger_remote" }],
  ])("%j is refused, without repeating secrets", (env) => {
    const wrong = (): unknown => settings(env);
    expect(wrong).toThrow(SkipwayError);
    expect(wrong).not.toThrow(/secret/);
  });
});
