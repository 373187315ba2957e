import { once } from "node:events";
import { connect } from "node:net";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { ModelServer } from "../server.ts";

const CLIENTS = 20;

/** Told to, connects clients that each send a request; tells `sent` through shared memory, and in the end what each was answered. */
const CLIENT = `
  const { parentPort, workerData } = require("node:worker_threads");
  const { connect } = require("node:net");
  const { port, clients, sent } = workerData;
  const ask = () => new Promise((resolve) => {
    let text = "";
    const socket = connect(port, "127.0.0.1", () => {
      socket.write("GET /v2/health/live HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n", () => {
        Atomics.add(sent, 0, 1);
        Atomics.notify(sent, 0);
      });
    });
    socket.on("data", (chunk) => (text += chunk));
    socket.on("error", () => undefined);
    socket.on("close", () => resolve(text.slice(9, 12)));
  });
  parentPort.once("message", async () => {
    parentPort.postMessage(await Promise.all(Array.from({ length: clients }, ask)));
    parentPort.close();
  });
  parentPort.postMessage("ready");
`;

test("what came before the end is answered, though the server was kept from looking", async () => {
  const server = new ModelServer({ version: "1.2.3" });
  const port = Number(new URL(await server.listen({ port: 0 })).port);
  const sent = new Int32Array(new SharedArrayBuffer(4));
  const workerData = { port, clients: CLIENTS, sent };
  const worker = new Worker(CLIENT, { eval: true, workerData });
  await once(worker, "message");
  const stopped = server.stop(50);
  worker.postMessage("go");
  // This thread, the server's, does nothing else until all are sent and the grace is over.
  const nothing = new Int32Array(new SharedArrayBuffer(4));
  for (let n = 0; n < CLIENTS; n = Atomics.load(sent, 0)) Atomics.wait(sent, 0, n, 1000);
  Atomics.wait(nothing, 0, 0, 100);
  const [answers] = await once(worker, "message");
  expect(answers).toEqual(Array.from({ length: CLIENTS }, () => "200"));
  await stopped;
  await expect(fetch(`http://127.0.0.1:${port}/v2/health/live`)).rejects.toThrow();
});

test("a connection that is there when the end begins has its request answered", async () => {
  const server = new ModelServer({ version: "1.2.3" });
  const port = Number(new URL(await server.listen({ port: 0 })).port);
  const client = connect(port, "127.0.0.1");
  await once(server.app.server, "connection");
  const stopped = server.stop();
  while (server.app.server.listening) await new Promise((resolve) => setImmediate(resolve));
  client.write("GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n");
  let answer = "";
  for await (const chunk of client) answer += String(chunk);
  expect(answer).toMatch(/^HTTP\/1\.1 200 /);
  expect(answer).toMatch(/^connection: close\r$/im);
  await stopped;
});
