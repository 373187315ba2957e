import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SkipwayError } from "../base/errors.ts";
import * as nn from "../nn/index.ts";
import { type Dataset, digits } from "./data.ts";
import { type TrainOptions, train } from "./train.ts";

let folder = "";
let data: Dataset;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-diverged-"));
  const full = await digits();
  const head = (part: Dataset["train"], count: number): Dataset["train"] => ({
    inputs: part.inputs.subarray(0, count * 64),
    labels: part.labels.subarray(0, count),
    count,
  });
  data = { ...full, train: head(full.train, 64), holdout: head(full.holdout, 16) };
});
afterAll(() => rm(folder, { recursive: true }));

const options: TrainOptions = {
  loss: "cross-entropy",
  optimizer: nn.sgd({ rate: 0.1, momentum: 0.9 }),
  epochs: 3,
  batch: 32,
};

describe("what goes wrong on the way", () => {
  const flat = nn.sequential(nn.flatten(), nn.dense(10));
  const notesOf = async (net: nn.Layer, more: Partial<TrainOptions>, given = data) => {
    const error = await train(net, given, { ...options, ...more }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (!(error instanceof SkipwayError)) throw new Error("training ends in a finding");
    return error.diagnostics.flatMap(({ id, where, text, notes }) => [id, where, text, ...notes]);
  };

  test("the node that gave the first number that is none, and what it read", async () => {
    const logs = nn.layer("log", (net, x) => net.emit("Log", [x], { name: "log" }));
    const checkpoint = join(folder, "never.safetensors");
    const more = { lowering: "plain", checkpoint } as const;
    const found = await notesOf(nn.sequential(nn.flatten(), logs, nn.dense(10)), more);
    expect(found.slice(0, 2)).toEqual(["train/diverged", "epoch 1, step 1"]);
    expect(found[3]).toMatch(
      /^the first is in ".*" of node log\.log \(Log\): \d+ infinite of 2048/,
    );
    expect(found[4]).toMatch(/^it read "flatten.*", from 0\.000 to 1\.000$/);
    // Nothing is left behind that a run would go on from.
    await expect(readFile(checkpoint)).rejects.toThrow("ENOENT");
  });

  test("weights that are no numbers are told in the step that made them", async () => {
    const optimizer = nn.sgd({ rate: 1e38, momentum: 0.9 });
    const found = await notesOf(flat, { optimizer, schedule: "constant" });
    expect(found.slice(0, 2)).toEqual(["train/diverged", expect.stringMatching("epoch 1, step")]);
    expect(found[3]).toMatch(/\((Mul|Sub|Add|Gemm|MatMul|SoftmaxCrossEntropyLoss)\)/);
  });

  test("in the runtime's blocked layout too", async () => {
    const net = nn.sequential(
      nn.conv(16, 3),
      nn.relu(),
      nn.residual(16),
      nn.globalPool(),
      nn.dense(10),
    );
    const optimizer = nn.sgd({ rate: 1e30, momentum: 0.9 });
    const found = await notesOf(net, { optimizer, schedule: "constant" });
    expect(found[0]).toBe("train/diverged");
    expect(found[3]).toMatch(/^the first is in ".+" of node .+: /);
  });

  test("data that holds what is no number is named", async () => {
    const inputs = Float32Array.from(data.train.inputs);
    inputs.fill(Number.NaN, 64, 128);
    const given = { ...data, train: { ...data.train, inputs } };
    const found = await notesOf(flat, {}, given);
    expect(found[3]).toBe('"image", which was given, has 64 NaN of 2048 elements');
  });

  test("labels that are no classes, of a wrong type or too few, and inputs likewise", async () => {
    const { train: own } = data;
    const labels = Uint8Array.from(own.labels);
    labels[7] = 10;
    labels[9] = 255;
    const broken: [Partial<Dataset["train"]>, string[]][] = [
      [{ labels }, ["train/labels", `${data.name}, train, example 7`]],
      [{ labels: labels.subarray(1) }, ["train/labels", `${data.name}, train`]],
      [
        { labels: Float32Array.from(labels) as unknown as Uint8Array },
        ["train/labels", `${data.name}, train`],
      ],
      [{ inputs: own.inputs.subarray(1) }, ["train/inputs", `${data.name}, train`]],
    ];
    for (const [part, expected] of broken) {
      const found = await notesOf(flat, {}, { ...data, train: { ...own, ...part } });
      expect(found.slice(0, 2)).toEqual(expected);
    }
    const first = await notesOf(flat, {}, { ...data, train: { ...own, labels } });
    expect(first.slice(2)).toEqual([
      "has the label 10; there are 10 classes, so labels are 0 to 9",
      "2 examples have such labels",
    ]);
    expect((await notesOf(flat, { batch: 2.5 }))[0]).toBe("train/batch");
  });
});
