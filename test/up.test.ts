import { execFile } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GraphBuilder } from "../src/graph/build.ts";
import { modelOf } from "../src/onnx/onnx-model.ts";
import { alive, childrenOf, command, Running, skipway, until } from "./cli.ts";
import { slowModel, tinyClassifier, unknownOpModel } from "./models.ts";

// The main job from the command line: real training (three epochs), real processes, real HTTP. Without
// a number of epochs a test would take half a minute; three reach the accuracy that the check asks for.

let root = "";
let data = "";
let first: Record<string, never> = {};
const EPOCHS = ["--epochs", "3", "--seed", "4"];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "skipway-up-"));
  data = join(root, "data");
  const { code, out, err } = await skipway("up", "--once", "--json", "--data", data, ...EPOCHS);
  expect(err).toContain("Ready in");
  expect(code).toBe(0);
  first = JSON.parse(out);
}, 120_000);
afterAll(() => rm(root, { recursive: true, force: true }));

async function address(running: Running): Promise<string> {
  return (await running.says(/(http:\/\/127\.0\.0\.1:\d+) {2}dashboard/))[1] ?? "";
}

async function classify(at: string, model = "digits"): Promise<{ status: number; data: number[] }> {
  const inputs = [
    { name: "image", shape: [1, 1, 8, 8], datatype: "FP32", data: new Array(64).fill(0.5) },
  ];
  const response = await fetch(`${at}/v2/models/${model}/infer`, {
    method: "POST",
    body: JSON.stringify({ inputs }),
  });
  const document = (await response.json()) as { outputs?: { data: number[] }[] };
  return { status: response.status, data: document.outputs?.[0]?.data ?? [] };
}

describe("the main job", () => {
  test("the document of a first start", () => {
    expect(first).toMatchObject({
      schema: "skipway.up/1",
      model: { name: "digits", version: 1, alias: "stable" },
      census: { counts: { total: 15, additiveIdentity: 15 } },
      check: { passed: true },
    });
    const { training, check } = first as unknown as {
      training: Record<
        "residual" | "plain",
        { loss: number; accuracy: number; gradientRatio: number }
      >;
      check: { rules: { id: string }[] };
    };
    expect(check.rules.map((rule) => rule.id)).toEqual(["shapes", "memory", "golden", "accuracy"]);
    expect(training.plain.loss).toBeGreaterThan(2 * training.residual.loss);
    expect(training.residual.accuracy).toBeGreaterThan(0.9);
    for (const twin of [training.residual, training.plain])
      expect(twin.gradientRatio).toBeGreaterThan(0);
  });

  test("a second start finds the stored model: the same digest, no new version, no training", async () => {
    const { code, out, err } = await command("up", "--once", "--json", "--data", data, ...EPOCHS);
    expect(code).toBe(0);
    expect(err).not.toContain("Train");
    const second = JSON.parse(out);
    expect(second.model).toEqual((first as { model?: unknown }).model);
    expect(second).not.toHaveProperty("training");
    expect((second as { census: unknown }).census).toEqual((first as { census?: unknown }).census);
  });

  test("the picture lies beside the store", async () => {
    expect(await readFile(join(data, "digits-skips.svg"), "utf8")).toMatch(
      /^<svg .*15 skip connections/s,
    );
  });

  test("serves until Ctrl-C, then ends well and takes its processes along", async () => {
    const running = new Running(["up", "--data", data, "--port", "0"]);
    const at = await address(running);
    const answer = await classify(at);
    expect(answer.status).toBe(200);
    expect(answer.data).toHaveLength(10);
    const pids = await childrenOf(running.process.pid);
    expect(pids.length).toBeGreaterThan(0);
    const overview = (await (await fetch(`${at}/api/v1/overview`)).json()) as { models: unknown[] };
    expect(overview.models[0]).toMatchObject({
      name: "digits",
      version: 1,
      aliases: ["stable"],
      digits: true,
      trained: true,
    });
    expect((await fetch(`${at}/`)).headers.get("content-security-policy")).toContain(
      "default-src 'self'",
    );
    running.kill("SIGINT");
    expect((await running.done).code).toBe(0);
    await until(() => !pids.some(alive));
  });

  test("kill -9 of the server: no orphan keeps running, the next start works", async () => {
    const running = new Running(["up", "--data", data, "--port", "0"]);
    await address(running);
    const pids = await childrenOf(running.process.pid);
    running.kill("SIGKILL");
    await running.done;
    await until(() => !pids.some(alive));
    expect((await command("up", "--once", "--data", data)).code).toBe(0);
  });
});

describe("a model from elsewhere", () => {
  test("goes through census, check, register and serve under its file's name", async () => {
    const file = join(root, "my model (1).onnx");
    await writeFile(file, tinyClassifier());
    const running = new Running(["up", file, "--data", data, "--port", "0", "--grace", "0"]);
    const at = await address(running);
    expect(
      (
        await running.says(
          /no recorded answers are known yet: those to made-up inputs are recorded now/,
        )
      ).length,
    ).toBe(1);
    expect((await classify(at, "my-model-1-")).status).toBe(200);
    running.kill("SIGTERM");
    const { code, err } = await running.done;
    expect(code).toBe(0);
    expect(err).toContain("pass  golden");
    expect(err).toContain("no skip connections");
    const again = await command("up", file, "--once", "--data", data);
    expect(again.err).toContain("no new version");
  });
});

describe("bad input and bad luck", () => {
  test("a port in use", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as AddressInfo;
    // Also where there is nothing yet: it is said before the training, not after.
    const { code, err } = await command("up", "--data", join(root, "new"), "--port", String(port));
    other.close();
    expect(code).toBe(4);
    expect(err).not.toContain("Train");
    expect(err).toContain("serve/port-in-use");
    expect(err).toContain(`choose another port with --port ${port + 1}`);
  });

  test("a data folder that cannot be written", async () => {
    const file = join(root, "file");
    await writeFile(file, "");
    const { code, err } = await command("up", "--once", "--data", join(file, "below"));
    expect(code).toBe(4);
    expect(err).toMatch(/registry\/unwritable.*\n.*cannot be written.*\n.*fix: .*--data DIR/);
    const folder = join(root, "blocked");
    await mkdir(folder);
    await writeFile(join(folder, "training"), "");
    const blocked = await command("up", "--once", "--data", folder);
    expect(blocked.code).toBe(4);
    expect(blocked.err).toContain("registry/unwritable");
  });

  test("a stored model whose digest no longer matches", async () => {
    const folder = join(root, "tampered");
    await cp(data, folder, { recursive: true });
    for (const entry of await readdir(join(folder, "blobs"), {
      recursive: true,
      withFileTypes: true,
    })) {
      if (entry.isFile()) await writeFile(join(entry.parentPath, entry.name), "changed");
    }
    const { code, err } = await command("up", "--once", "--data", folder);
    expect(code).toBe(3);
    expect(err).toMatch(
      /registry\/digest-mismatch[\s\S]*changed after it was registered[\s\S]*fix: /,
    );
  });

  test.each<[string, Uint8Array, string]>([
    ["no ONNX at all", Buffer.from("hello"), "onnx/not-onnx"],
    ["an op that the runtime does not have", unknownOpModel(), "runtime/refused"],
  ])("a file with %s", async (_what, content, id) => {
    const file = join(root, "bad.onnx");
    await writeFile(file, content);
    const { code, err, out } = await command("up", file, "--once", "--data", join(root, "bad"));
    expect(code).toBe(3);
    expect(err).toContain(id);
    expect(err).toContain("fix:");
    expect(out + err).not.toMatch(/\n\s+at .*\.js:\d+/);
  });

  test("a model that was exported without its weights, or with some of them in other files", async () => {
    const external = { kind: "external" as const, location: "weights.bin", offset: 0, length: 4 };
    for (const [data, id] of [
      [{ kind: "absent" as const }, "onnx/weights-absent"],
      [external, "registry/external-data"],
    ] as const) {
      const b = new GraphBuilder();
      b.input("x", "float32", [1]);
      b.initializer("w", { dtype: "float32", shape: [1], data });
      b.emit("Add", ["x", "w"], { outputs: ["y"] });
      b.output({ name: "y", dtype: "float32", shape: [1] });
      const file = join(root, "incomplete.onnx");
      await modelOf(b.finish("g", new Map([["", 20]]))).save(file);
      const { code, err } = await command("up", file, "--once", "--data", join(root, "bad"));
      expect(code).toBe(3);
      expect(err).toContain(id);
      expect((await command("census", file)).code).toBe(0);
    }
  });

  test("a training that does not reach the accuracy is not released", async () => {
    const folder = join(root, "short");
    const { code, err } = await command("up", "--once", "--data", folder, "--epochs", "1");
    expect(code).toBe(1);
    expect(err).toMatch(/FAIL {2}accuracy/);
    expect(err).toMatch(/check\/accuracy[\s\S]*release is stopped/);
    const doctor = await command("doctor", "--json", "--data", folder);
    const findings = (JSON.parse(doctor.out) as { findings: { id: string; text: string }[] })
      .findings;
    expect(findings.find((one) => one.id === "store")?.text).toContain("0 models");
  });

  test("of the starter's name is not taken for the starter", async () => {
    const folder = join(root, "taken");
    await cp(data, folder, { recursive: true });
    const file = join(root, "digits.onnx");
    await writeFile(file, tinyClassifier());
    expect((await command("up", file, "--once", "--data", folder)).code).toBe(0);
    const next = await command("up", "--once", "--json", "--data", folder, ...EPOCHS);
    expect(JSON.parse(next.out).model).toEqual((first as { model?: unknown }).model);
  });

  test("is read from a pipe, and Ctrl-C ends a check that does not end", async () => {
    const file = join(root, "endless.onnx");
    await writeFile(file, slowModel(1_000_000));
    const pipe = join(root, "pipe.onnx");
    await promisify(execFile)("mkfifo", [pipe]);
    const running = new Running(["up", pipe, "--once", "--data", data]);
    await writeFile(pipe, await readFile(file));
    await running.says(/picture/);
    const pids = await childrenOf(running.process.pid);
    await new Promise((resolve) => setTimeout(resolve, 500));
    running.kill("SIGINT");
    const { code, err } = await running.done;
    expect(code).toBe(130);
    expect(err).toContain("nothing was registered");
    await until(() => !pids.some(alive));
  });

  test("kill -9 during training leaves no process behind and no noise; Ctrl-C says what is kept; the next start goes on from there", async () => {
    const args = ["up", "--once", "--data", join(root, "interrupted"), ...EPOCHS];
    const killed = new Running(args);
    await killed.says(/epoch 1\/3/);
    const pids = await childrenOf(killed.process.pid);
    expect(pids).toHaveLength(2);
    killed.kill("SIGKILL");
    expect((await killed.done).err).not.toMatch(/EPIPE|\n\s+at /);
    await until(() => !pids.some(alive));

    const running = new Running(args);
    await running.says(/epoch \d\/3/);
    const more = await childrenOf(running.process.pid);
    running.kill("SIGINT");
    const { code, err } = await running.done;
    expect(code).toBe(130);
    expect(err).toMatch(
      /the state after epoch [123] of 3 is kept, the next start goes on from there/,
    );
    await until(() => !more.some(alive));
    const next = await command(...args, "--json");
    expect(next.code).toBe(0);
    // The same bits as the run that nobody interrupted.
    expect(JSON.parse(next.out).model.digest).toBe(
      (first as unknown as { model: { digest: string } }).model.digest,
    );
  });
});
