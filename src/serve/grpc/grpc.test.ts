import { once } from "node:events";
import { fromBinary } from "@bufbuild/protobuf";
import type { ClientUnaryCall } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import { limits } from "../../base/limits.ts";
import { HealthCheckResponseSchema } from "../../wire/proto/health_pb.js";
import { ModelStreamInferResponseSchema } from "../../wire/proto/oip_pb.js";
import { RequestError } from "../errors.ts";
import { clientOf, held, INFER, infer, inferBytes, start, until } from "./grpc.test-helper.ts";
import { CODE, statusOf } from "./status.ts";

// What is asked over gRPC, and how it is answered.

describe("codes", () => {
  test.each<[number, number, number | undefined]>([
    [400, CODE.INVALID_ARGUMENT, undefined],
    [401, CODE.UNAUTHENTICATED, undefined],
    [403, CODE.PERMISSION_DENIED, undefined],
    [404, CODE.NOT_FOUND, undefined],
    [413, CODE.RESOURCE_EXHAUSTED, -1],
    [429, CODE.RESOURCE_EXHAUSTED, 2000],
    [499, CODE.CANCELLED, undefined],
    [500, CODE.INTERNAL, undefined],
    [501, CODE.UNIMPLEMENTED, undefined],
    [503, CODE.UNAVAILABLE, 2000],
    [504, CODE.DEADLINE_EXCEEDED, undefined],
    [507, CODE.RESOURCE_EXHAUSTED, -1],
  ])("status %d of HTTP is code %d", async (status, code, pushback) => {
    const { source, client } = await start();
    const retry = status === 429 || status === 503 ? { retryAfterSeconds: 2 } : {};
    source.respond = async () => {
      throw new RequestError(status, "runtime", "why é", retry);
    };
    const answer = await client.call(INFER);
    expect(answer).toMatchObject({ code, details: "why é" });
    expect(answer.trailers.get("grpc-retry-pushback-ms")).toBe(pushback?.toString());
  });

  test("what is no refusal of ours is not told", async () => {
    const { source, client } = await start();
    source.respond = async () => {
      throw new Error("/etc/secret");
    };
    expect(await client.call(INFER)).toMatchObject({
      code: CODE.INTERNAL,
      details: "internal error",
    });
  });

  test("details fit into trailers, whatever they are", async () => {
    const long = statusOf(new RequestError(400, "invalid", "é".repeat(5000))).details;
    expect(Buffer.byteLength(long)).toBeLessThan(2100);
    expect(long).toMatch(/^é+…$/);
    const { source, client } = await start();
    source.respond = async () => {
      throw new RequestError(400, "invalid", "lone \ud800 half,\nline");
    };
    expect((await client.call(INFER)).details).toBe("lone \ufffd half,\nline");
  });

  test("a faulty request counts as a failure of its model", async () => {
    const { source, client } = await start();
    await client.call({ method: "ModelInfer", message: { modelName: "m" } });
    expect(source.failures).toEqual(["invalid"]);
    expect(source.asked).toEqual([]);
  });
});

describe("deadlines and cancellation", () => {
  test("the deadline of a call reaches the model; without one there is none", async () => {
    const clock = { nowMs: () => Date.now(), monotonicMs: () => 1_000_000 };
    const { source, client } = await start({ clock });
    await client.call({ ...INFER, options: { deadline: Date.now() + 60_000 } });
    await client.call(INFER);
    const [first, second] = source.asked.map((call) => call.deadlineMs);
    expect(first).toBeGreaterThan(1_000_000);
    expect(first).toBeLessThanOrEqual(1_060_000);
    expect(second).toBeUndefined();
  });

  test("a deadline that passes is told, and the model hears of it", async () => {
    const { source, client } = await start();
    const letGo = held(source);
    const answer = await client.call({ ...INFER, options: { deadline: Date.now() + 50 } });
    expect(answer.code).toBe(CODE.DEADLINE_EXCEEDED);
    await until(() => source.asked[0]?.signal?.aborted === true);
    letGo();
  });

  test("a client that cancels, or goes away, is heard of", async () => {
    const { source, client, server } = await start();
    const letGo = held(source);
    const calls: ClientUnaryCall[] = [];
    const answer = client.call(INFER, (call) => calls.push(call));
    await until(() => source.asked.length === 1);
    calls[0]?.cancel();
    expect((await answer).code).toBe(CODE.CANCELLED);
    await until(() => source.asked[0]?.signal?.aborted === true);
    const other = clientOf(server);
    const lost = other.call(INFER);
    await until(() => source.asked.length === 2);
    other.close();
    letGo();
    await lost;
  });
});

describe("what a request says of itself", () => {
  const parameters = (name: string, value: bigint | string) => ({
    [name]: {
      parameterChoice: { case: typeof value === "bigint" ? "int64Param" : "stringParam", value },
    },
  });
  const ask = (fields: object, metadata = {}) => ({
    method: "ModelInfer",
    message: { ...infer, ...fields },
    metadata,
  });

  test("its priority and its key reach the model", async () => {
    const { source, client } = await start();
    const both = { ...parameters("priority", 1n), ...parameters("key", "k") };
    expect((await client.call(ask({ parameters: both }))).code).toBe(0);
    expect((await client.call(ask({}, { "x-skipway-key": "m" }))).code).toBe(0);
    expect(source.asked).toMatchObject([{ priority: 1, key: "k" }, { key: "m" }]);
    const wrong = await client.call(ask({ parameters: parameters("priority", -1n) }));
    expect(wrong).toMatchObject({ code: CODE.INVALID_ARGUMENT });
    expect(source.failures).toEqual(["invalid"]);
  });

  test("its own timeout ends it, and only shortens that of the call", async () => {
    const { source, client } = await start();
    source.respond = ({ signal }) =>
      new Promise((_resolve, reject) => {
        signal?.addEventListener("abort", () => reject(new Error("aborted")));
      });
    const timeout = parameters("timeout", 20_000n);
    expect((await client.call(ask({ parameters: timeout }))).code).toBe(CODE.DEADLINE_EXCEEDED);
    const header = await client.call(ask({}, { "x-request-timeout-ms": "20" }));
    expect(header.code).toBe(CODE.DEADLINE_EXCEEDED);
    source.respond = async () => undefined;
    const deadline = Date.now() + 30_000;
    const long = parameters("timeout", 60_000_000n);
    await client.call({ ...ask({ parameters: long }), options: { deadline } });
    const given = source.asked[2]?.deadlineMs ?? 0;
    expect(given - performance.now()).toBeLessThanOrEqual(30_000);
  });

  test("its classes are strings of value and index", async () => {
    const { client } = await start();
    const outputs = [{ name: "x", parameters: parameters("classification", 1n) }];
    expect((await client.call(ask({ outputs }))).message).toMatchObject({
      outputs: [
        { datatype: "BYTES", shape: [1n], contents: { bytesContents: [Buffer.from("2:1")] } },
      ],
    });
  });
});

describe("streams", () => {
  test("many on their way, answers in the order of the requests, errors within the stream", async () => {
    const { source, client } = await start();
    const free: (() => void)[] = [];
    source.respond = () => new Promise((resolve) => free.push(resolve));
    const stream = client.stream("ModelStreamInfer");
    const answers: unknown[] = [];
    stream.on("data", (bytes: Buffer) => {
      const { errorMessage, inferResponse } = fromBinary(ModelStreamInferResponseSchema, bytes);
      answers.push([inferResponse?.id, errorMessage]);
    });
    for (const id of ["a", "b", "c"]) stream.write(inferBytes({ id }));
    stream.write(inferBytes({ id: "d", modelName: "none" }));
    stream.write(inferBytes({ id: "e", inputs: [] }));
    stream.write(Buffer.of(1, 2, 3));
    stream.write(inferBytes({ id: "f" }));
    stream.end();
    await until(() => free.length === 4);
    // The last is ready first, and waits for those before it.
    for (const done of free.toReversed()) done();
    const [status] = (await once(stream, "status")) as [{ code: number }];
    expect(status.code).toBe(0);
    expect(answers).toEqual([
      ["a", ""],
      ["b", ""],
      ["c", ""],
      ["d", 'there is no model "none" here'],
      ["e", expect.stringMatching(/^inputs: there are none/)],
      ["", expect.stringMatching(/./)],
      ["f", ""],
    ]);
  });

  test("a stream is not read further than so many requests on their way", async () => {
    const { source, client } = await start();
    const free: (() => void)[] = [];
    source.respond = () => new Promise((resolve) => free.push(resolve));
    const stream = client.stream("ModelStreamInfer");
    let answers = 0;
    stream.on("data", () => answers++);
    const count = limits.streamRequestsMax * 3;
    for (let i = 0; i < count; i++) stream.write(inferBytes());
    stream.end();
    await until(() => free.length === limits.streamRequestsMax);
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(free.length).toBe(limits.streamRequestsMax);
    const pump = setInterval(() => {
      for (const done of free.splice(0)) done();
    }, 1);
    await once(stream, "status");
    clearInterval(pump);
    expect(answers).toBe(count);
  });

  test("a client that cancels its stream is heard of", async () => {
    const { source, client } = await start();
    const letGo = held(source);
    const stream = client.stream("ModelStreamInfer");
    stream.on("error", () => undefined);
    stream.write(inferBytes());
    await until(() => source.asked.length === 1);
    stream.cancel();
    await until(() => source.asked[0]?.signal?.aborted === true);
    letGo();
  });
});

describe("health", () => {
  const CHECK = "/grpc.health.v1.Health/Check";
  const asked = (service: string): Buffer =>
    Buffer.concat([Buffer.of(10, service.length), Buffer.from(service)]);
  const statusIn = (bytes: Buffer | undefined): number =>
    fromBinary(HealthCheckResponseSchema, bytes ?? Buffer.alloc(0)).status;

  test("is asked once", async () => {
    const { source, client } = await start();
    const check = (service: string) => client.call({ method: CHECK, message: asked(service) });
    for (const service of ["", "inference.GRPCInferenceService"]) {
      expect(statusIn((await check(service)).bytes)).toBe(1);
    }
    source.isReady = false;
    expect(statusIn((await check("")).bytes)).toBe(2);
    expect((await check("other")).code).toBe(CODE.NOT_FOUND);
  });

  test("is watched: each change once, and the end", async () => {
    const { source, client, server } = await start();
    const found: number[] = [];
    const watch = client.watch("/grpc.health.v1.Health/Watch", asked(""));
    watch.on("data", (bytes: Buffer) => found.push(statusIn(bytes)));
    const unknown = client.watch("/grpc.health.v1.Health/Watch", asked("other"));
    const [first] = (await once(unknown, "data")) as [Buffer];
    expect(statusIn(first)).toBe(3);
    unknown.on("error", () => undefined);
    unknown.cancel();
    await until(() => found.length === 1);
    source.setReady(true);
    source.setReady(false);
    source.setReady(true);
    await until(() => found.length === 3);
    const ended = once(watch, "end");
    await server.stop(1000);
    await ended;
    expect(found).toEqual([1, 2, 1, 2]);
  });
});

describe("the repository", () => {
  const load = (...fields: [number, string][]): Buffer =>
    Buffer.concat(
      fields.map(([field, text]) =>
        Buffer.concat([Buffer.of((field << 3) | 2, text.length), Buffer.from(text)]),
      ),
    );
  const OIP = "/inference.GRPCInferenceService";
  const MLSERVER = "/inference.model_repository.ModelRepositoryService";

  test.each([OIP, MLSERVER])("the index of %s", async (service) => {
    const { client } = await start();
    const all = await client.call({ method: `${service}/RepositoryIndex` });
    expect(all.bytes?.toString()).toMatch(/READY.*UNAVAILABLE.*unloaded/s);
    const ready = await client.call({
      method: `${service}/RepositoryIndex`,
      message: Buffer.of(16, 1),
    });
    expect(ready.bytes?.toString()).not.toMatch(/UNAVAILABLE/);
  });

  test.each<[string, string, Buffer, string, Buffer]>([
    ["Triton", OIP, load([2, "m"]), "m", Buffer.alloc(0)],
    ["Triton with a repository", OIP, load([1, "r"], [2, "m"]), "m", Buffer.alloc(0)],
    ["KServe", OIP, load([1, "m"]), "m", Buffer.concat([load([1, "m"]), Buffer.of(16, 1)])],
    ["MLServer", MLSERVER, load([2, "m"]), "m", Buffer.alloc(0)],
  ])("loads and unloads in the words of %s", async (_who, service, message, model, answer) => {
    const { source, client } = await start();
    for (const act of ["Load", "Unload"]) {
      const found = await client.call({ method: `${service}/RepositoryModel${act}`, message });
      expect(found.code).toBe(0);
      expect(found.bytes).toEqual(answer);
    }
    expect(source.changes.map(([act, name]) => [act, name])).toEqual([
      ["load", model],
      ["unload", model],
    ]);
  });

  test("refuses what a request may not bring, and what is not there", async () => {
    const { source, client } = await start();
    const method = `${OIP}/RepositoryModelLoad`;
    const parameters = (key: string, value: object) => ({
      modelName: "m",
      parameters: { [key]: { parameterChoice: value } },
    });
    const ask = (message: Record<string, unknown>) =>
      client.call({ method: "RepositoryModelLoad", message });
    expect(await ask(parameters("config", { case: "stringParam", value: "{}" }))).toMatchObject({
      code: 3,
      details: /configuration/,
    });
    const file = { case: "bytesParam", value: new Uint8Array(1_000_000) };
    expect(await ask(parameters("file:1/model.onnx", file))).toMatchObject({
      code: 3,
      details: /not uploaded/,
    });
    expect(await client.call({ method, message: load([2, "none"]) })).toMatchObject({ code: 5 });
    expect(await client.call({ method })).toMatchObject({ code: 3, details: /model_name/ });
    expect(source.changes).toEqual([]);
    const flag = { case: "boolParam", value: true };
    expect((await ask(parameters("unload_dependents", flag))).code).toBe(0);
    expect(source.changes[0]?.[2]).toEqual(new Map([["unload_dependents", true]]));
  });
});
