import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { TlsOptions } from "node:tls";
import { credentials } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import { selfSigned } from "../../../test/certificate.ts";
import { GrpcClient } from "../../../test/conformance/grpc.ts";
import { limits } from "../../base/limits.ts";
import { RequestError } from "../errors.ts";
import { HeldBytes } from "../held-bytes.ts";
import {
  clientOf,
  endOf,
  FakeSource,
  held,
  INFER,
  inferBytes,
  running,
  start,
  until,
} from "./grpc.test-helper.ts";
import { type GrpcServer, startGrpc } from "./server.ts";
import { CODE } from "./status.ts";

// Who may connect, what a connection may send, and how it ends.

describe("who may call", () => {
  test("is decided for every method, before its message is read", async () => {
    const seen: string[] = [];
    const { source, client } = await start({
      authorize: async (method, { header, peer, host, secure }) => {
        seen.push(method);
        expect([peer, host, secure]).toEqual([
          expect.stringMatching(/^127/),
          expect.stringMatching(/^127/),
          false,
        ]);
        const token = header("authorization");
        if (token === undefined) throw new RequestError(401, "invalid", "a token is needed");
        if (token !== "Bearer right") throw new RequestError(403, "invalid", "not with this one");
      },
    });
    expect(await client.call(INFER)).toMatchObject({
      code: CODE.UNAUTHENTICATED,
      details: "a token is needed",
    });
    expect(
      await client.call({ ...INFER, metadata: { authorization: "Bearer wrong" } }),
    ).toMatchObject({ code: CODE.PERMISSION_DENIED });
    expect(source.asked).toEqual([]);
    expect(
      await client.call({ ...INFER, metadata: { authorization: "Bearer right" } }),
    ).toMatchObject({ code: 0 });
    expect(await endOf(client.stream("ModelStreamInfer"))).toBe(CODE.UNAUTHENTICATED);
    expect(seen).toEqual([
      ...Array(3).fill("/inference.GRPCInferenceService/ModelInfer"),
      "/inference.GRPCInferenceService/ModelStreamInfer",
    ]);
  });
});

describe("messages", () => {
  test.each([
    ["gzip", 2],
    ["deflate", 1],
  ])("compressed by %s are read", async (_name, algorithm) => {
    const { source, server } = await start();
    const client = clientOf(server, { "grpc.default_compression_algorithm": algorithm });
    expect((await client.call(INFER)).code).toBe(0);
    expect([...(source.asked[0]?.inputs.keys() ?? [])]).toEqual(["x"]);
  });

  test("that grow beyond the limit when decompressed are refused", async () => {
    const { server, source } = await start();
    const client = clientOf(server, { "grpc.default_compression_algorithm": 2 });
    const bomb = Buffer.alloc(limits.requestBytesMax + 1);
    expect(await client.call({ method: "ModelInfer", message: bomb })).toMatchObject({
      code: CODE.RESOURCE_EXHAUSTED,
    });
    expect(source.asked).toEqual([]);
  });

  test("that are compressed are bounded together, however many come at once", async () => {
    const total = new HeldBytes(3 * limits.inflationFreeBytes);
    let most = 0;
    const add = total.add.bind(total);
    total.add = (bytes) => {
      add(bytes);
      most = Math.max(most, total.bytes);
    };
    const { server, source } = await start({ held: total });
    const client = clientOf(server, { "grpc.default_compression_algorithm": 2 });
    // Each alone is within all bounds.
    const large = Buffer.alloc(limits.inflationFreeBytes);
    const bombs = Array.from({ length: 8 }, () =>
      client.call({ method: "ModelInfer", message: large }),
    );
    const codes = (await Promise.all(bombs)).map(({ code }) => code);
    expect(codes).toContain(CODE.UNAVAILABLE);
    expect(most).toBeLessThan(3 * limits.inflationFreeBytes + 2 ** 20);
    expect(total.bytes).toBe(0);
    expect(source.asked).toEqual([]);
    expect((await client.call(INFER)).code).toBe(0);
  });

  test("that unfold to far more than was sent are refused, though each is within its bound", async () => {
    const { server } = await start();
    const client = clientOf(server, { "grpc.default_compression_algorithm": 2 });
    const zeros = Buffer.alloc(limits.inflationFreeBytes * 4);
    expect(await client.call({ method: "ModelInfer", message: zeros })).toMatchObject({
      code: CODE.RESOURCE_EXHAUSTED,
      details: expect.stringContaining("times its size"),
    });
  });
});

describe("connections", () => {
  test("are encrypted where there are certificates, also renewed ones", async () => {
    const [first, second] = [selfSigned(), selfSigned()];
    let renew: (context: TlsOptions) => void = () => undefined;
    const tls = {
      current: () => first,
      onRenewed: (listener: (context: TlsOptions) => void) => {
        renew = listener;
      },
    };
    const seen: boolean[] = [];
    const { server } = await start({
      tls,
      authorize: async (_method, { secure }) => {
        seen.push(secure);
      },
    });
    const ask = async (root: Buffer) => {
      const client = new GrpcClient(`localhost:${server.port}`, {}, credentials.createSsl(root));
      running.push({ stop: () => client.close() });
      const deadline = Date.now() + 5000;
      return (await client.call({ method: "ServerLive", options: { deadline } })).code;
    };
    expect(await ask(first.cert)).toBe(0);
    renew(second);
    expect(await ask(second.cert)).toBe(0);
    expect(await ask(first.cert)).not.toBe(0);
    expect((await clientOf(server).call({ method: "ServerLive" })).code).toBe(CODE.UNAVAILABLE);
    expect(new Set(seen)).toEqual(new Set([true]));
  });

  async function raw(server: GrpcServer): Promise<Socket> {
    const socket = connect(server.port, "127.0.0.1");
    socket.on("error", () => undefined);
    running.push({ stop: () => void socket.destroy() });
    await once(socket, "connect");
    return socket;
  }

  test.each<[string, string | Buffer]>([
    ["HTTP/1.1", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"],
    ["noise", Buffer.from("\x16\x03\x01noise that is no HTTP/2 at all, of some length")],
    [
      "a preface and a frame of 16 MB",
      Buffer.concat([
        Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        Buffer.of(255, 255, 255, 0, 0, 0, 0, 0, 1),
      ]),
    ],
  ])("that speak %s are ended; others go on", async (_what, bytes) => {
    const { server, client } = await start();
    const socket = await raw(server);
    const closed = once(socket, "close");
    socket.resume();
    socket.write(bytes);
    await closed;
    expect((await client.call({ method: "ServerLive" })).code).toBe(0);
  });

  test("that flood with pings and settings are ended or served; others go on", async () => {
    const { server, client } = await start();
    const frame = (type: number, payload: Buffer): Buffer =>
      Buffer.concat([Buffer.of(0, 0, payload.length, type, 0, 0, 0, 0, 0), payload]);
    for (const flood of [frame(6, Buffer.alloc(8)), frame(4, Buffer.alloc(0))]) {
      const socket = await raw(server);
      socket.write(
        Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(4, Buffer.alloc(0))]),
      );
      socket.write(Buffer.concat(Array(50_000).fill(flood)));
    }
    expect((await client.call({ method: "ServerLive" })).code).toBe(0);
  });

  test("that send metadata of 800 KB are ended; others go on", async () => {
    const { client, source, server } = await start();
    const entries = Array.from({ length: 100 }, (_, i) => [`x-${i}`, "a".repeat(8000)]);
    const answer = await clientOf(server).call({ ...INFER, metadata: Object.fromEntries(entries) });
    expect(answer.code).not.toBe(0);
    expect(source.asked).toEqual([]);
    expect((await client.call(INFER)).code).toBe(0);
  });
});

describe("the end", () => {
  test("what is under way is answered, new calls are refused, streams are told", async () => {
    const { source, client, server } = await start();
    const letGo = held(source);
    const answer = client.call(INFER);
    const stream = client.stream("ModelStreamInfer");
    const told = endOf(stream);
    stream.write(inferBytes());
    await until(() => source.asked.length === 2);
    const stopped = server.stop(10_000);
    const late = clientOf(server).call(INFER);
    expect((await late).code).toBe(CODE.UNAVAILABLE);
    letGo();
    expect((await answer).code).toBe(0);
    expect(await told).toBe(CODE.UNAVAILABLE);
    await stopped;
  });

  test("what takes longer than the grace is cut off", async () => {
    const { source, client, server } = await start();
    const letGo = held(source);
    const answer = client.call(INFER);
    await until(() => source.asked.length === 1);
    connect(server.port, "127.0.0.1").on("error", () => undefined);
    await server.stop(20);
    expect([CODE.CANCELLED, CODE.UNAVAILABLE]).toContain((await answer).code);
    letGo();
  });

  test("a port that is taken is told", async () => {
    const { server } = await start();
    const again = startGrpc(new FakeSource(), { port: server.port });
    await expect(again).rejects.toMatchObject({ code: "environment" });
  });
});
