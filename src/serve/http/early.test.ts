import { once } from "node:events";
import http from "node:http";
import { connect } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { expect, test } from "vitest";
import { ModelServer } from "../server.ts";
import { EarlyServer } from "./early.ts";

interface Answer {
  readonly status: number | undefined;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

function ask(port: number, path: string, headers: http.OutgoingHttpHeaders = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = http.get({ host: "127.0.0.1", port, path, headers, agent: false }, (answer) => {
      let body = "";
      answer.on("data", (chunk: Buffer) => {
        body += chunk.toString();
      });
      answer.on("end", () => resolve({ status: answer.statusCode, headers: answer.headers, body }));
    });
    sent.on("error", reject);
  });
}

/** What differs from answer to answer. */
function alike({ status, headers, body }: Answer) {
  const { date: _date, "x-request-id": id, ...rest } = headers;
  return { status, rest, body, id: typeof id };
}

async function listening() {
  const early = await EarlyServer.listen({ host: "127.0.0.1", port: 0 });
  return { early, port: early.port };
}

test("it is live at once, in the words of the server; everything else waits for that", async () => {
  const { early, port } = await listening();
  await using _early = early;
  const live = await ask(port, "/v2/health/live");
  const settled: string[] = [];
  const waits = (name: string, asked: Promise<Answer>): Promise<Answer> =>
    asked.finally(() => settled.push(name));
  const waiting = [
    waits("metadata", ask(port, "/v2")),
    waits("live, with an id", ask(port, "/v2/health/live", { "x-request-id": "mine" })),
    waits("of another site", ask(port, "/v2/health/live", { host: "evil.example" })),
    waits("no such address", ask(port, "/v2/health/live?x")),
  ];
  const gone = connect(port, "127.0.0.1");
  gone.write("GET /v2 HTTP/1.1\r\nhost: localhost\r\n\r\n");
  await pause(50);
  gone.resetAndDestroy();
  expect(settled).toEqual([]);

  const server = new ModelServer({ version: "test", early });
  try {
    expect(await server.listen({ port })).toBe(`http://127.0.0.1:${port}`);
    const [metadata, named, foreign, other] = await Promise.all(waiting);
    expect(metadata?.status).toBe(200);
    expect(named?.headers["x-request-id"]).toBe("mine");
    expect(foreign?.status).toBe(403);
    expect(other?.body).toContain("live");
    expect(alike(live)).toEqual(alike(await ask(port, "/v2/health/live")));
  } finally {
    await server.stop();
  }
  await expect(ask(port, "/v2")).rejects.toThrow("ECONNREFUSED");
});

test("a port that is taken is an error; who never takes over ends what waits", async () => {
  const { early, port } = await listening();
  await expect(EarlyServer.listen({ host: "127.0.0.1", port })).rejects.toThrow("listens on this");
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => undefined);
  socket.write("GET /v2 HTTP/1.1\r\nhost: localhost\r\n\r\n");
  await once(socket, "connect");
  const closed = new Promise((resolve) => socket.once("close", resolve));
  await early[Symbol.asyncDispose]();
  await closed;
});
