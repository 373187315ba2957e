import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { float32 } from "../graph/tensor.ts";
import { exposeText } from "../observe/exposition.ts";
import { decodeTraces, type ReadSpan } from "../observe/otlp.test-helper.ts";
import { OtlpExporter } from "../observe/otlp-exporter.ts";
import { traceSettings } from "../observe/otlp-options.ts";
import { parseExposition } from "../observe/parse.test-helper.ts";
import { PHASES } from "../observe/trace.ts";
import { ServerMetrics } from "./metrics.ts";
import {
  DIGEST,
  leaving,
  scrape,
  serverWith as startServer,
  sum,
} from "./observed-server.test-helper.ts";
import { type LogEntry, logLine } from "./request-log.ts";
import type { ServerOptions } from "./server.ts";
import { inputsSummary, RequestObserver } from "./tracing.ts";

const TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT_ID = "00f067aa0ba902b7";
const CALLER = `00-${TRACE_ID}-${PARENT_ID}-01`;

const closing: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** A collector, and the spans that it was sent. */
async function collector() {
  const spans: ReadSpan[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      for (const batch of decodeTraces(Buffer.concat(chunks))) spans.push(...batch.spans);
      response.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  const env = {
    OTEL_BSP_SCHEDULE_DELAY: "5",
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
  };
  return { spans, env };
}

const VERSION = { name: "m", version: 3, digest: DIGEST };

describe("a request that went all the way", () => {
  test("is a trace of seven spans below the caller's, with the remote hop below the run", async () => {
    const { spans, env } = await collector();
    let now = 1000;
    const clock = { nowMs: () => 1_700_000_000_000 + now, monotonicMs: () => now };
    const metrics = new ServerMetrics(clock);
    const { otlp, sampling } = traceSettings(env, "1");
    const exporter = new OtlpExporter(otlp ?? expect.unreachable());
    const observer = new RequestObserver({
      metrics,
      sampling,
      exporter,
      clock,
      resolve: () => undefined,
    });
    const watch = observer.begin({
      ...{ protocol: "rest", requestId: "r-1", model: "m", startMs: 1000 },
      ...{ traceparent: CALLER, tracestate: "vendor=x" },
    });
    watch.target({ ...VERSION, role: "candidate" });
    now = 1001;
    watch.received(inputsSummary(new Map([["x", float32([2, 3], [1, 2, 3, 4, 5, 6])]])));
    for (const [i, phase] of PHASES.entries()) {
      if (phase !== "receive") watch.phase(phase, 1000 + i, 1001 + i);
    }
    watch.batched({ id: 9, rows: 5 });
    const remote = watch.outgoing();
    now = 1008;
    watch.end({ status: 200, reason: undefined, bytesIn: 10, bytesOut: 20 });
    watch.end({ status: 500, reason: "runtime", bytesIn: 0, bytesOut: 0 });
    await exporter.close(2000);

    const [root, ...parts] = spans;
    expect(root).toMatchObject({
      traceId: TRACE_ID,
      parentSpanId: PARENT_ID,
      traceState: "vendor=x",
      startNs: 1_700_000_001_000_000_000n,
      endNs: 1_700_000_001_008_000_000n,
      attributes: {
        "skipway.request.id": "r-1",
        "skipway.model.name": "m",
        "skipway.model.version": "3",
        "skipway.model.digest": "0123456789ab",
        "skipway.role": "candidate",
        "skipway.rows": 2n,
        "http.response.status_code": 200n,
      },
    });
    expect(watch.traceparent).toBe(`00-${TRACE_ID}-${root?.spanId}-01`);
    expect(parts.map((one) => one.name)).toEqual([...PHASES]);
    for (const [i, part] of parts.entries()) {
      expect(part).toMatchObject({ traceId: TRACE_ID, parentSpanId: root?.spanId });
      expect(part.startNs).toBe(1_700_000_001_000_000_000n + BigInt(i) * 1_000_000n);
      expect(part.endNs - part.startNs).toBe(1_000_000n);
    }
    expect(parts[3]?.attributes).toEqual({ "skipway.batch.id": 9n, "skipway.batch.size": 5n });
    expect(remote).toEqual({
      traceparent: `00-${TRACE_ID}-${parts[4]?.spanId}-01`,
      tracestate: "vendor=x",
    });
    const open = parseExposition(exposeText(metrics.collect(), "openmetrics"), true);
    const bucket = open.get("skipway_queue_duration_seconds")?.samples.find((one) => one.exemplar);
    expect(bucket?.exemplar?.labels).toEqual({ trace_id: TRACE_ID });
    expect(bucket?.exemplar?.value).toBeCloseTo(0.001, 9);
    expect(open.get("skipway_requests")?.samples).toMatchObject([{ value: 1, exemplar: {} }]);
  });
});

async function serverWith(options: Partial<ServerOptions> = {}) {
  const found = await startServer(options);
  closing.push(() => found.server.stop());
  return found;
}

const bodyOf = (kind: number): string =>
  JSON.stringify({ inputs: [{ name: "x", datatype: "FP32", shape: [1, 1], data: [kind] }] });

const infer = (at: string, body: string, init: RequestInit & { path?: string } = {}) =>
  fetch(`${at}${init.path ?? "/v2/models/m/infer"}`, { method: "POST", body, ...init });

describe("through a server", () => {
  test("answered and failed are as many as were sent, whatever was sent", async () => {
    const { at } = await serverWith();
    const kinds: Record<string, () => Promise<unknown>> = {
      right: () => infer(at, bodyOf(0)),
      fails: () => infer(at, bodyOf(1)),
      dies: () => infer(at, bodyOf(3)),
      "no JSON": () => infer(at, "{"),
      empty: () => infer(at, ""),
      "no model": () => infer(at, bodyOf(0), { path: `/v2/models/x${Math.trunc(1e6)}/infer` }),
      "no version": () => infer(at, bodyOf(0), { path: "/v2/models/m/versions/9/infer" }),
      "other site": () => infer(at, bodyOf(0), { headers: { origin: "http://elsewhere" } }),
      "goes away": () => {
        const own = 100 + leaving.size;
        const { port } = new URL(at);
        const socket = connect({ host: "127.0.0.1", port: Number(port) });
        // One that only closes its side still gets its answer.
        leaving.set(own, () => void socket.resetAndDestroy());
        const body = bodyOf(own);
        const head = ["POST /v2/models/m/infer HTTP/1.1", `host: 127.0.0.1:${port}`];
        socket.write([...head, `content-length: ${body.length}`, "", body].join("\r\n"));
        return new Promise((resolve) => socket.once("close", resolve));
      },
    };
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom(...Object.keys(kinds)), { minLength: 12, maxLength: 24 }),
        async (chosen) => {
          const before = await scrape(at);
          await Promise.all(chosen.map((kind) => kinds[kind]?.()));
          const counted = async (): Promise<number[]> => {
            const now = await scrape(at);
            return ["skipway_requests", "skipway_request_failures"].map(
              (name) => sum(now.get(name)) - sum(before.get(name)),
            );
          };
          const right = chosen.filter((kind) => kind === "right").length;
          await expect.poll(counted).toEqual([right, chosen.length - right]);
        },
      ),
      { numRuns: 3 },
    );
    const now = await scrape(at);
    const reasons = new Set(
      now
        .get("skipway_request_failures")
        ?.samples.map(({ labels }) => `${labels["model"]}:${labels["reason"]}`),
    );
    const expected = ["m:runtime", "m:process-died", "m:invalid", "m:canceled", ":not-found"];
    expected.push("m:unauthorized");
    for (const reason of reasons) expect(expected).toContain(reason);
    await infer(at, bodyOf(3));
    const died = (await scrape(at)).get("skipway_request_failures")?.samples ?? [];
    expect(died.some(({ labels }) => labels["reason"] === "process-died")).toBe(true);
    const alias = ["nv_inference_request_success", "nv_inference_request_failure"];
    expect(alias.map((name) => sum(now.get(name)))[0]).toBe(sum(now.get("skipway_requests")));
    expect(alias.map((name) => sum(now.get(name)))[1]).toBe(
      sum(now.get("skipway_request_failures")),
    );
    const durations = now.get("skipway_request_duration_seconds")?.samples ?? [];
    expect(durations.find((one) => one.name.endsWith("_count"))?.value ?? 0).toBe(
      sum(now.get("skipway_requests")),
    );
  });

  test("bytes count as they came, of chunked bodies too", async () => {
    const { at } = await serverWith();
    const body = bodyOf(0);
    const chunks = ReadableStream.from(
      [body.slice(0, 9), body.slice(9)].map((one) => Buffer.from(one)),
    );
    const init: RequestInit & { duplex: "half" } = { method: "POST", body: chunks, duplex: "half" };
    const answer = await fetch(`${at}/v2/models/m/infer`, init);
    const length = (await answer.arrayBuffer()).byteLength;
    await infer(at, body);
    const bytes = async (name: string) => sum((await scrape(at)).get(`skipway_${name}_bytes`));
    await expect.poll(() => bytes("request")).toBe(2 * body.length);
    expect(await bytes("response")).toBe(2 * length);
  });

  test("the caller's trace goes on, the answer says so, and the log has both ids", async () => {
    const { spans, env } = await collector();
    const lines: string[] = [];
    const write = (line: string): void => void lines.push(line);
    const { at, server } = await serverWith({
      traces: traceSettings(env, "1"),
      log: { mode: "requests", write },
    });
    const headers = {
      traceparent: CALLER,
      "x-request-id": "a-b",
      "x-secret": "hidden",
    };
    const answer = await infer(at, bodyOf(0), { headers });
    expect(answer.headers.get("traceparent")).toMatch(
      new RegExp(`^00-${TRACE_ID}-[0-9a-f]{16}-01$`),
    );
    await infer(at, bodyOf(1));
    await server.stop();
    const named = (id: string) => spans.filter((one) => one.traceId === id);
    const [root, ...parts] = named(TRACE_ID);
    expect(root?.parentSpanId).toBe(PARENT_ID);
    expect(answer.headers.get("traceparent")).toContain(root?.spanId);
    expect(parts.map((one) => one.name)).toEqual([...PHASES]);
    expect(parts.every((one) => one.startNs >= (root?.startNs ?? 0n))).toBe(true);
    expect(parts.every((one) => one.endNs <= (root?.endNs ?? 0n))).toBe(true);
    const failed = spans.find((one) => one.statusCode === 2);
    expect(failed).toMatchObject({
      statusMessage: "runtime",
      attributes: { "error.type": "runtime" },
    });

    const [first, second] = lines.map((line) => JSON.parse(line));
    expect(first).toMatchObject({
      level: "info",
      requestId: "a-b",
      traceId: TRACE_ID,
      model: "m",
      version: "3",
      status: 200,
      rows: 1,
    });
    expect(Object.keys(first.phasesMs)).toEqual([...PHASES]);
    expect(second).toMatchObject({ level: "error", status: 500, reason: "runtime" });
    expect(lines.join("")).not.toMatch(/hidden|kernel/);
  });

  test("a collector that is away does not hold requests up", async () => {
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9", OTEL_BSP_SCHEDULE_DELAY: "1" };
    const { at } = await serverWith({ traces: traceSettings(env, "1") });
    for (let i = 0; i < 5; i++) expect((await infer(at, bodyOf(0))).status).toBe(200);
  });
});

test("a line of the log is one line of ASCII, whatever clients send", () => {
  const text = fc.string({ unit: "binary", maxLength: 40 });
  fc.assert(
    fc.property(text, text, text, (requestId, model, version) => {
      const entry: LogEntry = {
        ...{ atMs: 0, requestId, traceId: TRACE_ID, protocol: "rest", model, version },
        ...{ role: undefined, status: 404, reason: "not-found", tookMs: 1.23456 },
        ...{ phasesMs: new Map(), rows: undefined, batchRows: undefined },
      };
      const line = logLine(entry);
      expect(line).toMatch(/^[\x20-\x7e]+\n$/);
      const read = JSON.parse(line);
      expect([read.requestId, read.model]).toEqual([requestId, model]);
      expect([read.time, read.tookMs, read.level]).toEqual([
        "1970-01-01T00:00:00.000Z",
        1.235,
        "warn",
      ]);
    }),
    { numRuns: 40 },
  );
});

test("what a client names at length is cut", () => {
  const long = "x".repeat(100_000);
  const entry: LogEntry = {
    ...{
      atMs: 0,
      requestId: long,
      traceId: TRACE_ID,
      protocol: "rest",
      model: long,
      version: long,
    },
    ...{ role: undefined, status: 404, reason: "not-found", tookMs: 1, phasesMs: new Map() },
    ...{ rows: undefined, batchRows: undefined },
  };
  expect(logLine(entry).length).toBeLessThan(1000);
});
