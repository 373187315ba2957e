import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { decodeTraces, type ReadSpan } from "../src/observe/otlp.test-helper.ts";
import { Running, skipway } from "./cli.ts";
import { affineModel } from "./models.ts";

// What `skipway serve` tells of requests, set up from the command line: traces at a collector, lines of the log.

let root = "";
const spans: ReadSpan[] = [];
const paths: (string | undefined)[] = [];
const collector = createServer((request, response) => {
  const chunks: Buffer[] = [];
  paths.push(request.url);
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    for (const batch of decodeTraces(Buffer.concat(chunks))) spans.push(...batch.spans);
    response.end();
  });
});
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "skipway-signals-"));
  await writeFile(join(root, "affine.onnx"), affineModel());
  await new Promise<void>((resolve) => collector.listen(0, "127.0.0.1", resolve));
});
afterAll(async () => {
  collector.closeAllConnections();
  collector.close();
  await rm(root, { recursive: true });
});

const BODY = JSON.stringify({
  inputs: [{ name: "x", shape: [1, 3], datatype: "FP32", data: [1, 2, 3] }],
});

test("traces go to the collector, the log to standard error, and no token into either", async () => {
  const { port } = collector.address() as AddressInfo;
  const data = ["--data", join(root, "data")];
  const made = await skipway("token", "create", "app", "--role", "admin", ...data);
  const secret = made.out.trim();
  const options = ["--trace-ratio", "1", "--log", "requests", "--require-token", "--quiet"];
  const running = new Running(
    ["serve", join(root, "affine.onnx"), "--port", "0", "--json", ...data, ...options],
    { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`, OTEL_SERVICE_NAME: "a" },
  );
  const { address } = JSON.parse(await running.prints(/^\}$/m));
  const ask = (path: string, headers: Record<string, string>) =>
    fetch(`${address}/v2/models/${path}/infer`, { method: "POST", body: BODY, headers });
  const bearer = { authorization: `Bearer ${secret}` };
  const right = await ask("affine", { ...bearer, "x-request-id": "r-1" });
  expect([right.status, (await ask("affine", {})).status]).toEqual([200, 401]);
  // Where it does not belong.
  expect((await ask(secret, { ...bearer, "x-request-id": secret })).status).toBe(404);
  running.kill("SIGINT");
  const { err, code } = await running.done;
  expect(code).toBe(0);

  const lines = err.trim().split("\n");
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    { event: "request", requestId: "r-1", model: "affine", version: "1", status: 200 },
    { event: "request", model: "affine", status: 401 },
    { event: "request", status: 404, reason: "not-found" },
  ]);
  expect(new Set(paths)).toEqual(new Set(["/v1/traces"]));
  const roots = spans.filter((one) => one.name === "inference");
  expect(roots.map((one) => one.attributes["http.response.status_code"])).toEqual([
    200n,
    401n,
    404n,
  ]);
  expect(right.headers.get("traceparent")).toContain(roots[0]?.traceId);
  const told = err + JSON.stringify(spans, (_key, value) => String(value));
  expect(told).not.toContain(secret.slice(4, 16));
}, 30_000);

test("what cannot be meant is wrong usage, and a password in an address is not repeated", async () => {
  const wrong = [
    [["--otlp", "ftp://user:secret@host"], "--otlp"],
    [["--trace-ratio", "2"], "0 to 1"],
    [["--log", "some"], "requests, errors, off"],
  ] as const;
  await Promise.all(
    wrong.map(async ([options, told]) => {
      const { code, err } = await skipway("serve", join(root, "affine.onnx"), ...options);
      expect({ code, err }).toEqual({ code: 2, err: expect.stringContaining(told) });
      expect(err).not.toContain("secret");
    }),
  );
}, 30_000);
