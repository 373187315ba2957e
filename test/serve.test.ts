import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { alive, childrenOf, command, Running, until } from "./cli.ts";
import { affineModel, identityModel, unknownOpModel } from "./models.ts";

// `skipway serve` from the command line: real processes, real signals, real HTTP.

let root = "";
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "skipway-serve-command-"));
  await writeFile(join(root, "affine.onnx"), affineModel());
  await writeFile(join(root, "same.onnx"), identityModel("float32", ["N", 3]));
  await writeFile(join(root, "broken.onnx"), unknownOpModel());
});
afterAll(() => rm(root, { recursive: true, force: true }));

interface Answer {
  readonly status: number;
  readonly y: readonly number[];
  readonly version: string | undefined;
}

async function ask(at: string, model = "affine"): Promise<Answer> {
  const inputs = [{ name: "x", shape: [1, 3], datatype: "FP32", data: [1, 2, 3] }];
  const response = await fetch(`${at}/v2/models/${model}/infer`, {
    method: "POST",
    body: JSON.stringify({ inputs, outputs: [{ name: "y" }] }),
  });
  const document = (await response.json()) as {
    outputs?: { data: number[] }[];
    model_version?: string;
  };
  return {
    status: response.status,
    y: document.outputs?.[0]?.data ?? [],
    version: document.model_version,
  };
}

async function serve(...args: string[]): Promise<{ running: Running; at: string }> {
  const running = new Running(["serve", "--port", "0", "--data", join(root, "data"), ...args]);
  const [, at = ""] = await running.says(/(http:\/\/127\.0\.0\.1:\d+) {2}Open Inference Protocol/);
  return { running, at };
}

/** Requests one after another, each on a connection that may be new, until it is told to stop. */
function traffic(at: string) {
  const statuses: number[] = [];
  let on = true;
  const loop = (async () => {
    while (on) {
      statuses.push(
        await ask(at).then(
          ({ status }) => status,
          () => 0,
        ),
      );
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  })();
  return {
    statuses,
    stop: async () => {
      on = false;
      await loop;
    },
  };
}

describe("files", () => {
  test("are served under their base names; SIGTERM: not ready at once, late requests answered, no orphan", async () => {
    const { running, at } = await serve(
      join(root, "affine.onnx"),
      join(root, "same.onnx"),
      ...["--grace", "3", "--log", "requests"],
    );
    expect(await ask(at)).toEqual({ status: 200, y: [3, 5, 7], version: "1" });
    expect(await ask(at, "same")).toEqual({ status: 200, y: [1, 2, 3], version: "1" });
    const pids = await childrenOf(running.process.pid);
    expect(pids).toHaveLength(2);
    const late = traffic(at);
    running.kill("SIGTERM");
    await running.says(/not ready any more/);
    expect((await fetch(`${at}/v2/health/ready`)).status).toBe(400);
    expect((await fetch(`${at}/v2/health/live`)).status).toBe(200);
    for (let i = 0; i < 10; i++) expect((await ask(at)).status).toBe(200);
    await late.stop();
    expect(new Set(late.statuses)).toEqual(new Set([200]));
    const { code, err } = await running.done;
    expect(code).toBe(0);
    expect(err).toMatch(/^\{.*"affine".*\}$/m);
    await until(() => !pids.some(alive));
  });

  test("a second signal ends it at once", async () => {
    const { running } = await serve(join(root, "affine.onnx"), "--grace", "600");
    const pids = await childrenOf(running.process.pid);
    running.kill("SIGTERM");
    await running.says(/not ready any more/);
    running.kill("SIGTERM");
    expect((await running.done).code).toBe(130);
    await until(() => !pids.some(alive));
  });

  test("one that does not load is told; alone, it is an error", async () => {
    const broken = join(root, "broken.onnx");
    const { code, err } = await command("serve", broken, "--port", "0");
    expect(code).toBe(3);
    expect(err).toMatch(/serve\/nothing-loads[\s\S]*broken version 1/);
    const { running, at } = await serve(join(root, "affine.onnx"), broken);
    await running.says(/broken version 1 is not served: .+/);
    expect((await ask(at)).status).toBe(200);
    // A model that was asked for and does not answer: not ready.
    expect((await fetch(`${at}/v2/health/ready`)).status).toBe(400);
    running.kill("SIGINT");
    expect((await running.done).code).toBe(0);
  });

  test("what is wrong with where it is to listen is told, by a process that ends with it", async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const { port } = taken.address() as AddressInfo;
    let folders = 0;
    const at = (...args: string[]) => {
      const data = join(root, `listens-nowhere-${folders++}`);
      return new Running(["serve", join(root, "affine.onnx"), "--data", data, ...args]).done;
    };
    const [remote, token, tls, http, grpc] = await Promise.all([
      at("--host", "0.0.0.0"),
      at("--require-token"),
      at("--tls-cert", "/nonexist"),
      at("--port", String(port)),
      at("--port", "0", "--grpc-port", String(port)),
    ]);
    taken.close();
    for (const { code } of [remote, token, tls]) expect(code).toBe(2);
    for (const { code } of [http, grpc]) expect(code).toBe(4);
    expect([remote, token, tls, http, grpc].map(({ err }) => err)).toEqual([
      expect.stringContaining("serve/remote-host"),
      expect.stringContaining("serve/no-token"),
      expect.stringContaining("serve/tls"),
      expect.stringContaining(`serve/port-in-use  127.0.0.1:${port}`),
      expect.stringContaining(`serve/port-in-use  127.0.0.1:${port}`),
    ]);
  }, 30_000);

  test("a file that changes is loaded again, without a request that fails", async () => {
    const file = join(root, "changing.onnx");
    await writeFile(file, identityModel("float32", ["N", 3]));
    const { running, at } = await serve(join(root, "affine.onnx"), file);
    const load = traffic(at);
    await writeFile(file, affineModel());
    for (;;) {
      const { status, y } = await ask(at, "changing");
      expect(status).toBe(200);
      if (y[0] === 3) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await load.stop();
    expect(new Set(load.statuses)).toEqual(new Set([200]));
    running.kill("SIGINT");
    expect((await running.done).code).toBe(0);
  });
});

describe("what is registered", () => {
  test("is served; a move of the alias is followed, a stopped process is replaced, a spare takes over", async () => {
    const push = (...args: string[]) => command("registry", ...args, "--data", join(root, "data"));
    expect((await push("push", join(root, "affine.onnx"), "--name", "affine")).code).toBe(0);
    const { running, at } = await serve("--spare", "--probe", "1");
    expect(await ask(at)).toMatchObject({ status: 200, version: "1" });
    expect((await push("push", join(root, "same.onnx"), "--name", "affine")).code).toBe(0);
    const moved = await push("alias", "affine", "stable", "2", "--override", "for the test");
    expect(moved).toMatchObject({ code: 0 });
    while ((await ask(at)).version !== "2");
    const stats = async () => {
      const text = await (await fetch(`${at}/metrics`)).text();
      return /^skipway_process_restarts_total\{[^}]*cause="stuck"[^}]*\} [12]$/m.test(text);
    };
    // The processes of version 1 end, the spare of version 2 is there, and one that is stopped is found out.
    const spare = /^skipway_process_resident_bytes\{[^}]*version="2"[^}]*process="spare"/m;
    await eventually(async () => spare.test(await (await fetch(`${at}/metrics`)).text()));
    await eventually(async () => (await childrenOf(running.process.pid)).length === 2);
    for (const pid of await childrenOf(running.process.pid)) process.kill(pid, "SIGSTOP");
    await eventually(stats);
    await eventually(async () => (await ask(at)).status === 200);
    running.kill("SIGINT");
    expect((await running.done).code).toBe(0);
  });

  test("an empty store is an error that says what to do", async () => {
    const { code, err } = await command("serve", "--port", "0", "--data", join(root, "none"));
    expect(code).toBe(3);
    expect(err).toContain("skipway registry push");
  });
});

async function eventually(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 50));
}
