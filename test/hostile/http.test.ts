import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { limits } from "../../src/base/limits.ts";
import { Random } from "../../src/base/random.ts";
import { fuzzWire } from "./fuzz.ts";
import { answerIn, GOOD, INFER, requestText, startTarget, type Target, Wire } from "./harness.ts";

// What no well-behaved client sends, over a socket. Each is answered with an error in JSON that tells nothing
// of the inside, or is cut off; and another client is answered all the while.

let target: Target;
beforeAll(async () => {
  target = await startTarget({
    times: { headersMs: 800, requestMs: 1500, checkMs: 50 },
    slow: true,
  });
});
afterAll(() => target[Symbol.asyncDispose]());

/** Another client's request is right, now. */
async function answersOthers(): Promise<void> {
  const response = await fetch(target.at + INFER, { method: "POST", body: GOOD });
  expect(response.status).toBe(200);
  expect(((await response.json()) as { outputs: { data: number[] }[] }).outputs[0]?.data).toEqual([
    3, 5, 7,
  ]);
}

function expectError(text: string, status: number | readonly number[]): void {
  const answer = answerIn(text);
  expect([status].flat(), text.slice(0, 200)).toContain(answer.status);
  const headers = answer.headers;
  expect(headers.get("content-type")).toMatch(/^application\/json/);
  expect(headers.get("x-content-type-options")).toBe("nosniff");
  expect(headers.has("access-control-allow-origin")).toBe(false);
  const { error } = JSON.parse(answer.body) as { error: string };
  expect(error.length).toBeLessThan(400);
  expect(error).not.toMatch(/node_modules|\.ts\b|\.js\b|FST_|HPE_|at \w+ \(|\/tmp\//);
}

const post = (headers: readonly string[], body = ""): string =>
  `${[`POST ${INFER} HTTP/1.1`, "Host: localhost", "Connection: close", ...headers].join("\r\n")}\r\n\r\n${body}`;
const get = (path: string, version = "1.1"): string =>
  `GET ${path} HTTP/${version}\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;

describe("one request", () => {
  test.each<[string, string, number | readonly number[]]>([
    ["no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400],
    ["HTTP/2 without asking", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400],
    ["no version", "GET /v2\r\n\r\n", 505],
    ["a version of its own", get("/v2", "9.9"), [400, 505]],
    ["no host", "GET /v2 HTTP/1.1\r\nConnection: close\r\n\r\n", 400],
    [
      "two hosts",
      "GET /v2 HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\nConnection: close\r\n\r\n",
      400,
    ],
    ["a method of its own", get("/v2").replace("GET", "HACK"), 400],
    ["a method for files", get("/v2").replace("GET", "PROPFIND"), 501],
    ["TRACE", get("/v2").replace("GET", "TRACE"), 405],
    ["OPTIONS, as before a request of another site", get(INFER).replace("GET", "OPTIONS"), 405],
    ["DELETE", get("/v2").replace("GET", "DELETE"), 405],
    ["CONNECT", "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n", 405],
    ["another server's address", get("http://evil.example/v2"), 400],
    ["a star", get("*").replace("GET", "OPTIONS"), 400],
    ["no slash", get("v2"), 400],
    ["dots", get("/v2/../../etc/passwd"), 400],
    ["dots in escapes", get("/v2/%2e%2E/%2e/etc/passwd"), 400],
    ["dots behind an escaped slash", get("/v2/models/..%2f..%2fetc%2fpasswd"), 404],
    [
      "dots behind an escaped slash, in files",
      get("/..%2f..%2f..%2fpackage.json"),
      [400, 403, 404],
    ],
    ["a backslash", get("/v2\\..\\windows"), 400],
    ["an escaped backslash", get("/%5c..%5cwindows"), [400, 403, 404]],
    ["an escape of an escape", get("/v2/models/%252e%252e"), 404],
    ["NUL in escapes", get("/v2/models/a%00b"), 404],
    ["NUL in escapes, in files", get("/a%00b"), [400, 404]],
    ["a line end in escapes", get("/v2/models/a%0d%0aSet-Cookie:%20x=1"), 404],
    ["half an escape", get("/v2/models/a%2"), 400],
    ["an escape that is none", get("/v2/models/%zz"), 400],
    ["escapes that are no UTF-8", get("/v2/models/%ff%fe"), [400, 404]],
    ["two slashes", get("//v2//health"), 400],
    ["two slashes and a name", get("//evil.example/v2"), 400],
    ["bytes beyond ASCII", get("/v2/models/\u00ff"), 400],
    ["a long address", get(`/${"a".repeat(limits.requestTargetCharsMax)}`), 414],
    ["a long name", get(`/v2/models/${"a".repeat(1000)}`), [404, 414]],
    ["an address beyond the headers", get(`/${"a".repeat(2 * limits.headersBytesMax)}`), 431],
    ["one large header", post([`X: ${"a".repeat(2 * limits.headersBytesMax)}`]), 431],
    [
      "many headers",
      post(Array.from({ length: limits.headersCountMax + 1 }, (_, i) => `X${i}: 1`)),
      431,
    ],
    ["a header folded", post(["X: a", "  b"]), 400],
    ["a header with a space before its colon", post(["Content-Length : 5"], "12345"), 400],
    ["NUL in a header", post(["X: a\0b"]), 400],
    ["a lone carriage return in a header", post(["X: a\rContent-Length: 3"]), 400],
    ["two lengths", post(["Content-Length: 5", "Content-Length: 6"], "123456"), 400],
    ["two equal lengths", post(["Content-Length: 5", "Content-Length: 5"], "12345"), 400],
    ["a list of lengths", post(["Content-Length: 5, 5"], "12345"), 400],
    ["a length below zero", post(["Content-Length: -1"]), 400],
    ["a length in hexadecimal", post(["Content-Length: 0x5"], "12345"), 400],
    ["a length of twenty digits", post(["Content-Length: 99999999999999999999"]), [400, 413]],
    ["a length of ten digits", post(["Content-Length: 9999999999"]), 413],
    [
      "a length and chunks",
      post(["Content-Length: 5", "Transfer-Encoding: chunked"], "0\r\n\r\n"),
      400,
    ],
    [
      "chunks twice",
      post(["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], "0\r\n\r\n"),
      400,
    ],
    [
      "chunks, then something else",
      post(["Transfer-Encoding: chunked, identity"], "0\r\n\r\n"),
      400,
    ],
    ["chunks in other words", post(["Transfer-Encoding: xchunked"], "0\r\n\r\n"), 400],
    ["a chunk that is none", post(["Transfer-Encoding: chunked"], "zz\r\n"), 400],
    ["a chunk below zero", post(["Transfer-Encoding: chunked"], "-5\r\n12345\r\n0\r\n\r\n"), 400],
    ["a chunk of 2^64", post(["Transfer-Encoding: chunked"], "10000000000000000\r\n"), 400],
    [
      "a chunk longer than it says",
      post(["Transfer-Encoding: chunked"], "2\r\n12345\r\n0\r\n\r\n"),
      400,
    ],
    [
      "large chunk extensions",
      post(["Transfer-Encoding: chunked"], `5;${"a".repeat(20_000)}\r\n12345\r\n`),
      413,
    ],
    [
      "large trailers",
      post(["Transfer-Encoding: chunked"], `0\r\nX: ${"a".repeat(20_000)}\r\n\r\n`),
      [400, 431],
    ],
    ["an empty body", post(["Content-Length: 0"]), 400],
    ["no body at all", post([]), 400],
    [
      "deep JSON",
      post(["Transfer-Encoding: chunked"], `${chunk("[".repeat(100_000))}0\r\n\r\n`),
      400,
    ],
    ["an expectation of its own", post(["Expect: 200-ok", "Content-Length: 5"], "12345"), 417],
  ])("%s", async (_name, bytes, status) => {
    const wire = new Wire(target.port).send(Buffer.from(bytes, "latin1"));
    expectError(await wire.closed, status);
  });

  test("afterwards others are answered", answersOthers);
});

describe("what is allowed and rare", () => {
  test.each<[string, string]>([
    ["HTTP/1.0", requestText(`POST ${INFER} HTTP/1.0`, [], GOOD)],
    [
      "an upgrade that is offered",
      requestText(`POST ${INFER} HTTP/1.1`, ["Connection: close, Upgrade", "Upgrade: h2c"], GOOD),
    ],
    [
      "chunks of a byte",
      post(["Transfer-Encoding: chunked"], `${[...GOOD].map(chunk).join("")}0\r\n\r\n`),
    ],
    ["a query", requestText(`POST ${INFER}?a=%2e%2e//x HTTP/1.1`, ["Connection: close"], GOOD)],
  ])("%s", async (_name, bytes) => {
    const { status, body } = answerIn(await new Wire(target.port).send(bytes).closed);
    expect(status).toBe(200);
    expect(body).toContain("[3,5,7]");
  });

  test("100-continue is said when the body is wanted, and not before a refusal", async () => {
    const length = `Content-Length: ${GOOD.length}`;
    const wanted = new Wire(target.port).send(post([length, "Expect: 100-continue"]));
    expect(await wanted.says(/\r\n\r\n/)).toBe("HTTP/1.1 100 Continue\r\n\r\n");
    expect(await wanted.send(GOOD).closed).toMatch(/HTTP\/1\.1 200 OK/);
    for (const [headers, status] of [
      [[length, "Origin: https://evil.example"], 403],
      [["Content-Length: 9999999999"], 413],
    ] as const) {
      const wire = new Wire(target.port).send(post([...headers, "Expect: 100-continue"]));
      expectError(await wire.closed, status);
    }
  });

  test("a client that closes its side first still gets its answer, quick or slow", async () => {
    const slow = { inputs: [{ name: "x", shape: [1], datatype: "FP32", data: [1] }] };
    for (const [path, body] of [
      [INFER, GOOD],
      ["/v2/models/slow/infer", JSON.stringify(slow)],
    ] as const) {
      const wire = new Wire(target.port);
      wire.socket.end(requestText(`POST ${path} HTTP/1.1`, [], body));
      const text = await wire.closed;
      expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
      expect(JSON.parse(answerIn(text).body)).toHaveProperty("outputs");
    }
  });

  test("a client that is gone is noticed while its request waits", async () => {
    const { failures } = target.server.stats().find(({ model }) => model === "slow") ?? {};
    const before = failures?.canceled ?? 0;
    const slow = JSON.stringify({
      inputs: [{ name: "x", shape: [1], datatype: "FP32", data: [1] }],
    });
    const text = requestText("POST /v2/models/slow/infer HTTP/1.1", ["Connection: close"], slow);
    const stay = new Wire(target.port).send(text);
    await new Promise((resolve) => setTimeout(resolve, 50));
    const gone = new Wire(target.port).send(text);
    await new Promise((resolve) => setTimeout(resolve, 50));
    gone.socket.destroy();
    expect(answerIn(await stay.closed).status).toBe(200);
    const stats = target.server.stats().find(({ model }) => model === "slow");
    expect(stats).toMatchObject({ queued: 0, failures: { canceled: before + 1 } });
  });
});

describe("patience", () => {
  test("slow headers, slow bodies and silence are cut off, and others are answered", async () => {
    const drip = (wire: Wire): void => {
      const timer = setInterval(() => wire.send("X"), 40);
      wire.socket.once("close", () => clearInterval(timer));
    };
    const head = `POST ${INFER} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n`;
    const wires = [
      ...Array.from({ length: 40 }, () => new Wire(target.port).send("GET /v2 HTTP/1.1\r\nX: ")),
      ...Array.from({ length: 40 }, () => new Wire(target.port).send(head)),
    ];
    for (const wire of wires) drip(wire);
    await answersOthers();
    for (const text of await Promise.all(wires.map((wire) => wire.closed))) {
      if (text !== "") expectError(text, [408, 400]);
    }
    await answersOthers();
  });

  test("a body without an end is cut off, whatever its size", async () => {
    const wire = new Wire(target.port).send(post(["Transfer-Encoding: chunked"]));
    let sent = 0;
    const piece = chunk("[".repeat(65_536));
    const more = (): void => {
      while (!wire.socket.destroyed && wire.socket.write(piece)) sent += piece.length;
      sent += piece.length;
    };
    wire.socket.on("drain", more);
    more();
    const text = await wire.closed;
    if (text !== "") expectError(text, [413, 408, 400]);
    expect(sent).toBeLessThan(3 * limits.requestBytesMax);
    await answersOthers();
  });

  test("a flood on one connection is answered in order, or refused, and others are answered", async () => {
    const wire = new Wire(target.port);
    wire.send(requestText(`POST ${INFER} HTTP/1.1`, [], GOOD).repeat(5000));
    await answersOthers();
    const text = await wire.closed;
    const statuses = [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status);
    expect(statuses.length).toBeGreaterThan(limits.pipelinedMax);
    expect(statuses.pop()).toBe("429");
    expect(new Set(statuses)).toEqual(new Set(["200"]));
  });

  test.each([1, 3])("%i right requests with garbage behind them have their answers", async (n) => {
    const wire = new Wire(target.port);
    const right = requestText(`POST ${INFER} HTTP/1.1`, [], GOOD).repeat(n);
    wire.send(`${right}\0\0garbage\r\n\r\n`);
    const statuses = [...(await wire.closed).matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, one]) => one);
    expect(statuses).toEqual([...Array(n).fill("200"), "400"]);
    await answersOthers();
  });

  test("a body longer than its length says is told", async () => {
    const wire = new Wire(target.port).send(post(["Content-Length: 10"], GOOD));
    expect((await wire.closed).match(/HTTP\/1\.1 \d+/g)).toEqual(["HTTP/1.1 400"]);
  });

  test("a crowd of connections that come and go", async () => {
    for (let round = 0; round < 5; round++) {
      const wires = Array.from({ length: 100 }, () => new Wire(target.port));
      for (const wire of wires) wire.send("POST /v2 HT");
      for (const wire of wires) wire.socket.resetAndDestroy();
    }
    await answersOthers();
  });
});

test("nearly right requests", async () => {
  await using other = await startTarget();
  const report = await fuzzWire(other, 800, new Random(3));
  expect(report.failures).toEqual([]);
  expect(Object.keys(report.statuses)).toEqual(expect.arrayContaining(["200", "400", "404"]));
}, 60_000);
