import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { idsOf } from "../../test/contracts/runner.ts";
import {
  affineModel,
  brittleModel,
  halfModel,
  slowModel,
  tinyClassifier,
  unknownOpModel,
} from "../../test/models.ts";
import { limits } from "../base/limits.ts";
import { float32 } from "../graph/tensor.ts";
import { HeldBytes } from "./held-bytes.ts";
import type { HostSettings } from "./hosting.ts";
import { BodyReader } from "./http/body.ts";
import { ModelServer } from "./server.ts";

// A real server with real processes, over real HTTP.

let folder = "";
const servers: ModelServer[] = [];
/** A request to the model `endless` that takes so many rounds: forty are about a second on one core. */
const rounds = (count: number) => ({
  inputs: [
    { name: "x", shape: [1], datatype: "FP32", data: [1] },
    { name: "rounds", shape: [], datatype: "INT64", data: [count] },
  ],
});

/** One with an affine model, for tests that only ask. */
let shared: { server: ModelServer; at: string };
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-serve-"));
  const models = {
    affine: affineModel(),
    slow: slowModel(60),
    brittle: brittleModel(),
    tiny: tinyClassifier(),
    bad: unknownOpModel(),
    half: halfModel(),
    endless: slowModel(),
  };
  for (const [name, bytes] of Object.entries(models)) await writeFile(join(folder, name), bytes);
  shared = await start();
  servers.length = 0;
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop();
});
afterAll(async () => {
  await shared.server.stop();
  await rm(folder, { recursive: true });
});

async function start(
  name = "affine",
  versions = [1],
  settings: Partial<HostSettings> = {},
): Promise<{ server: ModelServer; at: string }> {
  // No probe in between: what the model does is counted.
  const server = new ModelServer({
    version: "1.2.3",
    settings: { probeEveryMs: 1e6, ...settings },
  });
  servers.push(server);
  for (const version of versions) {
    await server.serve({ name, version, path: join(folder, name), digest: `sha256:${version}` });
  }
  return { server, at: await server.listen({ port: 0 }) };
}

const body = {
  id: "42",
  inputs: [{ name: "x", shape: [1, 3], datatype: "FP32", data: [1, 2, 3] }],
};

async function post(url: string, content: unknown, headers: Record<string, string> = {}) {
  const text = typeof content === "string" ? content : JSON.stringify(content);
  const response = await fetch(url, { method: "POST", body: text, headers });
  const raw = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    json: JSON.parse(raw) as Record<string, unknown>,
  };
}

async function get(url: string) {
  const response = await fetch(url);
  return {
    status: response.status,
    headers: response.headers,
    json: (await response.json()) as Record<string, unknown>,
  };
}

describe("Open Inference Protocol", () => {
  test("health, metadata and inference", async () => {
    const { at } = await start("affine", [1, 2]);
    for (const root of ["/v2", "/v2/"]) {
      expect(await get(at + root)).toMatchObject({
        status: 200,
        json: { name: "skipway", version: "1.2.3" },
      });
    }
    expect((await get(`${at}/v2/health/live`)).json).toEqual({ live: true });
    expect((await get(`${at}/v2/health/ready`)).json).toEqual({ ready: true });
    expect((await get(`${at}/v2/models/affine/ready`)).json).toEqual({
      name: "affine",
      ready: true,
    });
    expect((await get(`${at}/v2/models/affine/versions/1`)).json).toEqual({
      name: "affine",
      versions: ["1", "2"],
      platform: "onnx_onnxv1",
      inputs: [{ name: "x", datatype: "FP32", shape: [-1, 3] }],
      outputs: [
        { name: "y", datatype: "FP32", shape: [-1, 3] },
        { name: "z", datatype: "FP32", shape: [-1, 3] },
      ],
      properties: { digest: "sha256:1" },
    });
    const answer = await post(`${at}/v2/models/affine/infer`, {
      ...body,
      outputs: [{ name: "y" }],
    });
    expect(answer).toMatchObject({
      status: 200,
      json: {
        model_name: "affine",
        model_version: "2",
        id: "42",
        outputs: [{ name: "y", datatype: "FP32", shape: [1, 3], data: [3, 5, 7] }],
      },
    });
    expect(
      (await post(`${at}/v2/models/affine/versions/1/infer`, body)).json["model_version"],
    ).toBe("1");
  });

  test.each<[string, unknown, number, RegExp]>([
    [
      "a wrong name",
      { inputs: [{ ...body.inputs[0], name: "q" }] },
      400,
      /no input of this name; it has "x".*"x": is missing/,
    ],
    [
      "a wrong shape",
      { inputs: [{ ...body.inputs[0], shape: [3, 1] }] },
      400,
      /expects FP32\[N,3\]/,
    ],
    ["a wrong type", { inputs: [{ ...body.inputs[0], datatype: "INT32" }] }, 400, /has type INT32/],
    [
      "too few elements",
      { inputs: [{ ...body.inputs[0], data: [1] }] },
      400,
      /3 elements, its data 1/,
    ],
    ["an unknown output", { ...body, outputs: [{ name: "q" }] }, 400, /it has "y", "z"/],
    ["broken JSON", '{"inputs": [', 400, /no JSON: .*/],
    ["no body", "", 400, /body is empty/],
    ["deep nesting", `{"inputs": ${"[".repeat(500)}${"]".repeat(500)}}`, 400, /deeper than/],
  ])("%s is answered with what is expected", async (_what, content, status, why) => {
    const { at, server } = shared;
    const before = server.stats()[0]?.failures.invalid ?? 0;
    const answer = await post(`${at}/v2/models/affine/infer`, content);
    expect(answer.status).toBe(status);
    expect(answer.json["error"]).toMatch(why);
    expect(server.stats()[0]?.failures).toEqual({ invalid: before + 1 });
    expect((await post(`${at}/v2/models/affine/infer`, body)).status).toBe(200);
  });

  test("unknown models, versions, addresses and methods", async () => {
    const { at } = shared;
    expect(await get(`${at}/v2/models/none`)).toMatchObject({
      status: 404,
      json: { error: expect.stringContaining('no model "none"') },
    });
    expect((await post(`${at}/v2/models/affine/versions/9/infer`, body)).status).toBe(404);
    expect(await get(`${at}/v3`)).toMatchObject({
      status: 404,
      json: { error: expect.any(String) },
    });
    expect((await get(`${at}/v2/models/${encodeURIComponent("../../etc")}`)).status).toBe(404);
    const wrong = await get(`${at}/v2/models/affine/infer`);
    expect(wrong).toMatchObject({ status: 405, json: { error: "this address takes POST only" } });
    expect(wrong.headers.get("allow")).toBe("POST");
  });

  test("any content type, or none, is read as JSON", async () => {
    const { at } = shared;
    const url = `${at}/v2/models/affine/infer`;
    for (const type of [
      "application/json",
      "text/plain",
      "application/octet-stream",
      "application/x-www-form-urlencoded",
    ]) {
      expect((await post(url, body, { "content-type": type })).status).toBe(200);
    }
  });

  test("a body beyond the limit is refused without being kept", async () => {
    const { at } = shared;
    const response = await fetch(`${at}/v2/models/affine/infer`, {
      method: "POST",
      body: "x".repeat(1000),
      headers: { "content-length": "1000" },
    });
    expect(response.status).toBe(400);
    const large = await post(
      `${at}/v2/models/affine/infer`,
      " ".repeat(limits.requestBytesMax + 1),
    ).catch(() => undefined);
    if (large !== undefined) expect(large.status).toBe(413);
  });

  test("bodies that are on their way are bounded together, and count until they are whole or gone", async () => {
    const reader = new BodyReader(new HeldBytes(10));
    const [one, two, three] = [new PassThrough(), new PassThrough(), new PassThrough()];
    const whole = reader.read(one);
    one.write("abc");
    const gone = reader.read(two);
    two.write("defgh");
    const refused = reader.read(three);
    three.write("ijk");
    await expect(refused).rejects.toMatchObject({ status: 503, retryAfterSeconds: 1 });
    // What is larger than all of them together may be is told so: it would be asked again for ever.
    for (const headers of [{ "content-length": "11" }, {}]) {
      const never = new PassThrough();
      const told = reader.read(never, headers);
      never.write("elevenbytes");
      await expect(told).rejects.toMatchObject({ status: 413 });
    }
    two.destroy();
    await expect(gone).rejects.toMatchObject({ status: 400 });
    one.end("1234567");
    expect(String(await whole)).toBe("abc1234567");
    const next = new PassThrough();
    next.end("0123456789");
    expect(String(await reader.read(next))).toBe("0123456789");
    const large = reader.read(new PassThrough(), {
      "content-length": String(limits.requestBytesMax + 1),
    });
    await expect(large).rejects.toMatchObject({ status: 413 });
  });

  test("a request of thousands of faults gets an answer of a few lines", async () => {
    const { at } = shared;
    const inputs = Array.from({ length: 4000 }, (_, i) => ({ ...body.inputs[0], name: `no${i}` }));
    const { status, json } = await post(`${at}/v2/models/affine/infer`, { inputs });
    expect(status).toBe(400);
    expect(json["error"]).toContain("more faults");
    expect(String(json["error"]).length).toBeLessThan(5000);
  });

  test("outputs that JSON cannot carry are refused before they are computed", async () => {
    const { at } = await start("half");
    const { status, json } = await post(`${at}/v2/models/half/infer`, body);
    expect(status).toBe(400);
    expect(json["error"]).toContain('output "h": FP16 tensors cannot be sent as JSON');
    const named = { ...body, outputs: [{ name: "y" }] };
    expect(await post(`${at}/v2/models/half/infer`, named)).toMatchObject({ status: 200 });
  });

  test("a failure inside the runtime names no path of the machine", async () => {
    const { at } = await start("brittle");
    const inputs = [{ name: "x", shape: [5], datatype: "FP32", data: [1, 2, 3, 4, 5] }];
    const { status, json } = await post(`${at}/v2/models/brittle/infer`, { inputs });
    expect(status).toBe(500);
    expect(json["error"]).toMatch(/cannot be reshaped/);
    expect(json["error"]).not.toMatch(/onnxruntime_src|\.cc|\.h:/);
  });

  test("request ids come back, or are made", async () => {
    const { at } = shared;
    const own = await post(`${at}/v2/models/affine/infer`, body, { "x-request-id": "mine" });
    expect(own.headers.get("x-request-id")).toBe("mine");
    expect((await get(`${at}/v2`)).headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
  });
});

describe("bad luck", () => {
  test("kill -9 of the model's process: in flight 503, restarted, what waited is answered", async () => {
    const { at, server } = await start("slow");
    const url = `${at}/v2/models/slow/infer`;
    const inputs = [{ name: "x", shape: [1], datatype: "FP32", data: [1] }];
    const [flying, waiting] = [post(url, { inputs }), post(url, { inputs })];
    await new Promise((resolve) => setTimeout(resolve, 150));
    process.kill(server.stats()[0]?.pid ?? -1, "SIGKILL");
    const lost = await flying;
    expect(lost.status).toBe(503);
    expect(lost.headers.get("retry-after")).toBe("1");
    expect(lost.json["error"]).toMatch(/ended by signal SIGKILL/);
    // What was not sent to the process yet is of no concern to its death.
    expect((await waiting).status).toBe(200);
    expect(server.stats()[0]).toMatchObject({
      state: "ready",
      restarts: 1,
      requests: 1,
      restartsByCause: { killed: 1 },
      failures: { "process-died": 1 },
    });
  });

  test("a page of another site is refused, whatever it calls this host", async () => {
    const { at } = shared;
    const url = `${at}/v2/models/affine/infer`;
    expect((await post(url, body, { origin: "https://evil.example" })).status).toBe(403);
    expect((await post(url, body, { origin: at })).status).toBe(200);
    const { hostname, port } = new URL(at);
    const { request } = await import("node:http");
    const status = await new Promise<number | undefined>((resolve) => {
      request({ hostname, port, path: "/v2", headers: { host: "evil.example" } }, (response) => {
        response.resume();
        resolve(response.statusCode);
      }).end();
    });
    expect(status).toBe(403);
  });

  test("a client that goes away leaves the queue, and is counted", async () => {
    const { at, server } = await start("slow");
    const inputs = [{ name: "x", shape: [1], datatype: "FP32", data: [1] }];
    const first = post(`${at}/v2/models/slow/infer`, { inputs });
    const gone = new AbortController();
    const second = fetch(`${at}/v2/models/slow/infer`, {
      method: "POST",
      body: JSON.stringify({ inputs }),
      signal: gone.signal,
    });
    setTimeout(() => gone.abort(), 100);
    await expect(second).rejects.toThrow();
    expect((await first).status).toBe(200);
    // It may be at the process already: then its run goes on for nobody.
    while (server.stats()[0]?.inFlight !== 0) await new Promise((r) => setTimeout(r, 10));
    expect(server.stats()[0]).toMatchObject({
      requests: 1,
      failures: { canceled: 1 },
      queued: 0,
      inFlight: 0,
    });
  });

  test("too many waiting requests are refused at once, the others are answered", async () => {
    const queue = { requests: 8, rows: 100, bytes: 1e6 };
    const { at, server } = await start("slow", [1], { queue, maxBatchRows: 1 });
    const inputs = [{ name: "x", shape: [1], datatype: "FP32", data: [1] }];
    const gone = new AbortController();
    let refused = 0;
    const send = () =>
      fetch(`${at}/v2/models/slow/infer`, {
        method: "POST",
        body: JSON.stringify({ inputs }),
        signal: gone.signal,
      })
        .then(({ status }) => {
          if (status === 429) refused++;
        })
        .catch(() => {});
    // Eight wait, one or two are at the process.
    const flying = Array.from({ length: 8 + 2 + 5 }, send);
    // Not before these have their answer: an abort would cut it off.
    while (refused < 5) await new Promise((r) => setTimeout(r, 10));
    gone.abort();
    await Promise.all(flying);
    expect(refused).toBeLessThanOrEqual(7);
    expect(server.stats()[0]?.failures["queue-full"]).toBe(refused);
  });

  /** So many megabytes for the models. */
  const budget = (models: number) => ({
    budgetBytes: (models + 100) * 1e6,
    reserveBytes: 100e6,
    bodiesBytesMax: 64e6,
  });

  test("what can never fit into the memory is refused with what would; what fits is answered", async () => {
    const server = new ModelServer({ version: "1.2.3", memory: budget(400) });
    servers.push(server);
    await server.serve({ name: "affine", version: 1, path: join(folder, "affine"), digest: "" });
    const rows = (count: number) =>
      server.fleet
        .find("affine")
        ?.infer({ inputs: new Map([["x", float32([count, 3], new Float32Array(3 * count))]]) });
    await expect(rows(8_000_000)).rejects.toMatchObject({
      status: 507,
      message: expect.stringMatching(/for 8000000 rows .*: at most \d+ rows of this shape fit/),
    });
    await expect(rows(1000)).resolves.toMatchObject({ version: 1 });
    await expect(
      server.serve({ name: "half", version: 1, path: join(folder, "half"), digest: "" }),
    ).resolves.toBeDefined();
    // Every account is closed with its process.
    await server.fleet.unload("half");
    await server.fleet.load("affine");
    await expect(rows(1000)).resolves.toMatchObject({ version: 1 });
    const small = new ModelServer({ version: "1.2.3", memory: budget(80) });
    servers.push(small);
    const model = { name: "affine", version: 1, path: join(folder, "affine"), digest: "" };
    expect(await idsOf(small.serve(model))).toEqual(["serve/no-memory"]);
  });

  test("in the grace answers ask clients to come on another connection", async () => {
    const { at, server } = await start();
    const connection = async () => (await fetch(`${at}/v2`)).headers.get("connection");
    expect(await connection()).toBe("keep-alive");
    const stopped = server.stop(300);
    expect(await connection()).toBe("close");
    await stopped;
  });

  test("stop finishes what is under way and then refuses", async () => {
    const { at, server } = await start("endless");
    const flying = post(`${at}/v2/models/endless/infer`, rounds(20));
    // Begun, or over already where this process had no turn.
    const begun = (): boolean =>
      server.stats().some(({ inFlight, requests }) => inFlight + requests > 0);
    while (!begun()) await new Promise((r) => setTimeout(r, 5));
    const { pid = -1 } = server.stats()[0] ?? {};
    await server.stop();
    expect((await flying).status).toBe(200);
    await expect(fetch(`${at}/v2`)).rejects.toThrow();
    expect(() => process.kill(pid, 0)).toThrow();
  });

  test("stop cuts off a client that never sends its body, and a run that never ends", async () => {
    for (const path of ["half-sent", "endless"]) {
      const server = new ModelServer({ version: "1.2.3", drainMs: 300 });
      await server.serve({ name: "x", version: 1, path: join(folder, "endless"), digest: "" });
      const { port } = new URL(await server.listen({ port: 0 }));
      const { pid = -1 } = server.stats()[0] ?? {};
      const text = JSON.stringify(rounds(1_000_000_000));
      const client = connect(Number(port), "127.0.0.1");
      client.on("error", () => undefined);
      client.write(
        `POST /v2/models/x/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${text.length}\r\n\r\n`,
      );
      client.write(path === "endless" ? text : "{");
      await new Promise((resolve) => setTimeout(resolve, 100));
      await server.stop();
      expect(() => process.kill(pid, 0)).toThrow();
      client.destroy();
    }
    expect(new ModelServer({ version: "1" }).app.server.requestTimeout).toBeGreaterThan(0);
  });

  test("a model that the runtime refuses, and one that does not answer as recorded, are not served", async () => {
    const server = new ModelServer({ version: "0" });
    servers.push(server);
    const model = (name: string) => ({ name, version: 1, path: join(folder, name), digest: "" });
    expect(await idsOf(server.serve(model("bad")))).toEqual(["runtime/refused"]);
    const probe = {
      inputs: new Map([["x", float32([1, 3], [1, 2, 3])]]),
      outputs: new Map([["y", float32([1, 3], [3, 5, 8])]]),
    };
    expect(await idsOf(server.serve({ ...model("affine"), probe }))).toEqual([
      "serve/probe-mismatch",
    ]);
    expect(server.ready()).toBe(false);
  });
});

describe("metrics", () => {
  test("count exactly what clients saw", async () => {
    const { at } = await start();
    for (let i = 0; i < 7; i++) await post(`${at}/v2/models/affine/infer`, body);
    for (let i = 0; i < 3; i++) await post(`${at}/v2/models/affine/infer`, "{");
    const text = await (await fetch(`${at}/metrics`)).text();
    const labels = 'model="affine",version="1",digest="1",role="stable"';
    expect(text).toContain(`skipway_requests_total{${labels}} 7`);
    expect(text).toContain(`skipway_request_failures_total{${labels},reason="invalid"} 3`);
    expect(text).toContain(`skipway_request_duration_seconds_count{${labels}} 7`);
    expect(text).toContain(`skipway_model_ready{${labels}} 1`);
    const open = await fetch(`${at}/metrics`, {
      headers: { accept: "application/openmetrics-text" },
    });
    expect(open.headers.get("content-type")).toContain("openmetrics");
    expect((await open.text()).endsWith("# EOF\n")).toBe(true);
  });
});
