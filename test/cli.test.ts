import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFile, mkdtemp, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { printable } from "../src/base/printable.ts";
import {
  coresFinding,
  type Finding,
  findingLines,
  memoryFinding,
  nodeFinding,
} from "../src/cli/commands/doctor.ts";
import { GraphBuilder } from "../src/graph/build.ts";
import { parseGraph } from "../src/graph/parse.ts";
import { starter } from "../src/nn/models/starter.ts";
import { buildNet } from "../src/nn/net.ts";
import { modelOf } from "../src/onnx/onnx-model.ts";
import { Registry } from "../src/registry/registry.ts";
import { command, Running, skipway } from "./cli.ts";

let folder = "";
let model = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-cli-"));
  model = join(folder, "starter.onnx");
  const input = { name: "image", shape: [1, 8, 8] };
  await modelOf(buildNet(starter({ skips: true }), { input, output: "logits", seed: 1 })).save(
    model,
  );
});
afterAll(() => rm(folder, { recursive: true }));

describe("every command", () => {
  test.each([[], ["up"], ["census"], ["lint"], ["gradient"], ["doctor"]])(
    "%s --help ends well and shows an example",
    async (...names) => {
      const { code, out } = await command(...names.filter(Boolean), "--help");
      expect(code).toBe(0);
      expect(out).toContain("Example:\n  $ skipway");
    },
  );

  test("a process shows the same help", async () => {
    expect(await skipway("--help")).toEqual(await command("--help"));
  });

  test("--version", async () => {
    const { out } = await skipway("--version");
    expect(out).toBe(`${JSON.parse(await readFile("package.json", "utf8")).version}\n`);
  });

  test.each([
    [["cencus"], /unknown command 'cencus'[\s\S]*census/],
    [["up", "--port", "high"], /--port.*whole number from 0 to 65535/],
    [["census"], /missing required argument 'model'/],
    [["census", "x.onnx", "--batch", "0"], /--batch.*whole number from 1 to 1000000/],
    [["doctor", "--port", "high"], /--port.*whole number from 0 to 65535/],
    [["doctor", "--port", "70000"], /--port.*whole number from 0 to 65535/],
    [["doctor", "--nonsense"], /unknown option/],
  ])("%j is wrong usage", async (args, why) => {
    const { code, err } = await command(...args);
    expect(code).toBe(2);
    expect(err).toMatch(why);
  });
});

describe("lint", () => {
  /** A shortcut with a normalisation on it. */
  async function hazardous(): Promise<string> {
    const page = await readFile("docs/reference/lint/skip-norm-on-shortcut.md", "utf8");
    const [, text = ""] = /```onnx\n([\s\S]*?)```/.exec(page) ?? [];
    const file = join(folder, "hazardous.onnx");
    await modelOf(parseGraph(text)).save(file);
    return file;
  }

  test("tells what it found, and ends with 1 then", async () => {
    const { code, out, err } = await command("lint", await hazardous());
    expect(code).toBe(1);
    expect(out).toMatch(/^warning skip\/norm-on-shortcut {2}node y\n[\s\S]*fix: /);
    expect(err).toMatch(/1 warning/);
  });

  test("--json is one document; --ignore leaves out", async () => {
    const file = await hazardous();
    const { code, out } = await command("lint", file, "--json");
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({
      schema: "skipway.lint/1",
      diagnostics: [{ id: "skip/norm-on-shortcut", severity: "warning", where: "node y" }],
      summary: { error: 0, warning: 1, info: 0 },
    });
    const ignored = await command("lint", file, "--ignore", "skip/norm-on-shortcut", "--quiet");
    expect(ignored).toEqual({ code: 0, out: "", err: "" });
  });

  test("--fix writes a mended model beside the old one, never over it", async () => {
    const page = await readFile("docs/reference/lint/shape-mismatch.md", "utf8");
    const [, text = ""] = /```onnx\n([\s\S]*?)```/.exec(page) ?? [];
    const [file, mended] = [join(folder, "broken.onnx"), join(folder, "mended.onnx")];
    await modelOf(parseGraph(text)).save(file);
    const over = await command("lint", file, "--fix", file);
    expect(over).toMatchObject({ code: 2, err: expect.stringMatching(/over the model/) });
    const { code, out } = await command("lint", file, "--fix", mended);
    expect(code).toBe(0);
    expect(out).toMatch(/fixed shape\/mismatch .*1x1 projection 2→4 with stride 2/);
    expect((await command("lint", mended, "--quiet")).out).toBe("");
    const again = await command("lint", mended, "--fix", join(folder, "none.onnx"), "--json");
    expect(JSON.parse(again.out)).toMatchObject({ diagnostics: [], fixed: [], unfixed: [] });
    await expect(readFile(join(folder, "none.onnx"))).rejects.toThrow(/ENOENT/);
  });

  test("an id that can be none is wrong usage", async () => {
    expect((await command("lint", "x.onnx", "--only", "shape")).code).toBe(2);
    const slip = await command("lint", "x.onnx", "--ignore", "skip/norm-on-shortcuts");
    expect(slip).toMatchObject({ code: 2, err: expect.stringContaining("norm-on-shortcuts") });
  });
});

describe("census", () => {
  test("a table, with a picture beside it", async () => {
    const svg = join(folder, "skips.svg");
    const { code, out, err } = await command(
      "census",
      model,
      "--all",
      "--svg",
      svg,
      "--batch",
      "4",
    );
    expect(code).toBe(0);
    expect(out).toContain("15 skips: 15 identity");
    expect(out.split("\n").filter((line) => /^s\d+ /.test(line))).toHaveLength(15);
    expect((await command("census", model)).out).toMatch(/^s1…s\d+ /m);
    expect(out).toContain("16.0 KiB");
    expect(err).toBe(`picture: ${svg}\n`);
    expect(await readFile(svg, "utf8")).toMatch(/^<svg /);
  });

  test("a page by itself to look around in", async () => {
    const html = join(folder, "skips.html");
    const { code, err } = await command("census", model, "--quiet", "--html", html);
    expect([code, err]).toEqual([0, ""]);
    expect(await readFile(html, "utf8")).toMatch(/^<!doctype html>.*default-src 'none'/s);
    expect((await command("census", model, "--diff", model, "--html", html)).code).toBe(2);
  });

  test.each(["--svg", "--html"])("%s does not write over the model", async (option) => {
    const path = join(folder, `over${option}.onnx`);
    await copyFile(model, path);
    const { code, err } = await command("census", path, option, path);
    expect([code, err]).toEqual([2, expect.stringContaining("does not write over the model")]);
    expect(await readFile(path)).toEqual(await readFile(model));
  });

  test("one JSON document", async () => {
    const { out, err } = await command("census", model, "--json");
    expect(err).toBe("");
    expect(JSON.parse(out)).toMatchObject({
      schema: "skipway.census/1",
      model: {
        digest: expect.stringMatching(/^sha256:/),
        nodes: 112,
        parameters: 71_418,
        opset: 20,
      },
      counts: { total: 15, additiveIdentity: 15 },
      denseLinks: 0,
      notSkips: [],
      hazards: [],
    });
  });

  test("the digest is that of the file, however its writer laid it out", async () => {
    // The same model with its first field written after the others: equal content, other bytes.
    const bytes = await readFile(model);
    expect(bytes[0]).toBe(0x08);
    const irVersion = bytes.subarray(0, 2);
    const other = join(folder, "other.onnx");
    await writeFile(other, Buffer.concat([bytes.subarray(2), irVersion]));
    const { out } = await command("census", other, "--json");
    const digest = createHash("sha256")
      .update(await readFile(other))
      .digest("hex");
    expect(JSON.parse(out)).toMatchObject({ model: { digest: `sha256:${digest}` } });
  });

  test("a model from a pipe has no digest", async () => {
    const pipe = join(folder, "model-pipe");
    execFileSync("mkfifo", [pipe]);
    const running = new Running(["census", pipe, "--json"]);
    await writeFile(pipe, await readFile(model));
    expect(JSON.parse((await running.done).out)).toMatchObject({
      model: { digest: null },
      counts: { total: 15 },
    });
  });

  test("names are whole in a pipe, and their control codes only shown", async () => {
    const long = `encoder/${"block/".repeat(30)}\u001b]0;title\u0007Relu_output_0`;
    const b = new GraphBuilder();
    b.input("x", "float32", [1, 4, 8, 8]);
    const absent = { kind: "absent" as const };
    b.initializer("w", { dtype: "float32", shape: [4, 4, 1, 1], data: absent });
    b.emit("Conv", ["x", "w"], { outputs: ["c"] });
    b.emit("Add", ["x", "c"], { outputs: ["y"], name: long });
    b.output({ name: "y", dtype: "float32", shape: [1, 4, 8, 8] });
    const file = join(folder, "names.onnx");
    await modelOf(b.finish("g", new Map([["", 20]]))).save(file);
    const { out } = await command("census", file);
    expect(out).not.toContain("\u001b");
    expect(out).toContain(printable(long));
  });

  test("a hazard comes with what to do", async () => {
    const b = new GraphBuilder();
    b.input("x", "float32", [1, 4]);
    b.emit("Nonsense", ["x"], { outputs: ["y"], domain: "some.where" });
    b.output({ name: "y", dtype: "float32", shape: [1, 4] });
    const file = join(folder, "unknown.onnx");
    await modelOf(
      b.finish(
        "g",
        new Map([
          ["", 20],
          ["some.where", 1],
        ]),
      ),
    ).save(file);
    const { code, out } = await command("census", file);
    expect(code).toBe(0);
    expect(out).toMatch(/^(warning|info) \S+ {2}\S.*\n {2}\S.*\n(.*\n)* {2}fix: \S/m);
  });

  test("a file that is no model, and a picture that cannot be written", async () => {
    const text = join(folder, "text.onnx");
    await writeFile(text, "hello");
    expect(await command("census", text)).toMatchObject({ code: 3, out: "" });
    expect((await command("census", join(folder, "none.onnx"))).code).toBe(3);
    expect((await command("census", model, "--svg", join(folder, "no", "where.svg"))).code).toBe(4);
  });

  test("--diff of two models: 0 if their skips are the same, else 1 and what happened", async () => {
    const plain = join(folder, "plain.onnx");
    const input = { name: "image", shape: [1, 8, 8] };
    const net = buildNet(starter({ skips: false }), { input, output: "logits", seed: 1 });
    await modelOf(net).save(plain);
    expect(await command("census", model, "--diff", model)).toMatchObject({
      code: 0,
      out: expect.stringContaining("no difference"),
      err: "",
    });
    const { code, out, err } = await command("census", model, "--diff", plain);
    expect({ code, err }).toEqual({ code: 1, err: "" });
    expect(out).toContain("- 15 skips are gone: identity\n    s1  ");
    const json = await command("census", plain, "--diff", model, "--json");
    expect(json.code).toBe(1);
    expect(JSON.parse(json.out)).toMatchObject({
      schema: "skipway.census-diff/1",
      same: false,
      before: { path: plain, digest: expect.stringMatching(/^sha256:/), counts: { total: 0 } },
      after: { path: model, counts: { total: 15 } },
      removed: [],
      added: expect.objectContaining({ length: 15 }),
    });
  });

  test("--diff tells the faults of both files", async () => {
    const [one, other] = [join(folder, "empty.onnx"), join(folder, "no.onnx")];
    await writeFile(one, "");
    const { code, out, err } = await command("census", one, "--diff", other);
    expect({ code, out }).toEqual({ code: 3, out: "" });
    expect(err).toContain(one);
    expect(err).toContain(other);
    expect((await command("census", model, "--diff", folder)).code).toBe(3);
  });

  test("a reader that goes away early is no error", async () => {
    const running = new Running(["census", model, "--json"]);
    running.process.stdout?.destroy();
    expect((await running.done).code).toBe(0);
  });

  test("nor is one of the progress, and the result comes all the same", async () => {
    const running = new Running(["census", model, "--svg", join(folder, "again.svg")]);
    running.process.stderr?.destroy();
    const { code, out } = await running.done;
    expect(code).toBe(0);
    expect(out).toContain("15 skips");
  });
});

describe("doctor", () => {
  test("says of each part whether it is well", async () => {
    const { code, out } = await command("doctor", "--data", join(folder, "store"), "--port", "0");
    expect(code).toBe(0);
    for (const part of ["node", "runtime", "cores", "memory", "store", "port"]) {
      expect(out).toMatch(new RegExp(`^(ok|warning)\\s+${part} `, "m"));
    }
    expect(out).toContain("execution providers: cpu");
  });

  test("and what to do where it is not", async () => {
    const file = join(folder, "occupied");
    await writeFile(file, "");
    const { code, out } = await command("doctor", "--data", file);
    expect(code).toBe(4);
    expect(out).toMatch(/^error +store .*\n +.*--data DIR/m);
  });

  test("looks at the store and makes none", async () => {
    const store = join(folder, "not", "there");
    const { code, out } = await command("doctor", "--data", store);
    expect(code).toBe(0);
    expect(out).toMatch(/^ok +store .*no store yet/m);
    await expect(readdir(join(folder, "not"))).rejects.toThrow();
  });

  test("looks at every version that an alias points to", async () => {
    const store = join(folder, "kept");
    const registry = await Registry.open(store);
    const metadata = { createdBy: "test", metrics: {} };
    const by = { actor: "test", reason: "a test", override: true };
    for (const [text, alias] of [
      ["one", "stable"],
      ["two", "canary"],
    ] as const) {
      const { version } = await registry.push("m", Buffer.from(text), { metadata });
      await registry.setAlias("m", alias, version.version, by);
      if (alias === "canary") await writeFile(await registry.modelPath(version), "changed");
    }
    await registry.close();
    const { code, out, err } = await command("doctor", "--json", "--data", store);
    expect(code).toBe(4);
    expect(err).toContain("not well");
    const { schema, findings } = JSON.parse(out) as { schema: string; findings: Finding[] };
    expect(schema).toBe("skipway.doctor/1");
    expect(findings.find((one) => one.id === "store")?.text).toContain("1 model");
    expect(findings.filter((one) => one.id === "model")).toEqual([
      { id: "model", state: "ok", text: expect.stringContaining("m version 1 (stable)") },
      {
        id: "model",
        state: "error",
        text: expect.stringMatching(/m version 2 \(canary\): .*changed/),
        fix: expect.any(String),
      },
    ]);
  });

  test("its judgements", () => {
    expect(nodeFinding("20.19.0").state).toBe("ok");
    expect(nodeFinding("20.18.9")).toMatchObject({
      state: "error",
      fix: expect.stringContaining("20.19"),
    });
    expect(nodeFinding("22.0.0").state).toBe("ok");
    expect(coresFinding(1).state).toBe("warning");
    expect(memoryFinding(2 ** 28).state).toBe("warning");
    expect(memoryFinding(2 ** 34).state).toBe("ok");
    const findings = [coresFinding(4), memoryFinding(1)];
    expect(findingLines(findings, true, false)).toHaveLength(2);
  });
});

test("colour is for terminals", async () => {
  const { err } = await skipway("census", join(folder, "none.onnx"));
  expect(err).not.toContain("\u001b[");
});

test("a command that waits or computes is ended at once by Ctrl-C", async () => {
  const pipe = join(folder, "pipe");
  execFileSync("mkfifo", [pipe]);
  const running = new Running(["census", pipe]);
  // Opens when the command does, so that it is well under way.
  const end = await open(pipe, "w");
  running.kill("SIGINT");
  expect(await running.done).toEqual({ code: null, out: "", err: "" });
  await end.close();
});
