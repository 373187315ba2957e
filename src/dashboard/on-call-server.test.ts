import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { fakeRollout } from "../rollout/document.test-helper.ts";
import type { RolloutNews } from "../rollout/record.ts";
import { ScriptedRunner } from "../serve/scripted-runner.test-helper.ts";
import { ModelServer } from "../serve/server.ts";
import type { OnCallDocument, ServingEvent } from "./api.ts";
import { readObjectives } from "./objectives.ts";
import { servingStatus } from "./on-call-status.ts";
import { registerDashboard } from "./routes.ts";

// What pages are told by a real server, with processes that do as the test says.

let folder = "";
let runner: ScriptedRunner;
let server: ModelServer;
let at = "";
const rollout = fakeRollout();
let tell: (news: RolloutNews) => void = () => {};

/** Adds the pages. @param past what servers before this one have told. */
function pagesOf(of: ModelServer, past: readonly RolloutNews[]): Promise<void> {
  return registerDashboard(of.app, {
    version: "1",
    status: () => servingStatus(of),
    objectives: () => readObjectives(folder),
    onState: (listener) => of.onState(listener),
    rollouts: {
      now: () => [rollout],
      onNews: (listener) => {
        tell = listener;
        return () => {};
      },
      past: async (count) => past.slice(-count),
    },
    overview: async () => ({ server: { version: "1", startedMs: 0 }, models: [] }),
    picture: async () => undefined,
    pictureData: async () => undefined,
    training: async () => undefined,
    examples: async () => ({ digits: [] }),
  });
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-on-call-"));
  runner = new ScriptedRunner();
  server = new ModelServer({ version: "1", runner, settings: { probeEveryMs: 1e6 } });
  for (const version of [1, 2]) await server.serve(served(version));
  await pagesOf(server, []);
  at = await server.listen({ port: 0 });
});
afterEach(async () => {
  await server.stop();
  await rm(folder, { recursive: true });
});

function served(version: number) {
  return { name: "m", version, path: `m${version}`, digest: `sha256:${version}` };
}

async function document(): Promise<OnCallDocument> {
  return (await (await fetch(`${at}/api/v1/on-call`)).json()) as OnCallDocument;
}

/** The status of version 1 or 2. */
async function versionNow(version: number) {
  return (await document()).status.models.find((one) => one.version === version);
}

function post(path: string, body: unknown = {}, method = "POST"): Promise<Response> {
  return fetch(`${at}${path}`, { method, body: JSON.stringify(body) });
}

const ask = (): Promise<Response> =>
  post("/v2/models/m/infer", {
    inputs: [{ name: "x", datatype: "FP32", shape: [1, 1], data: [1] }],
  });

/** The stream, from its first numbers on. */
async function follow() {
  const end = new AbortController();
  const { body } = await fetch(`${at}/api/v1/events`, { signal: end.signal });
  if (body === null) throw new Error("no stream");
  const blocks = blocksOf(body);
  await blocks.next();
  return {
    end: () => end.abort(),
    /** The next event of a kind. */
    next: async (kind: string): Promise<ServingEvent> => {
      for (;;) {
        const { value, done } = await blocks.next();
        if (done === true) throw new Error("the stream ended");
        if (!value.startsWith("event: event")) continue;
        const event = JSON.parse(value.split("data: ")[1] ?? "") as ServingEvent;
        if (event.kind === kind) return event;
      }
    },
  };
}

async function* blocksOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let text = "";
  for await (const part of body.pipeThrough(new TextDecoderStream())) {
    const blocks = `${text}${part}`.split("\n\n");
    text = blocks.pop() ?? "";
    yield* blocks;
  }
}

describe("what a page begins with", () => {
  test("what rollouts told before the server started: the last hundred, in front of all others", async () => {
    const past = Array.from({ length: 120 }, (_, i): RolloutNews => {
      const kind = i === 119 ? "promoted" : "step";
      return {
        ...{ id: `old.${i}`, atMs: i, kind, cause: null, text: `the ${i}th`, actor: "rollout" },
        ...{ model: "m", version: 1, stable: 0, rollout: "old", share: 0.1, nodePool: "default" },
      };
    });
    const next = new ModelServer({ version: "1", runner, settings: { probeEveryMs: 1e6 } });
    await pagesOf(next, past);
    const address = await next.listen({ port: 0 });
    await next.serve(served(1));
    const answer = await fetch(`${address}/api/v1/on-call`);
    const { events } = (await answer.json()) as OnCallDocument;
    await next.stop();
    expect(events.length).toBeGreaterThan(100);
    expect(events[0]).toMatchObject({ id: 1, eventId: "old.20", text: "the 20th" });
    expect(events[99]).toMatchObject({ id: 100, kind: "promoted", atMs: 119, model: "m" });
    expect(events[100]?.rollout).toBeUndefined();
  });

  test("rollouts; and what happens to them comes over the stream, once, all of a moment together", async () => {
    expect((await document()).status.rollouts).toEqual([rollout]);
    const stream = await follow();
    const told = {
      ...{ atMs: 5, model: "m", version: 2, stable: 1, cause: "slow", text: "taken back" },
      ...{ actor: "rollout", rollout: "r1", share: 0, nodePool: "default" },
    };
    for (const kind of ["verdict", "rolled-back"] as const) tell({ ...told, kind, id: kind });
    expect(await stream.next("verdict")).toMatchObject({ id: 1, atMs: 5, rollout: "r1" });
    expect(await stream.next("rolled-back")).toMatchObject({
      ...{ id: 2, atMs: 5, rollout: "r1", eventId: "rolled-back", nodePool: "default" },
    });
    expect((await document()).events).toHaveLength(2);
    stream.end();
  });

  test("versions with traffic and outcomes, the split, and the server", async () => {
    await ask();
    await post("/v2/models/m/infer", { inputs: [] });
    expect(
      (
        await post(
          "/api/v1/models/m/split",
          { stable: 2, candidate: 1, share: 0.25, shadow: 1 },
          "PUT",
        )
      ).status,
    ).toBe(200);
    const { status, version } = await document();
    expect(version).toBe("1");
    expect(status.server).toEqual({ ready: true, draining: false });
    expect(status.models.map((one) => [one.version, one.role, one.share, one.state])).toEqual([
      [2, "stable", 0.75, "ready"],
      [1, "candidate", 0.25, "ready"],
    ]);
    const [stable] = status.models;
    expect(stable?.outcomes).toEqual({ good: 1, failed: {}, refused: {}, client: { invalid: 1 } });
    expect(stable?.batches).toEqual({ runs: 1, rows: 1 });
    expect(stable?.latency).toMatchObject({ n: 1, p50Ms: null, p99Ms: null });
    expect(status.splits).toEqual([
      { model: "m", stable: 2, candidate: 1, share: 0.25, shadow: 1, byHand: true, owner: "hand" },
    ]);
  });

  test("a process that dies is told with its cause, and the one after it", async () => {
    const stream = await follow();
    runner.alive.find(({ path }) => path === "m2")?.die("crash");
    expect(await stream.next("restart")).toMatchObject({ model: "m", version: 2, cause: "crash" });
    expect(await stream.next("state")).toMatchObject({ text: "ready → restarting" });
    expect(await stream.next("state")).toMatchObject({ text: "restarting → ready" });
    stream.end();
    const { events } = await document();
    expect(events.map(({ kind }) => kind)).toEqual([
      "server",
      "restart",
      "state",
      "server",
      "state",
    ]);
    expect((await versionNow(2))?.restarts).toEqual({ crash: 1 });
  });

  test("a reload and its failure, a drain and its refusal", async () => {
    expect((await post("/v2/repository/models/m/load")).status).toBe(200);
    expect((await post("/api/v1/models/m/versions/2/drain")).status).toBe(409);
    expect((await post("/api/v1/models/m/versions/x/drain")).status).toBe(404);
    expect((await post("/api/v1/models/m/versions/1/drain")).status).toBe(200);
    runner.scripts.set("m2", { load: "fails" });
    expect((await post("/v2/repository/models/m/load")).status).toBe(400);
    const { events, status } = await document();
    expect(events.map(({ kind, version, cause }) => [kind, version, cause])).toContainEqual([
      "load",
      2,
      "reload",
    ]);
    expect(events).toContainEqual(expect.objectContaining({ kind: "unload", version: 1 }));
    const failed = status.models.find(({ version }) => version === 2);
    expect(failed?.state).toBe("ready");
    expect(failed?.reason).toContain("the last load failed, the one before serves");
    expect((await ask()).status).toBe(200);
  });

  test("a version that never loaded is there as one that failed", async () => {
    runner.scripts.set("m3", { load: "fails" });
    await server.serve(served(3)).catch(() => undefined);
    await server.fleet.sync();
    expect(await versionNow(3)).toMatchObject({ state: "failed", role: "pinned", pid: null });
  });

  test("a server that ends says so before it does", async () => {
    const stream = await follow();
    const [event] = await Promise.all([stream.next("server"), server.stop()]);
    expect(event.text).toContain("shutting down");
  });
});

test("objectives are read anew each time; a file that is wrong or too large is told", async () => {
  expect((await document()).objectives).toEqual({ models: {}, fault: null });
  const file = join(folder, "slo.json");
  await writeFile(file, JSON.stringify({ models: { m: { latency: { p99: "50ms" } } } }));
  expect((await document()).objectives.models["m"]?.latency).toEqual([{ p: 0.99, ms: 50 }]);
  await writeFile(file, "{");
  expect((await document()).objectives.fault).toContain("JSON");
  await truncate(file, 2_000_000);
  expect((await document()).objectives.fault).toContain("larger");
});

test("a page may run its own script and nothing else; what is no page, nothing", async () => {
  const policy = async (path: string) =>
    (await fetch(`${at}${path}`)).headers.get("content-security-policy");
  for (const page of ["/", "/on-call", "/models/m/1"]) {
    expect(await policy(page)).toMatch(/^default-src 'self';.*frame-ancestors 'none'/);
  }
  for (const other of ["/api/v1/on-call", "/nothing", "/models"]) {
    expect(await policy(other)).toMatch(/^default-src 'none'/);
  }
});

test("who does not read the stream is let go of", async () => {
  const { port } = new URL(at);
  const socket = connect(Number(port), "127.0.0.1");
  const gone = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  socket.on("error", () => undefined);
  socket.write("GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n");
  await new Promise((resolve) => socket.once("readable", resolve));
  // Nothing is read from here on; each change sends the numbers once more.
  for (let i = 0; i < 2000; i++) server.fleet.setSplit("m", { stable: 1 + (i % 2), share: 0 });
  socket.resume();
  await gone;
});
