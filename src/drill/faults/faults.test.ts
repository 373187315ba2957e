import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { sound } from "../../../test/sound.ts";
import { parseGraph } from "../../graph/parse.ts";
import { nodesWithin } from "../../graph/query.ts";
import { float32, float32Values, int64, int64Values, type Tensor } from "../../graph/tensor.ts";
import { dense, flatten, relu, sequential } from "../../nn/layers/index.ts";
import { buildNet } from "../../nn/net.ts";
import type { Model } from "../../onnx/model.ts";
import { modelOf } from "../../onnx/onnx-model.ts";
import { loadModel } from "../../onnx/read.ts";
import { encodeModel } from "../../onnx/write.ts";
import { inProcessRunner } from "../../runtime/in-process.ts";
import type { Tensors } from "../../runtime/runner.ts";
import { digits } from "../../train/data.ts";
import { iterationsFor, type Measure } from "./calibrate.ts";
import { failing, hungry, notNumbers, slow, wrong } from "./model-faults.ts";
import { crash, flipBits, freeze, thaw } from "./outside.ts";

// Faulty models on the real runtime: each does what it says, to the inputs that it says, and nothing else.

const data = await digits();
const COUNT = 1437;
const net = modelOf(
  buildNet(sequential(flatten(), dense(16), relu(), dense(10)), { input: data.input }),
);

function images(from: number, count: number): Tensors {
  const pixels = data.train.inputs.slice(from * 64, (from + count) * 64);
  return new Map([["image", float32([count, 1, 8, 8], pixels)]]);
}

async function ask(model: Model, inputs: Tensors): Promise<Tensor> {
  sound(model.graph);
  await using session = await inProcessRunner().load({ bytes: encodeModel(model) });
  const [first] = (await session.run(inputs)).values();
  if (first === undefined) throw new Error("no output");
  return first;
}

/** Largest score of each row. */
function labels(scores: Tensor): number[] {
  const values = float32Values(scores);
  return Array.from({ length: values.length / 10 }, (_, row) => {
    const own = [...values.subarray(row * 10, row * 10 + 10)];
    return own.indexOf(Math.max(...own));
  });
}

/** Rows of the digits that a model fails alone, with the ids of its errors. */
async function failures(model: Model, count: number): Promise<Map<number, string>> {
  await using session = await inProcessRunner().load({ bytes: encodeModel(model) });
  const failed = new Map<number, string>();
  for (let i = 0; i < count; i++) {
    await session.run(images(i, 1)).catch((error: unknown) => {
      const found = error as { diagnostics?: readonly { id: string }[] };
      failed.set(i, found.diagnostics?.[0]?.id ?? String(error));
    });
  }
  return failed;
}

/** Within five standard deviations of a binomial. */
function expectShare(count: number, of: number, share: number): void {
  expect(Math.abs(count / of - share)).toBeLessThan(5 * Math.sqrt((share * (1 - share)) / of));
}

describe("a slow model", () => {
  test("gives the same numbers, and the runtime's optimiser leaves its loop where it is", async () => {
    const plain = await ask(net, images(0, 5));
    const slowed = slow(net, { iterations: 7 });
    expect(float32Values(await ask(slowed, images(0, 5)))).toEqual(float32Values(plain));
    const folder = await mkdtemp(join(tmpdir(), "skipway-faults-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const path = join(folder, "optimised.onnx");
    const bytes = encodeModel(slowed);
    await (await inProcessRunner().load({ bytes }, { saveOptimized: path })).close();
    const kept = nodesWithin((await loadModel(path)).graph);
    expect(kept.some(({ op }) => op === "Loop")).toBe(true);
    expect(kept.some(({ op }) => op === "Tanh")).toBe(true);
  });

  test("answers numbers also where an input is none", async () => {
    const inputs = new Map([["image", float32([1, 1, 8, 8], Array(64).fill(Number.NaN))]]);
    const graph = parseGraph(`<opset_import: ["" : 20]>
      g (float[N,1,8,8] image) => (float[N,1,8,8] y) { y = Relu (image) }`);
    const y = await ask(slow(modelOf(graph), { iterations: 2 }), inputs);
    expect(float32Values(y).every((value) => value === 0 || Number.isNaN(value))).toBe(true);
  });

  test("a share of the digits makes a run go round the loop, and a batch that has one of them", async () => {
    const share = 0.05;
    const faulty = slow(net, { iterations: 3, share });
    sound(faulty.graph);
    const loop = nodesWithin(faulty.graph).find(({ op }) => op === "Loop");
    // How often it goes round is its first input: shown as one more output.
    const trips = { name: loop?.inputs[0] ?? "", dtype: "int64" as const, shape: [] };
    const shown = modelOf({ ...faulty.graph, outputs: [...faulty.graph.outputs, trips] });
    await using session = await inProcessRunner().load({ bytes: encodeModel(shown) });
    const rounds = async (from: number, count: number): Promise<number> => {
      const found = (await session.run(images(from, count))).get(trips.name);
      return found === undefined ? -1 : Number(int64Values(found)[0]);
    };
    const each: number[] = [];
    for (let i = 0; i < COUNT; i++) each.push(await rounds(i, 1));
    expect(new Set(each)).toEqual(new Set([0, 3]));
    expectShare(each.filter((one) => one === 3).length, COUNT, share);
    expect(await rounds(0, COUNT)).toBe(3);
  });

  test("iterations follow from what a run and an iteration take", async () => {
    // A model of 6 ms whose iterations take 0.25 ms.
    const measure: Measure = async (model) => {
      const loop = nodesWithin(model.graph).find(({ op }) => op === "Loop");
      const trips = model.graph.initializers.get(loop?.inputs[0] ?? "");
      return 6 + (trips === undefined ? 0 : 0.25 * Number(int64Values(trips as Tensor)[0]));
    };
    expect(await iterationsFor(net, 18, measure)).toBe(48);
    expect(await iterationsFor(net, 5, measure)).toBe(1);
  });
});

describe("a wrong model", () => {
  test("5 % of the digits get another label, the same ones alone and in a batch", async () => {
    const plain = labels(await ask(net, images(0, COUNT)));
    const faulty = wrong(net);
    const all = labels(await ask(faulty, images(0, COUNT)));
    const changed = all.flatMap((label, i) => (label === plain[i] ? [] : [i]));
    expectShare(changed.length, COUNT, 0.05);
    const [first = 0] = changed;
    expect(labels(await ask(faulty, images(first, 1)))).toEqual([all[first]]);
    expect(labels(await ask(faulty, images(first, 7)))).toEqual(all.slice(first, first + 7));
  });

  test("labels that are whole numbers are off by one", async () => {
    const graph = parseGraph(`<opset_import: ["" : 13]>
      g (int64[N,S] ids) => (int64[N] label) {
        label = ArgMax <axis = 1, keepdims = 0> (ids)
      }`);
    const ids = Array.from({ length: 600 }, (_, i) => (i * 7919) % 1009);
    const inputs = new Map([["ids", int64([200, 3], ids)]]);
    const [plain, faulty] = [modelOf(graph), wrong(modelOf(graph), { share: 0.3 })];
    const right = int64Values(await ask(plain, inputs));
    const off = int64Values(await ask(faulty, inputs)).filter((label, i) => label !== right[i]);
    expectShare(off.length, 200, 0.3);
  });
});

describe("models that fail", () => {
  test("2 % of the digits make the runtime fail, and a batch that has one of them", async () => {
    const faulty = failing(net);
    const failed = await failures(faulty, COUNT);
    expectShare(failed.size, COUNT, 0.02);
    expect(new Set(failed.values())).toEqual(new Set(["runtime/failed"]));
    const [first = 0] = failed.keys();
    await expect(ask(faulty, images(first, 4))).rejects.toThrow();
    const good = Array.from({ length: COUNT }, (_, i) => i).find((i) => !failed.has(i)) ?? 0;
    const same = await ask(net, images(good, 1));
    expect(float32Values(await ask(faulty, images(good, 1)))).toEqual(float32Values(same));
  });

  test("some inputs find no memory, and a smaller hunger is answered", async () => {
    const failed = await failures(hungry(net, { share: 0.1 }), 200);
    expectShare(failed.size, 200, 0.1);
    expect(new Set(failed.values())).toEqual(new Set(["runtime/out-of-memory"]));
    const [first = 0] = failed.keys();
    const modest = hungry(net, { share: 0.1, bytes: 2 ** 24 });
    const same = await ask(net, images(first, 1));
    expect(float32Values(await ask(modest, images(first, 1)))).toEqual(float32Values(same));
  });

  test("some answers are no numbers, whole rows of them", async () => {
    const values = float32Values(await ask(notNumbers(net), images(0, COUNT)));
    const rows = Array.from({ length: COUNT }, (_, row) =>
      values.subarray(row * 10, row * 10 + 10),
    );
    const none = rows.filter((row) => row.every(Number.isNaN));
    expectShare(none.length, COUNT, 0.02);
    expect(rows.filter((row) => row.some(Number.isNaN))).toHaveLength(none.length);
  });
});

describe("where a fault is put", () => {
  test("behind an output that the model itself reads, also inside a branch", async () => {
    const graph = parseGraph(`<opset_import: ["" : 20]>
      g (float[N,2] x, bool c) => (float[N,2] y, float[N,2] z) {
        y = Relu (x)
        z = If (c) <
          then_branch = t () => (float[N,2] a) { a = Add (y, y) },
          else_branch = e () => (float[N,2] b) { b = Identity (y) }
        >
      }`);
    const c: Tensor = {
      dtype: "bool",
      shape: [],
      data: { kind: "bytes", bytes: Uint8Array.of(1) },
    };
    const inputs = new Map([["x", float32([1, 2], [1, 2])]]).set("c", c);
    const faulty = notNumbers(modelOf(graph), { share: 1 });
    sound(faulty.graph);
    await using session = await inProcessRunner().load({ bytes: encodeModel(faulty) });
    const { y, z } = Object.fromEntries(await session.run(inputs));
    expect(y && [...float32Values(y)]).toEqual([Number.NaN, Number.NaN]);
    expect(z && [...float32Values(z)]).toEqual([2, 4]);
  });

  test("a model without numbers, and one of an old operator set, say what is wrong", () => {
    const text = parseGraph(`<opset_import: ["" : 20]>
      g (string[N] x) => (string[N] y) { y = Identity (x) }`);
    expect(() => wrong(modelOf(text))).toThrow("no input and output of numbers");
    const old = parseGraph(`<opset_import: ["" : 9]>
      g (float[N,2] x) => (float[N,2] y) { y = Relu (x) }`);
    expect(() => wrong(modelOf(old))).toThrow("operator set 9");
  });
});

describe("faults from outside", () => {
  test("a frozen process does nothing until it is thawed; a crashed one is gone", async () => {
    const child = spawn(process.execPath, ["-e", "process.stdin.pipe(process.stdout)"]);
    const pid = child.pid ?? 0;
    const exited = once(child, "exit");
    child.stdin.write("1");
    await once(child.stdout, "data");
    freeze(pid);
    const state = async () => (await readFile(`/proc/${pid}/stat`, "utf8")).split(") ")[1]?.[0];
    if (process.platform === "linux") {
      while ((await state()) !== "T") await new Promise((resolve) => setTimeout(resolve, 5));
    }
    thaw(pid);
    child.stdin.write("2");
    expect(String((await once(child.stdout, "data"))[0])).toBe("2");
    crash(pid);
    expect(await exited).toEqual([null, "SIGKILL"]);
    thaw(pid);
  });

  test("bits of a file are flipped, also of one that may only be read", async () => {
    const folder = await mkdtemp(join(tmpdir(), "skipway-faults-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const path = join(folder, "blob");
    await writeFile(path, Buffer.alloc(1000));
    await chmod(path, 0o444);
    await flipBits(path, { count: 8 });
    const bits = [...(await readFile(path))].reduce((sum, byte) => sum + (byte === 0 ? 0 : 1), 0);
    expect(bits).toBe(8);
    expect((await stat(path)).mode & 0o777).toBe(0o444);
  });
});
