// `skipway check` from the command line: a model against itself, against one that it cannot replace, and
// against objectives that it keeps and does not keep.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bytesOf, float32, tensor } from "../src/graph/tensor.ts";
import { inProcessRunner } from "../src/runtime/in-process.ts";
import { encodeSafetensors } from "../src/train/safetensors.ts";
import { Running, command as skipway } from "./cli.ts";
import { affineModel, slowModel, tinyClassifier } from "./models.ts";

let folder = "";
const file = (name: string): string => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-check-"));
  await writeFile(file("net.onnx"), tinyClassifier());
  await writeFile(file("other.onnx"), affineModel());
  await writeFile(file("labelled.safetensors"), await labelled());
});
afterAll(() => rm(folder, { recursive: true }));

/** Twenty examples, of which the classifier gets fifteen right: the labels are its own answers but for five. */
async function labelled(): Promise<Uint8Array> {
  await using session = await inProcessRunner().load({ bytes: tinyClassifier() });
  const [[name, { shape = [] }] = ["", { shape: [] }]] = session.inputs;
  const sizes = [20, ...shape.slice(1).map(Number)];
  const count = sizes.reduce((a, b) => a * b, 1);
  const x = float32(
    sizes,
    Float32Array.from({ length: count }, (_, i) => Math.sin(i * 1.7)),
  );
  const [scores] = (await session.run(new Map([[name, x]]))).values();
  if (scores === undefined) throw new Error("it has an output");
  const values = new Float32Array(Uint8Array.from(scores.data.bytes).buffer);
  const classes = values.length / 20;
  const labels = BigInt64Array.from({ length: 20 }, (_, i) => {
    const row = [...values.subarray(i * classes, (i + 1) * classes)];
    const best = row.indexOf(Math.max(...row));
    return BigInt(i < 5 ? (best + 1) % classes : best);
  });
  return encodeSafetensors(
    new Map([
      [name, x],
      ["label", tensor("int64", [20], bytesOf(labels))],
    ]),
    new Map(),
  );
}

async function check(...args: string[]) {
  const { code, out, err } = await skipway("check", ...args, "--data", file("store"), "--json");
  return { code, err, document: out === "" ? undefined : JSON.parse(out) };
}

const failedOf = (document: { rules: { id: string; passed: boolean }[] }): string[] =>
  document.rules.filter(({ passed }) => !passed).map(({ id }) => id);

describe("the release gate", () => {
  test("of a file without a store: the rules that need nothing else", async () => {
    const { code, document } = await check(file("net.onnx"));
    expect(code).toBe(0);
    expect(document).toMatchObject({
      schema: "skipway.check/1",
      passed: true,
      model: { path: file("net.onnx") },
    });
    const ids = document.rules.map(({ id }: { id: string }) => id);
    expect(ids).toEqual(["shapes", "memory", "golden", "hazards", "batch-invariance"]);
  });

  test("under load against objectives, and beside itself as the baseline", async () => {
    const { code, document } = await check(
      ...[file("net.onnx"), "--baseline", file("net.onnx"), "--objective", "p50=2s"],
      ...["--objective", "p99=0.001ms", "--rate", "250", "--seconds", "2"],
    );
    expect(code).toBe(1);
    // Whether the same model is as fast as itself depends on what else the machine does.
    expect(failedOf(document).filter((id) => id !== "latency-baseline")).toEqual(["latency-p99"]);
    const rules = new Map(
      document.rules.map((rule: { id: string; text: string }) => [rule.id, rule.text]),
    );
    expect(rules.get("latency-p50")).toContain("within");
    expect(rules.get("signature")).toContain("those of the baseline");
    expect([...rules.keys()]).toContain("latency-baseline");
    expect(document.profile.load.sent).toBeGreaterThan(400);
  });

  test("on labelled examples, beside a baseline that is as good", async () => {
    const args = [file("net.onnx"), "--labelled", file("labelled.safetensors")];
    const well = await check(...args, "--accuracy", "0.7");
    expect(well.document).toMatchObject({
      passed: true,
      profile: { accuracy: { count: 20, right: 15 } },
    });
    const badly = await check(...args, "--accuracy", "0.8");
    expect(failedOf(badly.document)).toEqual(["accuracy"]);
  });

  test("of a registered version is kept beside it, and the alias can move then", async () => {
    const store = ["--data", file("store")];
    await skipway("registry", "push", file("net.onnx"), ...store);
    expect((await skipway("registry", "alias", "net", "stable", "1", ...store)).code).toBe(1);
    const { document } = await check("net@1", "--memory", "1kB");
    expect(failedOf(document)).toEqual(["memory"]);
    expect((await skipway("registry", "alias", "net", "stable", "1", ...store)).code).toBe(1);
    expect((await check("net@1")).document).toMatchObject({
      passed: true,
      model: { name: "net", version: 1 },
    });
    expect((await skipway("registry", "alias", "net", "stable", "1", ...store)).code).toBe(0);
    await writeFile(file("store/slo.json"), '{"models":{"net":{"latency":{"p50":"1us"}}}}');
    const strict = await check("net@stable", "--rate", "100", "--seconds", "1");
    expect(failedOf(strict.document)).toEqual(["latency-p50"]);
    await rm(file("store/slo.json"));
  });

  test("a model that takes other inputs cannot replace its baseline", async () => {
    const { code, document } = await check(
      file("net.onnx"),
      "--baseline",
      file("other.onnx"),
      "--seconds",
      "1",
    );
    expect(code).toBe(1);
    expect(failedOf(document)).toContain("signature");
  });

  test("of a model that does not end is given up by a signal, and says no more than that", async () => {
    await writeFile(file("endless.onnx"), slowModel(1_000_000));
    const running = new Running(["check", file("endless.onnx"), "--data", file("store")]);
    setTimeout(() => running.kill("SIGTERM"), 1500);
    const { code, err } = await running.done;
    expect(err).toContain("interrupted by SIGTERM");
    expect(err).not.toContain("defect");
    expect(code).toBe(130);
  });

  test("is given up in its load run by one signal", async () => {
    const objective = ["--objective", "p99=1s", "--seconds", "60"];
    const running = new Running(["check", file("net.onnx"), ...objective, "--data", file("store")]);
    // Two seconds into the minute that it takes; earlier, where the machine is slow, it has to end as well.
    setTimeout(() => running.kill("SIGINT"), 3000);
    const { code, err } = await running.done;
    expect(err).toContain("interrupted by SIGINT");
    expect(code).toBe(130);
  }, 30_000);

  test.each([
    ["check", "--data"],
    ["registry", "push", "--data"],
  ])("of a model that does not end is given up in the limit: %s %s", async (...command) => {
    await writeFile(file("endless.onnx"), slowModel(1_000_000));
    const [data = "", ...names] = command.reverse();
    const args = [...names.reverse(), file("endless.onnx"), data, file("store"), "--limit", "1"];
    const { code, err } = await skipway(...args);
    expect(err).toContain("a run did not end within 1 s");
    expect(err).toContain("--limit SECONDS");
    expect(code).toBe(3);
  });

  test.each([
    [["NET", "--objective", "fast"], 2, "p99=50ms"],
    [["NET", "--accuracy", "0.9"], 2, "--labelled"],
    [["NET", "--memory", "much"], 2, "512MB"],
    [["NET", "--labelled", "NET"], 3, "safetensors"],
    [["nowhere@3"], 3, "the models are net"],
    [["NET", "--slo", "NET"], 3, "no JSON"],
  ])("%j ends with %i and says why", async (args, expected, text) => {
    const { code, err } = await check(
      ...args.map((arg) => (arg === "NET" ? file("net.onnx") : arg)),
    );
    expect(err).toContain(text);
    expect(code).toBe(expected);
  });
});
