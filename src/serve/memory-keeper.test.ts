import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { Random } from "../base/random.ts";
import { parseGraph } from "../graph/parse.ts";
import { float32, int64 } from "../graph/tensor.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { digestOf } from "../registry/digest.ts";
import { memoryOf } from "../runtime/memory-probe.ts";
import type { Budget } from "./admission/budget.ts";
import { RequestError } from "./errors.ts";
import { ModelServer } from "./server.ts";

// Real processes with a small budget, and a model whose runs take much memory for little work.

const MIB = 1_048_576;
const SIZE = 4096;
/** Beyond what processes hold at rest: for a run of a thousand rows, and not for two, with 12 that each of two may keep. */
const ROOM = (160 + 2 * 12) * MIB;
/** A row of 4,096 takes 16 KiB as input and 80 KiB within. */
const WIDE = `
  g (float[N,W] x) => (float[N] y) <int64[1] one = {1}> {
    a = Neg (x)
    b = Exp (a)
    c = Concat <axis = 1> (a, b, x)
    y = ReduceMax <keepdims = 0> (c, one)
  }`;

let folder = "";
let path = "";

let restOne = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-memory-"));
  path = join(folder, "wide.onnx");
  await modelOf(parseGraph(WIDE, { opsets: new Map([["", 20]]) })).save(path);
  restOne = await restOf();
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** So many bytes for the models; the server's own are not part of it, and eight large requests may wait. */
function budgetOf(models: number): Budget {
  return { budgetBytes: models, reserveBytes: 0, bodiesBytesMax: 512 * MIB };
}

async function serve(models: number, names: readonly string[]): Promise<ModelServer> {
  const server = new ModelServer({ version: "1.2.3", memory: budgetOf(models) });
  onTestFinished(() => server.stop());
  return load(server, names);
}

async function load(server: ModelServer, names: readonly string[]): Promise<ModelServer> {
  for (const name of names) await server.serve({ name, version: 1, path, digest: name });
  return server;
}

function ask(
  server: ModelServer,
  name: string,
  rows: number,
  { size = SIZE, signal }: { size?: number; signal?: AbortSignal } = {},
): Promise<unknown> {
  const inputs = new Map([["x", float32([rows, size], new Float32Array(rows * size))]]);
  const call = { inputs, ...(signal && { signal }) };
  return server.fleet.find(name)?.infer(call) ?? Promise.reject(new Error(`no ${name}`));
}

/** What all processes have had at their highest since their marks were set back. */
function marksOf(server: ModelServer): number {
  const pids = server.fleet.hosts().flatMap((host) => host.processes().map(({ pid }) => pid));
  return pids.reduce((sum, pid) => sum + (memoryOf(pid)?.peakResidentBytes ?? 0), 0);
}

async function textOf(answer: Promise<unknown>): Promise<string> {
  const error = await answer.then(
    () => undefined,
    (caught: unknown) => caught,
  );
  if (!(error instanceof RequestError)) throw new Error("it is answered");
  return `${error.status} ${error.message}`;
}

/** Bytes that the process of the model holds at rest. */
async function restOf(): Promise<number> {
  const server = new ModelServer({ version: "1.2.3", memory: budgetOf(4096 * MIB) });
  await load(server, ["a"]);
  const [process] = server.fleet.hosts()[0]?.processes() ?? [];
  const rest = memoryOf(process?.pid ?? -1)?.residentBytes ?? 0;
  await server.stop();
  return rest;
}

describe("a small budget", () => {
  test("what never fits is told what would, and that is answered", async () => {
    const rest = restOne;
    const server = await serve(rest + ROOM, ["a"]);
    const text = await textOf(ask(server, "a", 3000));
    expect(text).toMatch(/^507 .* for 3000 rows of this shape and may take .*: at most \d+ rows/);
    const most = Number(/at most (\d+) rows/.exec(text)?.[1]);
    // So much of what is there is used; a row takes 96 KiB.
    expect(most).toBeGreaterThan((0.5 * ROOM) / 98_304);
    expect(most).toBeLessThan(ROOM / 98_304);
    await ask(server, "a", most);
    expect(await textOf(ask(server, "a", most + 200))).toMatch(/^507 /);
    expect(marksOf(server)).toBeLessThan(rest + ROOM);
  });

  test("two models whose marks do not fit together are both answered, again and again", async () => {
    const names = ["a", "b"];
    const rest = names.length * restOne;
    const server = await serve(rest + ROOM, names);
    for (let round = 0; round < 4; round++) {
      for (const name of names) await ask(server, name, 900);
      await Promise.all(names.map((name) => ask(server, name, 900)));
      expect(marksOf(server)).toBeLessThan(rest + ROOM);
    }
  });

  test("a bomb of all sizes at two models never passes the budget, and nobody dies of it", async () => {
    const names = ["a", "b"];
    const rest = names.length * restOne;
    const server = await serve(rest + ROOM, names);
    const pids = (): string =>
      server
        .stats()
        .map(({ pid }) => pid)
        .join();
    const before = pids();
    let most = 0;
    const watch = setInterval(() => {
      most = Math.max(most, marksOf(server));
    }, 5);
    const random = new Random(3);
    const counts = new Map<string, number>();
    const count = (result: string): void => {
      counts.set(result, (counts.get(result) ?? 0) + 1);
    };
    const one = async (): Promise<void> => {
      const rows = Math.floor(2 ** (random.uniform() * 11));
      const size = 256 * (1 + random.integer(24));
      const name = names[random.integer(2)] ?? "a";
      await ask(server, name, rows, { size }).then(
        () => count("answered"),
        (error: unknown) => count(error instanceof RequestError ? String(error.status) : "?"),
      );
    };
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        for (let i = 0; i < 25; i++) await one();
      }),
    );
    clearInterval(watch);
    expect(most).toBeLessThan(rest + ROOM);
    // Some were exchanged for their memory, perhaps; none has died.
    expect(server.stats().flatMap(({ restartsByCause }) => Object.keys(restartsByCause))).toEqual(
      pids() === before ? [] : expect.arrayContaining(["recycled"]),
    );
    const known = [...counts.keys()].filter((key) => !["answered", "507", "503"].includes(key));
    expect(known).toEqual([]);
    expect(counts.get("answered")).toBeGreaterThan(120);
  }, 120_000);

  test("who goes away gives up the claim: the others need not wait for it", async () => {
    const names = ["a", "b"];
    const rest = names.length * restOne;
    const server = await serve(rest + ROOM, names);
    // The process of a is busy with its mark at the top, so that b waits.
    const flying = Promise.all([
      ask(server, "a", 900),
      ask(server, "a", 900),
      ask(server, "a", 900),
    ]);
    const gone = new AbortController();
    const waits = textOf(ask(server, "b", 900, { signal: gone.signal }));
    gone.abort();
    expect(await waits).toMatch(/^499 /);
    await flying;
    await ask(server, "a", 1000);
  });

  test("a model that has no room says what it needs", async () => {
    const server = await serve(80 * MIB, []);
    const load = server.serve({ name: "a", version: 1, path, digest: "a" });
    await expect(load).rejects.toThrow(/loading the model takes up to .* MiB, and .* have 80/);
  });
});

describe("a model whose memory is a matter of values", () => {
  /** As many numbers as are asked for, and the sum of them. */
  const VALUES = `
    g (int64[K] s) => (float[] y) { c = ConstantOfShape (s)  y = ReduceSum <keepdims = 0> (c) }`;
  const HUGE = 120_000_000;

  async function serveValues(): Promise<{ server: ModelServer; notices: string[] }> {
    const values = join(folder, "values.onnx");
    await modelOf(parseGraph(VALUES, { opsets: new Map([["", 20]]) })).save(values);
    const notices: string[] = [];
    const memory = budgetOf(2 * restOne + ROOM);
    const server = new ModelServer({
      version: "1.2.3",
      memory,
      notice: (one) => notices.push(one),
    });
    onTestFinished(() => server.stop());
    const digest = digestOf(await readFile(values));
    await server.serve({ name: "values", version: 1, path: values, digest });
    await load(server, ["a"]);
    return { server, notices };
  }

  const askFor = (server: ModelServer, count: number): Promise<unknown> => {
    const inputs = new Map([["s", int64([1], [count])]]);
    return server.fleet.find("values")?.infer({ inputs }) ?? Promise.reject(new Error("no model"));
  };

  test("is told, answers small requests after huge ones, and leaves the others their room", async () => {
    const { server, notices } = await serveValues();
    expect(notices).toContainEqual(expect.stringContaining("does not tell the sizes inside"));
    for (let round = 0; round < 2; round++) {
      await askFor(server, 10);
      await askFor(server, HUGE);
      await askFor(server, 10);
      await ask(server, "a", 900);
      await Promise.all([askFor(server, 10), ask(server, "a", 900), askFor(server, 20)]);
    }
    expect(marksOf(server)).toBeLessThan(2 * restOne + ROOM);
    const causes = server.stats().flatMap((one) => Object.keys(one.restartsByCause));
    expect(causes.filter((cause) => cause !== "recycled")).toEqual([]);
  }, 60_000);

  test("is asked its known question after a death, whatever its requests took", async () => {
    const { server } = await serveValues();
    await askFor(server, HUGE);
    const host = server.fleet.hosts().find(({ name }) => name === "values");
    const pid = host?.processes()[0]?.pid;
    expect(pid).toBeDefined();
    if (pid !== undefined) process.kill(pid, "SIGKILL");
    await vi.waitFor(() => expect(host?.processes()[0]?.pid).not.toBe(pid), { timeout: 20_000 });
    await askFor(server, 10);
    expect(host?.stats().restartsByCause).toEqual({ killed: 1 });
    expect(host?.ready).toBe(true);
  }, 60_000);
});

test("a flood of new shapes is bounded, and leaves the server free to answer", async () => {
  const server = await serve(4096 * MIB, ["a"]);
  const flood = Array.from({ length: 200 }, (_, i) => ask(server, "a", 1, { size: 300 + i }));
  const results = await Promise.allSettled(flood);
  const refused = results.flatMap((one) => (one.status === "rejected" ? [one.reason] : []));
  expect(refused.length).toBeGreaterThan(100);
  expect(new Set(refused.map((error: RequestError) => error.status))).toEqual(new Set([503]));
  // Those that were planned are known now.
  await ask(server, "a", 2, { size: 300 });
});
