import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  coresFinding,
  findingLines,
  memoryFinding,
  nodeFinding,
} from "../src/cli/commands/doctor.ts";
import { starter } from "../src/nn/models/starter.ts";
import { buildNet } from "../src/nn/net.ts";
import { modelOf } from "../src/onnx/onnx-model.ts";
import { Running, skipway } from "./cli.ts";

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
  test.each([[], ["up"], ["census"], ["doctor"]])(
    "%s --help ends well and shows an example",
    async (...command) => {
      const { code, out } = await skipway(...command.filter(Boolean), "--help");
      expect(code).toBe(0);
      expect(out).toContain("Example:\n  $ skipway");
    },
  );

  test("--version", async () => {
    const { out } = await skipway("--version");
    expect(out).toBe(`${JSON.parse(await readFile("package.json", "utf8")).version}\n`);
  });

  test.each([
    [["cencus"], /unknown command 'cencus'[\s\S]*census/],
    [["up", "--port", "high"], /--port.*whole number from 0 to 65535/],
    [["census"], /missing required argument 'model'/],
    [["census", "x.onnx", "--batch", "0"], /--batch/],
    [["doctor", "--nonsense"], /unknown option/],
  ])("%j is wrong usage", async (args, why) => {
    const { code, err } = await skipway(...args);
    expect(code).toBe(2);
    expect(err).toMatch(why);
  });
});

describe("census", () => {
  test("a table, with a picture beside it", async () => {
    const svg = join(folder, "skips.svg");
    const { code, out, err } = await skipway("census", model, "--svg", svg, "--batch", "4");
    expect(code).toBe(0);
    expect(out).toContain("15 skips: 15 identity");
    expect(out.split("\n").filter((line) => /^s\d+ /.test(line))).toHaveLength(15);
    expect(out).toContain("16.0 KiB");
    expect(err).toBe(`picture: ${svg}\n`);
    expect(await readFile(svg, "utf8")).toMatch(/^<svg /);
  });

  test("one JSON document", async () => {
    const { out, err } = await skipway("census", model, "--json");
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

  test("a file that is no model, and a picture that cannot be written", async () => {
    const text = join(folder, "text.onnx");
    await writeFile(text, "hello");
    expect(await skipway("census", text)).toMatchObject({ code: 3, out: "" });
    expect((await skipway("census", join(folder, "none.onnx"))).code).toBe(3);
    expect((await skipway("census", model, "--svg", join(folder, "no", "where.svg"))).code).toBe(4);
  });

  test("a reader that goes away early is no error", async () => {
    const running = new Running(["census", model, "--json"]);
    running.process.stdout?.destroy();
    expect((await running.done).code).toBe(0);
  });
});

describe("doctor", () => {
  test("says of each part whether it is well", async () => {
    const { code, out } = await skipway("doctor", "--data", join(folder, "store"), "--port", "0");
    expect(code).toBe(0);
    for (const part of ["node", "runtime", "cores", "memory", "store", "port"]) {
      expect(out).toMatch(new RegExp(`^(ok|warning)\\s+${part} `, "m"));
    }
    expect(out).toContain("execution providers: cpu");
  });

  test("and what to do where it is not", async () => {
    const file = join(folder, "occupied");
    await writeFile(file, "");
    const { code, out } = await skipway("doctor", "--data", file);
    expect(code).toBe(4);
    expect(out).toMatch(/^error +store .*\n +.*--data DIR/m);
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

test("colour is for terminals, and NO_COLOR is obeyed", async () => {
  const { err } = await skipway("census", join(folder, "none.onnx"));
  expect(err).not.toContain("\u001b[");
});
