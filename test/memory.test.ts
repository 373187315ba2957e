// `skipway memory` from the command line: its document, and the order that it writes.

import { link, mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseGraph } from "../src/graph/parse.ts";
import { float32, float32Values } from "../src/graph/tensor.ts";
import { modelOf } from "../src/onnx/onnx-model.ts";
import { loadModel } from "../src/onnx/read.ts";
import { inProcessRunner } from "../src/runtime/in-process.ts";
import { command as skipway } from "./cli.ts";

/** Two wide values that need not be alive together. */
const BRANCHES = `<ir_version: 10, opset_import: ["": 20]>
net (float[N, 4] x) => (float[N, 1] y)
{
    ["a"] a = Concat <axis = 1> (x, x, x, x)
    ["b"] b = Concat <axis = 0> (x, x, x, x)
    ["narrow a"] an = ReduceMax <keepdims = 0> (a)
    ["narrow b"] bn = ReduceMin <keepdims = 0> (b)
    ["sum"] s = Add (an, bn)
    ["each"] e = ReduceMax <keepdims = 1> (s)
    ["y"] y = Expand (e, shape)
}`.replace("(float[N, 1] y)", "(float[N, 1] y)\n<int64[2] shape = {1, 1}>");

let folder = "";
let model = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-memory-"));
  model = join(folder, "model.onnx");
  await modelOf(parseGraph(BRANCHES.replaceAll("N", "1"))).save(model);
});
afterAll(() => rm(folder, { recursive: true }));

/** What the runtime answers, and the nodes of the file in order. */
async function answerOf(path: string): Promise<{ y: number[]; names: string[] }> {
  await using session = await inProcessRunner().load({ path });
  const found = await session.run(new Map([["x", float32([1, 4], [3, -7, 2, 5])]]));
  const y = found.get("y");
  const { graph } = await loadModel(path);
  return {
    y: y === undefined ? [] : [...float32Values(y)],
    names: graph.nodes.map(({ name }) => name),
  };
}

test("the document, and an order with a lower peak that computes the same", async () => {
  const out = join(folder, "ordered.onnx");
  const before = await readFile(model);
  const { code, out: text } = await skipway("memory", model, "--json", "--order", out);
  expect(code).toBe(0);
  const document = JSON.parse(text);
  expect(document).toMatchObject({ schema: "skipway.memory/1", mode: "inference", batch: 1 });
  // In the file both wide values, 64 bytes each, are alive when `b` is made from `x`, 16 bytes.
  expect(document.peakBytes).toBe(64 + 64 + 16);
  expect(document.peakNode).toBe("b");
  expect(document.bestOrderPeakBytes).toBe(64 + 16 + 4);
  expect(document.orderOptimal).toBe(true);
  expect(document.timeline).toHaveLength(7);
  const standing = document.atPeak.reduce(
    (sum: number, one: { bytes: number }) => sum + one.bytes,
    0,
  );
  expect(standing).toBe(document.peakBytes);
  for (const field of ["weightsBytes", "lowerBoundBytes", "arenaBytes", "runtimePeakBytes"]) {
    expect(document[field]).toBeTypeOf("number");
  }
  expect(document.withoutSkipsPeakBytes).toBe(document.peakBytes);
  expect(document.skipTax).toBe(0);

  expect(await readFile(model)).toEqual(before);
  const [old, ordered] = [await answerOf(model), await answerOf(out)];
  expect(ordered.y).toEqual([-2]);
  expect(ordered.y).toEqual(old.y);
  expect(ordered.names).not.toEqual(old.names);
  expect(ordered.names.toSorted()).toEqual(old.names.toSorted());
  const again = JSON.parse((await skipway("memory", out, "--json")).out);
  expect(again.peakBytes).toBe(document.bestOrderPeakBytes);
});

test("the order is not written over the model, by whatever name", async () => {
  const before = await readFile(model);
  const [soft, hard] = [join(folder, "soft.onnx"), join(folder, "hard.onnx")];
  await Promise.all([symlink(model, soft), link(model, hard)]);
  for (const out of [soft, hard]) {
    const { code, err } = await skipway("memory", model, "--order", out);
    expect([code, err]).toEqual([2, expect.stringContaining("does not write over the model")]);
  }
  expect(await readFile(model)).toEqual(before);
});

test("a batch size that the model cannot have is told, not passed over", async () => {
  const { code, err } = await skipway("memory", model, "--batch", "8");
  expect(code).toBe(0);
  expect(err).toContain("--batch changes nothing");
});

test("a plot for people, a picture as a file, and neither in the JSON", async () => {
  const svg = join(folder, "memory.svg");
  const { out, err } = await skipway("memory", model, "--svg", svg);
  expect(out).toMatch(/▼ b\n/);
  expect(out).toContain("144 B ┤");
  expect(err).toContain(`picture: ${svg}`);
  expect(await readFile(svg, "utf8")).toContain("peak 144 B at b");
  const again = await skipway("memory", model, "--svg", svg, "--json");
  expect(again.out).not.toContain("▼");
  expect(JSON.parse(again.out).peakBytes).toBe(144);
  const refused = await skipway("memory", model, "--svg", model);
  expect([refused.code, refused.err]).toEqual([2, expect.stringContaining("--svg does not write")]);
});

describe("--size", () => {
  let text = "";
  beforeAll(async () => {
    text = join(folder, "text.onnx");
    const graph = parseGraph(`<ir_version: 10, opset_import: ["": 20]>
      net (float[N, S, 4] x) => (float[N, S, 4] y) { ["a"] a = Neg (x) ["y"] y = Add (x, a) }`);
    await modelOf(graph).save(text);
  });

  test("gives dimensions a value, those of the batch too, in every command that counts bytes", async () => {
    const run = async (...args: string[]) => JSON.parse((await skipway(...args, "--json")).out);
    const found = await run("memory", text, "--size", "S=5", "--batch", "2");
    expect(found).toMatchObject({ batch: 2, sizes: { S: 5 }, unknown: 0 });
    expect(found.peakBytes).toBe(3 * 2 * 5 * 4 * 4);
    expect(await run("memory", text, "--size", "S=5", "--size", "N=2")).toEqual(found);
    expect(await run("census", text, "--size", "S=5")).toMatchObject({ batch: 1, sizes: { S: 5 } });
    expect((await run("lint", text, "--size", "S=5")).summary).toEqual({
      error: 0,
      warning: 0,
      info: 0,
    });
  });

  test("is asked for where it is missing", async () => {
    const { err } = await skipway("memory", text);
    expect(err).toContain("3 values of unknown size count as nothing");
    expect(err).toContain("--size S=...");
  });

  test.each([
    [["T=5"], /no dimension "T"; it has N, S/],
    [["S"], /a name and a number, as S=128/],
    [["S=many"], /whole number/],
    [["S=1", "--size", "S=2"], /"S" has a size already/],
    [["N=2", "--batch", "3"], /"N" is the batch: give --batch or --size/],
    [["N=0"], /at least 1/],
  ])("%j is wrong usage", async (size, why) => {
    const { code, err } = await skipway("memory", text, "--size", ...size);
    expect([code, err]).toEqual([2, expect.stringMatching(why)]);
  });
});
