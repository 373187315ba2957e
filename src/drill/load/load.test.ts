import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { arrivals } from "./arrivals.ts";
import { type LoadPlan, sendLoad } from "./load.ts";
import { madeUpQuestion } from "./question.ts";

// A real server that does what a test tells it to.

const servers: Server[] = [];

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function serve(handler: Parameters<typeof createServer>[1]): Promise<URL> {
  const server = createServer(handler as never);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
}

function plan(url: URL, given: Partial<LoadPlan> = {}): LoadPlan {
  return {
    url,
    question: { body: Buffer.from("{}"), headers: {} },
    arrivals: arrivals([{ seconds: 0.3, from: 200, to: 200 }], { spread: "poisson", seed: 1 }),
    connectionsMax: 64,
    timeoutMs: 5000,
    ...given,
  };
}

describe("a load", () => {
  test("sends each request once, with its body, and counts every answer", async () => {
    const bodies: string[] = [];
    const url = await serve((request, response) => {
      let text = "";
      request.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      request.on("end", () => {
        bodies.push(text);
        response.statusCode = bodies.length % 3 === 0 ? 429 : 200;
        response.end("done");
      });
    });
    const sent = plan(url);
    const result = await sendLoad(sent);
    expect(result.sent).toBe(sent.arrivals.length);
    expect(bodies).toEqual(Array.from(sent.arrivals, () => "{}"));
    const refused = result.statuses.filter((status) => status === 429).length;
    expect(refused).toBe(Math.floor(sent.arrivals.length / 3));
    expect(result.statuses.filter((status) => status === 200)).toHaveLength(result.sent - refused);
    expect(result.failures.size).toBe(0);
  });

  test("a server that stops is charged with all requests that were due meanwhile", async () => {
    const from = performance.now();
    const pauseUntil = 300;
    const url = await serve((_request, response) => {
      const left = Math.max(0, from + pauseUntil - performance.now());
      setTimeout(() => response.end(), left);
    });
    const times = Float64Array.from({ length: 25 }, (_, i) => i * 10);
    // One connection: a tool that waits for the answer before it sends would measure one slow request.
    const { latencies } = await sendLoad(plan(url, { arrivals: times, connectionsMax: 1 }));
    expect(latencies.filter((ms) => ms > 30).length).toBeGreaterThan(20);
    expect([...latencies].every(Number.isFinite)).toBe(true);
  });

  test("a request without an answer is given up, one that is cut off is told apart", async () => {
    let count = 0;
    const url = await serve((_request, response) => {
      if (count++ % 2 === 0) response.socket?.destroy();
    });
    const times = Float64Array.of(0, 50);
    const { statuses, failures } = await sendLoad(plan(url, { arrivals: times, timeoutMs: 200 }));
    expect([...statuses]).toEqual([0, 0]);
    expect(Object.fromEntries(failures)).toEqual({ ECONNRESET: 1, timeout: 1 });
  });

  test("that is ended early says what was sent", async () => {
    const url = await serve((_request, response) => response.end());
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 100);
    const long = arrivals([{ seconds: 60, from: 100, to: 100 }], { spread: "even", seed: 1 });
    const result = await sendLoad(plan(url, { arrivals: long }), { signal: controller.signal });
    expect(result.sent).toBeGreaterThan(0);
    expect(result.sent).toBeLessThan(100);
    expect(result.latencies).toHaveLength(result.sent);
  });

  test("that is ended before it began sends nothing, and ends", async () => {
    const url = await serve((_request, response) => response.end());
    const signal = AbortSignal.abort();
    const result = await sendLoad(plan(url, { arrivals: Float64Array.of(0, 10) }), { signal });
    expect(result.sent).toBe(0);
  });
});

describe("a made-up question", () => {
  const inputs = [
    { name: "x", datatype: "FP32", shape: [-1, 3] },
    { name: "ids", datatype: "INT64", shape: [-1, -1] },
  ];
  const sizes = { rows: 2, others: 5 };

  test("as JSON has the shapes of the model with the open sizes filled in", () => {
    const { body } = madeUpQuestion(inputs, { sizes, form: "json", seed: 1 });
    const document = JSON.parse(Buffer.from(body).toString("utf8"));
    expect(document.inputs.map((one: { shape: unknown }) => one.shape)).toEqual([
      [2, 3],
      [2, 5],
    ]);
    expect(document.inputs[0].data).toHaveLength(6);
    expect(document.inputs[1].data.every((id: number) => id === 0 || id === 1)).toBe(true);
  });

  test("as binary tensors has the same elements behind a head of the length that it says", () => {
    const json = madeUpQuestion(inputs, { sizes, form: "json", seed: 1 });
    const { body, headers } = madeUpQuestion(inputs, { sizes, form: "binary", seed: 1 });
    const length = Number(headers["inference-header-content-length"]);
    const head = JSON.parse(Buffer.from(body.subarray(0, length)).toString("utf8"));
    expect(head.inputs[0].parameters).toEqual({ binary_data_size: 24 });
    expect(body.byteLength).toBe(length + 24 + 80);
    const first = new Float32Array(Uint8Array.from(body.subarray(length, length + 24)).buffer);
    const document = JSON.parse(Buffer.from(json.body).toString("utf8"));
    expect([...first]).toEqual(document.inputs[0].data);
  });

  test("of a type that cannot be made up, or of too many bytes, is refused", () => {
    const strings = [{ name: "s", datatype: "BYTES", shape: [1] }];
    expect(() => madeUpQuestion(strings, { sizes, form: "json", seed: 1 })).toThrow("made up");
    const huge = [{ name: "x", datatype: "FP32", shape: [1 << 20, 1 << 20] }];
    expect(() => madeUpQuestion(huge, { sizes, form: "binary", seed: 1 })).toThrow("more bytes");
  });
});
