import { afterAll, beforeAll, expect, test } from "vitest";
import { newSecret } from "../../src/registry/secret.ts";
import { GOOD, INFER, requestText, startTarget, type Target, Wire } from "./harness.ts";

// A token that somebody puts where it does not belong comes back nowhere.

let target: Target;
const secret = newSecret();
beforeAll(async () => {
  target = await startTarget();
});
afterAll(() => target[Symbol.asyncDispose]());

const named = (name: string): string =>
  JSON.stringify({ inputs: [{ name, shape: [1, 3], datatype: "FP32", data: [1, 2, 3] }] });

test.each<[string, string]>([
  ["in Authorization", requestText("GET /v2 HTTP/1.1", [`Authorization: Bearer ${secret}x`])],
  [
    "as a password",
    requestText("GET /v2/models/none HTTP/1.1", [`Authorization: Basic ${secret}`]),
  ],
  ["in the path", requestText(`GET /v2/models/${secret} HTTP/1.1`)],
  ["in an unknown path", requestText(`GET /${secret} HTTP/1.1`)],
  ["in an unknown path, escaped", requestText(`GET /${secret.replace("_", "%5F")} HTTP/1.1`)],
  ["in the query", requestText(`GET /none?token=${secret} HTTP/1.1`)],
  ["cut off by a limit", requestText(`GET /${"a".repeat(220)}${secret} HTTP/1.1`)],
  ["as the id of a request", requestText("GET /v2 HTTP/1.1", [`X-Request-Id: ${secret}`])],
  ["as the name of an input", requestText(`POST ${INFER} HTTP/1.1`, [], named(secret))],
  ["as a type", requestText(`POST ${INFER} HTTP/1.1`, [], GOOD.replace("FP32", secret))],
  ["as a body", requestText(`POST ${INFER} HTTP/1.1`, [], secret)],
  ["as a method", requestText(`${secret} /v2 HTTP/1.1`)],
  ["in Cookie", requestText("GET /none HTTP/1.1", [`Cookie: __Host-skipway=${secret}x`])],
])("%s", async (_name, request) => {
  const closing = request.replace("Host: localhost", "Host: localhost\r\nConnection: close");
  const text = await new Wire(target.port).send(closing).closed;
  expect(text).toMatch(/^HTTP\/1\.1 /);
  expect(text).not.toContain(secret.slice(4, 16));
});

test("and stands in no metric", async () => {
  const metrics = await (await fetch(`${target.at}/metrics`)).text();
  expect(metrics).toContain("skipway_");
  expect(metrics).not.toContain(secret.slice(4, 16));
});
