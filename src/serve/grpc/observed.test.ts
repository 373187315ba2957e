import { connect } from "node:http2";
import { create, toBinary } from "@bufbuild/protobuf";
import type { ClientUnaryCall } from "@grpc/grpc-js";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { GrpcClient } from "../../../test/conformance/grpc.ts";
import { ModelInferRequestSchema } from "../../wire/proto/oip_pb.js";
import { leaving, scrape, serverWith, sum } from "../observed-server.test-helper.ts";
import type { ModelServer } from "../server.ts";
import { INFER_PATH, STREAM_PATH } from "./methods.ts";

// What clients send over gRPC is what the metrics say, whatever it is: also what no method ever sees.

let at = "";
let server: ModelServer;
let client: GrpcClient;
const lines: string[] = [];
beforeAll(async () => {
  const log = { mode: "requests", write: (line: string) => void lines.push(line) } as const;
  ({ at, server } = await serverWith({ log }, { grpcPort: 0 }));
  client = new GrpcClient(`127.0.0.1:${server.grpcPort}`);
});
afterAll(async () => {
  client.close();
  await server.stop();
});

const fields = (kind: number) => ({
  modelName: "m",
  inputs: [{ name: "x", datatype: "FP32", shape: [1n, 1n], contents: { fp32Contents: [kind] } }],
});
const bytesOf = (kind: number): Buffer =>
  Buffer.from(toBinary(ModelInferRequestSchema, create(ModelInferRequestSchema, fields(kind))));
const infer = (message: object, rest: object = {}, onCall?: (call: ClientUnaryCall) => void) =>
  client.call({ method: "ModelInfer", message: { ...message }, ...rest }, onCall);
const after = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Bytes as a client might frame them; resolves with the end of the stream. */
function raw(path: string, frame: Buffer, headers: Record<string, string> = {}): Promise<void> {
  const session = connect(`http://127.0.0.1:${server.grpcPort}`);
  const head = { ":method": "POST", ":path": path, "content-type": "application/grpc" };
  const stream = session.request({ ...head, te: "trailers", ...headers });
  stream.on("error", () => undefined).resume();
  stream.end(frame);
  return new Promise((resolve) => {
    stream.once("close", () => session.close(resolve));
  });
}

/** Messages on one stream, answered all. */
function stream(...messages: Buffer[]): Promise<void> {
  const call = client.stream("ModelStreamInfer");
  call.on("data", () => undefined).on("error", () => undefined);
  for (const message of messages) call.write(message);
  call.end();
  return new Promise((resolve) => {
    call.on("status", () => resolve());
  });
}

const TOO_LARGE = Buffer.from([0, 0x7f, 0xff, 0xff, 0xff, 1]);
const NO_GZIP = Buffer.from([1, 0, 0, 0, 3, 1, 2, 3]);
const GZIP = { "grpc-encoding": "gzip" };
const GARBAGE = Buffer.from("\xff\xff\xff no message", "latin1");

function goesAway(): Promise<unknown> {
  const own = 100 + leaving.size;
  return infer(fields(own), {}, (call) => {
    leaving.set(own, () => {
      call.cancel();
      return after(100);
    });
  });
}

function waitsTooShort(): Promise<unknown> {
  const own = 100 + leaving.size;
  leaving.set(own, () => after(200));
  return infer(fields(own), { options: { deadline: Date.now() + 100 } });
}

/** What is sent, and how many requests of it are answered and fail. */
const KINDS: Readonly<Record<string, readonly [() => Promise<unknown>, number, number]>> = {
  right: [() => infer(fields(0)), 1, 0],
  fails: [() => infer(fields(1)), 0, 1],
  dies: [() => infer(fields(3)), 0, 1],
  "no model": [() => infer({ ...fields(0), modelName: "none" }), 0, 1],
  "no message of its type": [() => client.call({ method: "ModelInfer", message: GARBAGE }), 0, 1],
  "too large": [() => raw(INFER_PATH, TOO_LARGE), 0, 1],
  "not what its encoding says": [() => raw(INFER_PATH, NO_GZIP, GZIP), 0, 1],
  "no message": [() => raw(INFER_PATH, Buffer.alloc(0)), 0, 1],
  "waits too short": [waitsTooShort, 0, 1],
  "goes away": [goesAway, 0, 1],
  "a stream": [() => stream(bytesOf(0), bytesOf(1), GARBAGE, bytesOf(0)), 2, 2],
  "a stream with one that is too large": [() => raw(STREAM_PATH, TOO_LARGE), 0, 1],
  "a method that looks": [() => client.call({ method: "ModelReady", message: {} }), 0, 0],
};

async function counted(): Promise<readonly [number, number]> {
  const now = await scrape(at);
  return [sum(now.get("skipway_requests")), sum(now.get("skipway_request_failures"))];
}

async function reasons(): Promise<Record<string, number>> {
  const { samples = [] } = (await scrape(at)).get("skipway_request_failures") ?? {};
  return Object.fromEntries(
    samples.map(({ labels, value }) => [`${labels["model"]}:${labels["reason"]}`, value]),
  );
}

test("answered and failed are as many as were sent", async () => {
  // The connection is made.
  await infer(fields(0));
  await expect.poll(counted).toEqual([1, 0]);
  const kind = fc.constantFrom(...Object.keys(KINDS));
  await fc.assert(
    fc.asyncProperty(fc.array(kind, { minLength: 8, maxLength: 24 }), async (chosen) => {
      const before = await counted();
      await Promise.all(chosen.map((one) => KINDS[one]?.[0]()));
      const expected = chosen.reduce<[number, number]>(
        ([right, wrong], one) => [right + (KINDS[one]?.[1] ?? 0), wrong + (KINDS[one]?.[2] ?? 0)],
        [...before],
      );
      await expect.poll(counted).toEqual(expected);
    }),
    { numRuns: 5 },
  );
});

test.each([
  ["right", undefined],
  ["fails", "m:runtime"],
  ["dies", "m:process-died"],
  ["no model", ":not-found"],
  ["too large", ":invalid"],
  ["not what its encoding says", ":invalid"],
  ["goes away", "m:canceled"],
])("%s is counted under its reason, and logged once", async (kind, reason) => {
  const before = await reasons();
  const from = lines.length;
  await KINDS[kind]?.[0]();
  await expect.poll(() => lines.length).toBe(from + 1);
  const after = await reasons();
  const more = Object.keys(after).filter((one) => after[one] !== before[one]);
  expect(more).toEqual(reason === undefined ? [] : [reason]);
  expect(JSON.parse(lines.at(-1) ?? "")).toMatchObject({ protocol: "grpc" });
});

test("a right one counts its bytes, and its trace goes on", async () => {
  const bytes = async (name: string) => sum((await scrape(at)).get(`skipway_${name}_bytes`));
  const before = [await bytes("request"), await bytes("response")];
  const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const given: string[] = [];
  const answer = await infer(
    fields(0),
    { metadata: { traceparent, tracestate: "vendor=x" } },
    (call) =>
      call.on("metadata", (one) =>
        given.push(`${one.get("traceparent")}`, `${one.get("tracestate")}`),
      ),
  );
  expect(given).toEqual([
    expect.stringMatching(/^00-4bf92f3577b34da6a3ce929d0e0e4736-\w{16}-01$/),
    "vendor=x",
  ]);
  expect(given[0]).not.toBe(traceparent);
  await expect
    .poll(async () => [await bytes("request"), await bytes("response")])
    .toEqual([
      (before[0] ?? 0) + bytesOf(0).length,
      (before[1] ?? 0) + (answer.bytes?.length ?? 0),
    ]);
  const refused = await infer({ ...fields(0), modelName: "none" }, { metadata: { traceparent } });
  expect(refused.trailers.get("traceparent")).toMatch(/^00-4bf92f3577b34da6a3ce929d0e0e4736-/);
});

test("sending is timed, of single calls and in streams", async () => {
  const sent = async (): Promise<number> => {
    const { samples = [] } = (await scrape(at)).get("skipway_send_duration_seconds") ?? {};
    return samples
      .filter(({ name, labels }) => name.endsWith("_count") && labels["model"] === "m")
      .reduce((total, { value }) => total + value, 0);
  };
  const before = await sent();
  await infer(fields(0));
  await expect.poll(sent).toBe(before + 1);
  await stream(bytesOf(0), bytesOf(0));
  await expect.poll(sent).toBe(before + 3);
});

test("who is not let in is counted too", async () => {
  const [right, wrong] = await counted();
  server.guard.open("tokens");
  try {
    const statuses = [await infer(fields(0)), await infer(fields(1))].map(({ code }) => code);
    expect(statuses).toEqual([16, 16]);
    await stream(bytesOf(0));
  } finally {
    server.guard.open("loopback");
  }
  await expect.poll(counted).toEqual([right, wrong + 3]);
});

test("who judges is told of each request which one it was, and who sent it", async () => {
  const told: [id: string | undefined, tenant: string | undefined][] = [];
  const left = server.outcomes.subscribe((outcome) => {
    if (outcome.kind === "request") told.push([outcome.requestId, outcome.tenant]);
  });
  await infer(fields(1), { metadata: { "x-request-id": "single" } });
  await stream(bytesOf(1));
  const inputs = [{ name: "x", datatype: "FP32", shape: [1, 1], data: [1] }];
  await fetch(`${at}/v2/models/m/infer`, {
    method: "POST",
    headers: { "x-request-id": "rest" },
    body: JSON.stringify({ inputs }),
  });
  left();
  expect(told).toEqual([
    ["single", "loopback"],
    [expect.any(String), "loopback"],
    ["rest", "loopback"],
  ]);
});
