import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { float32, int64 } from "../graph/tensor.ts";
import * as nn from "../nn/index.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { passedGates } from "./gates.ts";
import { scrape } from "./observed-server.test-helper.ts";
import { ModelServer } from "./server.ts";

const MIB = 1_048_576;

interface Answer {
  readonly outputs: readonly { readonly name: string; readonly data: number[] }[];
}

/** The first element of every example is the logit of the gate. */
const first = nn.layer("first", (net, x) =>
  net.emit("Slice", [x, ...[[0], [1], [1]].map((one) => net.constant(int64([1], one)))]),
);

test("rows decide together: the block is left out unless the mean of all lies above", () => {
  const gates = new Map([["g", 0.5]]);
  const answer = (...values: number[]) => new Map([["g", float32([values.length, 1], values)]]);
  const skipped = (...answers: ReturnType<typeof answer>[]) =>
    passedGates(gates, answers).map((one) => one.skipped);
  expect(skipped(answer(0.9), answer(0.2, 0.2))).toEqual([true]);
  expect(skipped(answer(0.9), answer(0.5, 0.2))).toEqual([false]);
  expect(skipped(answer(0.5))).toEqual([true]);
  expect(skipped(answer(Number.NaN))).toEqual([true]);
  expect(skipped(answer())).toEqual([]);
  expect(skipped(new Map())).toEqual([]);
});

test("a server counts the rows that left a block out, whatever outputs were asked for", async () => {
  const folder = await mkdtemp(join(tmpdir(), "skipway-gates-"));
  const path = join(folder, "gated.onnx");
  const net = nn.sequential(nn.conditional(nn.dense(3), { gate: first }));
  const graph = nn.buildNet(net, { input: { name: "x", shape: [3] }, output: "y" });
  await modelOf(graph).save(path);
  const memory = { budgetBytes: 2048 * MIB, reserveBytes: 64 * MIB, bodiesBytesMax: 64 * MIB };
  // Each request alone: what one says decides for no other.
  const server = new ModelServer({ version: "1", memory, settings: { maxBatchRows: 1 } });
  try {
    await server.serve({ name: "m", version: 1, path, digest: "sha256:gated" });
    const at = await server.listen({ port: 0 });
    const ask = async (data: number[], outputs?: string[]): Promise<Record<string, number[]>> => {
      const inputs = [{ name: "x", shape: [data.length / 3, 3], datatype: "FP32", data }];
      const body = { inputs, ...(outputs && { outputs: outputs.map((name) => ({ name })) }) };
      const response = await fetch(`${at}/v2/models/m/infer`, {
        method: "POST",
        body: JSON.stringify(body),
      });
      const answer = (await response.json()) as Answer;
      return Object.fromEntries(answer.outputs.map(({ name, data: found }) => [name, found]));
    };
    const [gate = ""] = graph.outputs.flatMap(({ name }) => (name === "y" ? [] : [name]));
    const shut = [-2, 1, 0.5];
    expect(await ask(shut, ["y"])).toEqual({ y: shut });
    expect(Object.keys(await ask([...shut, ...shut]))).toEqual(["y", gate]);
    const open = await ask([2, 1, 0.5], ["y"]);
    expect(Object.keys(open)).toEqual(["y"]);
    expect(open["y"]).not.toEqual([2, 1, 0.5]);
    const families = await scrape(at);
    const count = (name: string) =>
      families.get(name)?.samples.map(({ labels, value }) => [labels["gate"], value]);
    expect(count("skipway_model_gated_rows")).toEqual([[gate, 4]]);
    expect(count("skipway_model_skips_taken")).toEqual([[gate, 3]]);
  } finally {
    await server.stop();
    await rm(folder, { recursive: true });
  }
});
