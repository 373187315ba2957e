// `skipway load` from the command line, against a server that counts.

import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readRate } from "../src/cli/commands/load.ts";
import { Running, command as skipway } from "./cli.ts";

const bodies: Buffer[] = [];
let server: Server;
let at = "";

beforeAll(async () => {
  server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      if (request.method === "POST") bodies.push(Buffer.concat(chunks));
      const answers: Record<string, unknown> = {
        "/v2/models": { models: ["net"] },
        "/v2/models/net": {
          name: "net",
          inputs: [{ name: "x", datatype: "FP32", shape: [-1, 4] }],
        },
        "/v2/models/net/infer": { outputs: [] },
      };
      const answer = answers[request.url ?? ""];
      response.statusCode = answer === undefined ? 404 : 200;
      response.end(JSON.stringify(answer ?? { error: "nothing" }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  at = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => void server.close());

test("finds the model, asks what it takes, sends as many requests as it says", async () => {
  const { code, out } = await skipway(
    "load",
    at,
    "--rate",
    "40,120",
    "--seconds",
    "1",
    "--rows",
    "3",
    "--json",
  );
  expect(code).toBe(0);
  const document = JSON.parse(out);
  expect(document).toMatchObject({
    schema: "skipway.load/1",
    model: "net",
    settings: { pattern: { kind: "steps", rates: [40, 120] }, spread: "poisson", rows: 3 },
    sent: bodies.length,
    answers: { "200": bodies.length },
    failures: {},
  });
  expect(document.good.n).toBe(bodies.length);
  const [body] = bodies;
  expect(body?.toString("latin1")).toContain('"shape":[3,4],"parameters":{"binary_data_size":48}');
});

test("where no answer is good it exits 1, and interrupted 130, each with its report", async () => {
  const question = ["--model", "net", "--rate", "20", "--json"];
  const refused = createServer((request, response) => {
    response.statusCode = request.method === "POST" ? 400 : 200;
    response.end(JSON.stringify({ inputs: [] }));
  });
  await new Promise<void>((resolve) => refused.listen(0, "127.0.0.1", resolve));
  const { port } = refused.address() as AddressInfo;
  const none = await skipway("load", `http://127.0.0.1:${port}`, ...question, "--seconds", "1");
  refused.close();
  expect(none.code).toBe(1);
  expect(JSON.parse(none.out)).toMatchObject({ good: { n: 0 }, interrupted: false });
  const before = bodies.length;
  const running = new Running(["load", at, ...question, "--seconds", "60"]);
  while (bodies.length === before) await new Promise((resolve) => setTimeout(resolve, 20));
  running.kill("SIGINT");
  const { code, out } = await running.done;
  expect(code).toBe(130);
  expect(JSON.parse(out)).toMatchObject({ interrupted: true, answers: expect.anything() });
}, 30_000);

test.each([
  [["load", "nowhere"], 2, "no address"],
  [["load", "http://127.0.0.1:9"], 4, "does not answer"],
  [["load", "URL", "--model", "other"], 4, "answers 404"],
  [["load", "URL", "--model", "net", "--version", "7"], 4, "/versions/7 answers 404"],
  [["load", "URL", "--rate", "1..2..3"], 2, "10..200"],
  [["load", "URL", "--rate", "-4"], 2, "10..200"],
  [["load", "URL", "--rate", "1000000", "--seconds", "100"], 2, "at most"],
  [["load", "URL", "--body", "/nowhere/body.json"], 3, "body.json"],
])("%j ends with %i and says why", async (args, expected, text) => {
  const { code, err } = await skipway(...args.map((arg) => (arg === "URL" ? at : arg)));
  expect(err).toContain(text);
  expect(code).toBe(expected);
});

test("a rate is steady, a ramp or steps", () => {
  for (const nothing of ["0", "0..0", "0,0"]) expect(() => readRate(nothing)).toThrow("nothing");
  expect(readRate("50")).toEqual({ kind: "steady", rate: 50 });
  expect(readRate("0..12.5")).toEqual({ kind: "ramp", from: 0, to: 12.5 });
  expect(readRate("1,2,3")).toEqual({ kind: "steps", rates: [1, 2, 3] });
});
