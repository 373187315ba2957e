// `skipway gradient` from the command line: the file that it writes, its document, and what it refuses.

import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseGraph } from "../src/graph/parse.ts";
import { float32, float32Values, int64 } from "../src/graph/tensor.ts";
import { modelOf } from "../src/onnx/onnx-model.ts";
import { loadModel } from "../src/onnx/read.ts";
import { verify } from "../src/ops/verify.ts";
import { inProcessRunner } from "../src/runtime/in-process.ts";
import { command as skipway } from "./cli.ts";

/** Two classes from two numbers, in an old operator set. */
const CLASSIFIER = `<opset_import: ["" : 10]>
  g (float[2,2] x) => (float[2,2] scores)
  <float[2,2] weight = {1, 2, 3, 4}, float[2] bias = {0.5, -0.5}, int64[1] unused = {0}>
  { h = Gemm (x, weight, bias)  scores = Clip <min = -100.0, max = 100.0> (h) }`;

let folder = "";
let model = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-gradient-"));
  model = join(folder, "model.onnx");
  await modelOf(parseGraph(CLASSIFIER)).save(model);
});
afterAll(() => rm(folder, { recursive: true }));

/** softmax(x·W + b) - onehot(label), over the batch. */
function expectedBias(
  x: readonly (readonly [number, number])[],
  labels: readonly number[],
): number[] {
  const sums = [0, 0];
  for (const [row, [a, b]] of x.entries()) {
    const scores = [a + 3 * b + 0.5, 2 * a + 4 * b - 0.5];
    const all = scores.reduce((sum, s) => sum + Math.exp(s), 0);
    for (const c of [0, 1]) {
      const one = Math.exp(scores[c] ?? 0) / all - (labels[row] === c ? 1 : 0);
      sums[c] = (sums[c] ?? 0) + one / x.length;
    }
  }
  return sums;
}

test("the model with gradients runs, and its document says what is in it", async () => {
  const out = join(folder, "out.onnx");
  const before = await readFile(model);
  const { code, out: text, err } = await skipway("gradient", model, "--out", out, "--json");
  expect([code, err]).toEqual([0, ""]);
  const document = JSON.parse(text);
  const schema = JSON.parse(await readFile("docs/reference/gradient.schema.json", "utf8"));
  const validate = new Ajv2020({ allErrors: true, strict: true }).compile(schema);
  expect(validate(document) ? [] : validate.errors).toEqual([]);
  const described = Object.keys(schema.properties).filter((name) => name !== "stepInput");
  expect(Object.keys(document).toSorted()).toEqual(described.toSorted());
  expect(document).toMatchObject({
    ...{ schema: "skipway.gradient/1", loss: "cross-entropy", mode: "eval", lossOutput: "loss" },
    target: { name: "label", dtype: "int64", shape: [2] },
  });
  expect(document.gradients).toEqual([
    { initializer: "weight", output: "grad.weight", dtype: "float32", shape: [2, 2] },
    { initializer: "bias", output: "grad.bias", dtype: "float32", shape: [2] },
  ]);
  expect(await readFile(model)).toEqual(before);
  expect(verify((await loadModel(out)).graph)).toEqual([]);
  await using session = await inProcessRunner().load({ path: out });
  expect([...session.inputs.keys()]).toEqual(["x", "label"]);
  expect([...session.outputs.keys()]).toEqual(["scores", "loss", "grad.weight", "grad.bias"]);
  const rows = [
    [0.1, -0.2],
    [-1, 0.5],
  ] as const;
  const found = await session.run(
    new Map([
      ["x", float32([2, 2], rows.flat())],
      ["label", int64([2], [1, 0])],
    ]),
  );
  const bias = found.get("grad.bias");
  const numbers = bias === undefined ? [] : [...float32Values(bias)];
  for (const [i, v] of expectedBias(rows, [1, 0]).entries()) expect(numbers[i]).toBeCloseTo(v, 5);
  // A label of another rank is the caller's fault, and told.
  const wrong = session.run(
    new Map([
      ["x", float32([2, 2], rows.flat())],
      ["label", int64([2, 1], [1, 0])],
    ]),
  );
  await expect(wrong).rejects.toThrow(/label.*int64\[2\]/);
});

test("a table for people, and a choice of weights", async () => {
  const out = join(folder, "mse.onnx");
  const args = ["gradient", model, "--out", out, "--loss", "mse", "--wrt", "b*"];
  const { code, out: text, err } = await skipway(...args);
  expect(code).toBe(0);
  expect(text).toContain("gradients of mse (eval) for 2 parameters in 1 weights");
  expect(text).toContain("further input: target float32[2,2]");
  expect(text).toMatch(/grad\.bias +float32\[2\]/);
  expect(text).not.toContain("grad.weight");
  expect(err).toBe(`with gradients: ${out}\n`);
});

test("an option that changes nothing is told", async () => {
  const args = ["gradient", model, "--out", join(folder, "l1.onnx"), "--loss", "l1"];
  const { code, err } = await skipway(...args, "--class-axis", "1");
  expect([code, err]).toEqual([0, expect.stringContaining("--class-axis changes nothing")]);
});

test("weights beside a model stay there, and are found from another folder", async () => {
  const beside = join(folder, "beside.onnx");
  await modelOf(parseGraph(CLASSIFIER)).save(beside, {
    externalData: { location: "weights.bin", bytesMin: 1 },
  });
  const elsewhere = await mkdtemp(join(folder, "elsewhere-"));
  for (const out of [join(folder, "near.onnx"), join(elsewhere, "far.onnx")]) {
    expect((await skipway("gradient", beside, "--out", out)).code).toBe(0);
    await using session = await inProcessRunner().load({ path: out });
    expect(session.outputs.has("grad.weight")).toBe(true);
  }
  expect((await readdir(elsewhere)).length).toBeGreaterThan(0);
});

test.each([
  [["--wrt", "wight"], 3, /gradient\/unknown-name[\s\S]*"weight", "bias"[\s\S]*fix: /],
  [["--wrt", "unused"], 3, /gradient\/not-float[\s\S]*int64/],
  [["--class-axis", "2"], 3, /loss\/scores[\s\S]*2 axes[\s\S]*axis 2/],
  [["--loss", "hinge"], 2, /--loss.*one of cross-entropy, mse/],
  [["--mode", "test"], 2, /--mode.*one of eval, train/],
  [["--class-axis", "last"], 2, /--class-axis.*whole number/],
  [["--wrt", ","], 2, /--wrt.*all, or names/],
])("%j is refused with %i, and nothing is written", async (args, expected, why) => {
  const out = join(folder, "none.onnx");
  const { code, err } = await skipway("gradient", model, "--out", out, ...args);
  expect(code).toBe(expected);
  expect(err).toMatch(why);
  expect(await readdir(dirname(out))).not.toContain("none.onnx");
});

test("an output is needed, and is not the model", async () => {
  expect(await skipway("gradient", model)).toMatchObject({
    ...{ code: 2, err: expect.stringMatching(/--out <out>.* not specified/) },
  });
  const over = await skipway("gradient", model, "--out", model);
  expect(over).toMatchObject({ code: 2, err: expect.stringContaining("does not write over") });
});

test("what no runtime would take is told before anything is built", async () => {
  const wrong = join(folder, "wrong.onnx");
  await modelOf(parseGraph(CLASSIFIER.replace('"" : 10', '"" : 11'))).save(wrong);
  const { code, err } = await skipway("gradient", wrong, "--out", join(folder, "none.onnx"));
  expect([code, err]).toEqual([3, expect.stringContaining("ops/unknown-attribute")]);
});

test("a file that is no model, and a folder that is not there", async () => {
  const broken = join(folder, "broken.onnx");
  await writeFile(broken, "no model");
  expect((await skipway("gradient", broken, "--out", join(folder, "x.onnx"))).code).toBe(3);
  const nowhere = join(folder, "nowhere", "x.onnx");
  expect((await skipway("gradient", model, "--out", nowhere)).code).toBe(4);
});
