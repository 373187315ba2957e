import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { idsOf } from "../../test/contracts/runner.ts";
import { sound } from "../../test/sound.ts";
import { SkipwayError } from "../base/errors.ts";
import { dtypeBytes } from "../graph/dtype.ts";
import {
  float32,
  float32Values,
  int64Values,
  scalar,
  type Tensor,
  tensor,
} from "../graph/tensor.ts";
import * as nn from "../nn/index.ts";
import { starter } from "../nn/models/starter.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import { batchesPerEpoch, epochBatches } from "./batches.ts";
import { blockInputs } from "./blocks.ts";
import { type Dataset, digits, parseIdx } from "./data.ts";
import { largest } from "./evaluate.ts";
import { gatherFlat } from "./layout.ts";
import { trainingProgram } from "./program.ts";
import { decodeSafetensors, encodeSafetensors } from "./safetensors.ts";
import { rateFactor } from "./schedule.ts";
import { type TrainOptions, train } from "./train.ts";

let folder = "";
let data: Dataset;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-train-"));
  const full = await digits();
  const head = (part: Dataset["train"], count: number): Dataset["train"] => ({
    inputs: part.inputs.subarray(0, count * 64),
    labels: part.labels.subarray(0, count),
    count,
  });
  data = { ...full, train: head(full.train, 200), holdout: head(full.holdout, 50) };
});
afterAll(() => rm(folder, { recursive: true }));

const small = nn.sequential(
  nn.conv(4, 3, { bias: false }),
  nn.batchNorm(),
  nn.relu(),
  nn.residual(4),
  nn.globalPool(),
  nn.dense(10),
);
const options: TrainOptions = {
  loss: "cross-entropy",
  optimizer: nn.sgd({ rate: 0.1, momentum: 0.9, weightDecay: 1e-3 }),
  epochs: 3,
  batch: 32,
  augment: "shift",
};

async function bytesAfter(more: Partial<TrainOptions> = {}): Promise<Uint8Array> {
  return encodeModel((await train(small, data, { ...options, ...more })).model);
}

describe("the digits", () => {
  test("are the 1,797 that they should be, in their fixed split", async () => {
    const full = await digits();
    expect([full.train.count, full.holdout.count, full.classes]).toEqual([1437, 360, 10]);
    expect(Math.max(...full.train.inputs)).toBe(1);
    expect([...full.train.labels.subarray(0, 10)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(full.digest).toMatch(/^sha256:[0-9a-f]{64}$/);
  });

  test("IDX files that are none are told apart", async () => {
    expect(() => parseIdx(new Uint8Array(3), 1, "f")).toThrow(/3 bytes long/);
    expect(() => parseIdx(Uint8Array.of(0, 0, 9, 1, 0, 0, 0, 0), 1, "f")).toThrow(/does not start/);
    expect(() => parseIdx(Uint8Array.of(0, 0, 8, 1, 0, 0, 0, 9, 1), 1, "f")).toThrow(/declares 9/);
    expect(await idsOf(digits(join(folder, "nowhere")))).toEqual(["data/unreadable"]);
  });
});

describe("batches", () => {
  const batching = { batch: 32, seed: 1, augment: "none" } as const;

  test("an epoch shows each example at most once, in an order of its own", () => {
    expect(batchesPerEpoch(data.train, 32)).toBe(6);
    const orders = [0, 1].map((epoch) => {
      const labels = [...epochBatches(data, epoch, batching)].flatMap((b) => [
        ...int64Values(b.labels),
      ]);
      expect(labels).toHaveLength(192);
      return labels.join();
    });
    expect(orders[0]).not.toBe(orders[1]);
    const again = [...epochBatches(data, 0, batching)].flatMap((b) => [...int64Values(b.labels)]);
    expect(again.join()).toBe(orders[0]);
  });

  test("a shift moves by at most one pixel and loses no ink but at the rim", () => {
    const centre = new Float32Array(64);
    centre[3 * 8 + 4] = 1;
    const one: Dataset = { ...data, train: { inputs: centre, labels: Uint8Array.of(0), count: 1 } };
    const seen = new Set<number>();
    for (let epoch = 0; epoch < 200; epoch++) {
      for (const { inputs } of epochBatches(one, epoch, { batch: 1, seed: 1, augment: "shift" })) {
        const values = [...float32Values(inputs)];
        expect(values.reduce((a, b) => a + b, 0)).toBe(1);
        seen.add(values.indexOf(1));
      }
    }
    const around = [-9, -8, -7, -1, 0, 1, 7, 8, 9].map((step) => 28 + step);
    expect([...seen].sort((a, b) => a - b)).toEqual(around);
  });
});

describe("the training graph", () => {
  test("one step of logistic regression is what float64 by hand gives", async () => {
    const net = nn.sequential(nn.flatten(), nn.dense(10));
    const graph = nn.buildNet(net, { input: data.input, output: "y", seed: 1 });
    const optimizer = nn.sgd({ rate: 0.5, momentum: 0.9, weightDecay: 0.01 });
    const program = trainingProgram(graph, { batch: 8, optimizer, watch: [] });
    sound(program.graph);
    await using session = await inProcessRunner().load({
      bytes: encodeModel(modelOf(program.graph)),
    });
    const [batch] = [...epochBatches(data, 0, { batch: 8, seed: 1, augment: "none" })];
    if (batch === undefined) throw new Error("a batch");
    // Biases start at 0, where a wrong decay would not show.
    const weights = gatherFlat(graph, program.parameters).map((w, i) => w + Math.cos(i) / 10);
    const momentum = Float32Array.from(weights, (_, i) => Math.sin(i) / 50);
    const found = await session.run(
      new Map([
        ["image", batch.inputs],
        ["label", batch.labels],
        ["parameters", float32([weights.length], weights)],
        ["momentum", float32([weights.length], momentum)],
        ["rate", scalar(0.25)],
      ]),
    );
    const x = float32Values(batch.inputs);
    const labels = [...int64Values(batch.labels)].map(Number);
    const gradient = new Float64Array(weights.length);
    let loss = 0;
    for (const [row, label] of labels.entries()) {
      const scores = Array.from({ length: 10 }, (_, c) => {
        let sum = weights[640 + c] ?? 0;
        for (let k = 0; k < 64; k++) sum += (weights[c * 64 + k] ?? 0) * (x[row * 64 + k] ?? 0);
        return sum;
      });
      const total = scores.reduce((a, s) => a + Math.exp(s), 0);
      loss -= Math.log(Math.exp(scores[label] ?? 0) / total) / 8;
      for (let c = 0; c < 10; c++) {
        const error = (Math.exp(scores[c] ?? 0) / total - Number(c === label)) / 8;
        for (let k = 0; k < 64; k++)
          gradient[c * 64 + k] = (gradient[c * 64 + k] ?? 0) + error * (x[row * 64 + k] ?? 0);
        gradient[640 + c] = (gradient[640 + c] ?? 0) + error;
      }
    }
    expect(float32Values(found.get("loss") as Tensor)[0]).toBeCloseTo(loss, 5);
    const next = float32Values(found.get("parameters.next") as Tensor);
    const velocity = float32Values(found.get("momentum.next") as Tensor);
    for (let i = 0; i < weights.length; i++) {
      const decay = i < 640 ? 0.01 * (weights[i] ?? 0) : 0;
      const v = 0.9 * (momentum[i] ?? 0) + (gradient[i] ?? 0) + decay;
      expect(velocity[i]).toBeCloseTo(v, 5);
      expect(next[i]).toBeCloseTo((weights[i] ?? 0) - 0.25 * v, 5);
    }
  });

  test("is plain ONNX: no op of another domain", () => {
    const graph = nn.buildNet(small, { input: data.input, output: "y", seed: 1 });
    const program = trainingProgram(graph, { batch: 8, optimizer: nn.sgd({ rate: 1 }), watch: [] });
    expect(new Set(program.graph.nodes.map((node) => node.domain))).toEqual(new Set([""]));
  });

  test("running statistics follow the batches with momentum 0.9", async () => {
    const net = nn.sequential(nn.batchNorm(), nn.globalPool(), nn.dense(10));
    const graph = nn.buildNet(net, { input: data.input, output: "y", seed: 1 });
    const program = trainingProgram(graph, {
      batch: 16,
      optimizer: nn.sgd({ rate: 0.1 }),
      watch: [],
    });
    await using session = await inProcessRunner().load({
      bytes: encodeModel(modelOf(program.graph)),
    });
    const [batch] = [...epochBatches(data, 0, { batch: 16, seed: 1, augment: "none" })];
    if (batch === undefined) throw new Error("a batch");
    const parameters = gatherFlat(graph, program.parameters);
    const found = await session.run(
      new Map([
        ["image", batch.inputs],
        ["label", batch.labels],
        ["parameters", float32([parameters.length], parameters)],
        ["momentum", float32([parameters.length], new Float32Array(parameters.length))],
        ["statistics", float32([2], [0, 1])],
        ["rate", scalar(0.1)],
      ]),
    );
    const x = [...float32Values(batch.inputs)];
    const mean = x.reduce((a, b) => a + b, 0) / x.length;
    const variance = x.reduce((a, v) => a + (v - mean) ** 2, 0) / x.length;
    const next = float32Values(found.get("statistics.next") as Tensor);
    expect(next[0]).toBeCloseTo(0.1 * mean, 6);
    expect(next[1]).toBeCloseTo(0.9 + 0.1 * variance, 6);
  });

  test("watches the entry of each block", () => {
    const graph = nn.buildNet(starter({ skips: true }), {
      input: data.input,
      output: "y",
      seed: 1,
    });
    const found = blockInputs(graph);
    expect(found).toHaveLength(15);
    expect(found[0]).toEqual({ block: "residual", value: "relu.relu.output" });
    expect(found[14]?.block).toBe("residual15");
  });
});

describe("train", () => {
  test("learns: the loss falls, and more than chance is right", async () => {
    const steps: number[] = [];
    const net = nn.sequential(nn.conv(8, 3), nn.residual(8), nn.flatten(), nn.dense(10));
    const run = await train(net, data, {
      ...options,
      epochs: 12,
      onStep: ({ step }) => steps.push(step),
    });
    expect(run.losses).toHaveLength(12);
    expect(run.losses.at(-1) ?? 9).toBeLessThan((run.losses[0] ?? 0) * 0.6);
    expect(run.accuracy.right).toBeGreaterThan(15);
    expect(run.accuracy.count).toBe(50);
    expect(steps).toEqual(Array.from({ length: 72 }, (_, i) => i + 1));
    expect(run.gradientRatio).toBeGreaterThan(0);
    expect(run.imagesPerSecond).toBeGreaterThan(0);
  });

  test("the same seed gives the same file, bit for bit; another seed another", async () => {
    const once = await bytesAfter();
    expect(Buffer.compare(await bytesAfter(), once)).toBe(0);
    expect(Buffer.compare(await bytesAfter({ seed: 2 }), once)).not.toBe(0);
  });

  test("stopped and started again it ends with the same bits", async () => {
    const whole = await bytesAfter();
    const checkpoint = join(folder, "run.safetensors");
    for (const stopAt of [3, 9, 14]) {
      const controller = new AbortController();
      const first = train(small, data, {
        ...options,
        checkpoint,
        signal: controller.signal,
        onStep: ({ step }) => step === stopAt && controller.abort(),
      });
      const error = await first.catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(SkipwayError);
      if (error instanceof SkipwayError) expect(error.code).toBe("interrupted");
    }
    const run = await train(small, data, { ...options, checkpoint });
    expect(run.resumedEpochs).toBe(2);
    expect(run.losses).toHaveLength(3);
    expect(Buffer.compare(encodeModel(run.model), whole)).toBe(0);
  });

  const random = nn.sequential(
    nn.conv(4, 3, { bias: false }),
    nn.batchNorm(),
    nn.relu(),
    nn.dropout(0.2),
    nn.residual(4),
    nn.globalPool(),
    nn.dropout(0.5),
    nn.dense(10),
  );

  test("with dropout too: the same bits again, also when it was stopped; each step drops others", async () => {
    const checkpoint = join(folder, "dropout.safetensors");
    const few: TrainOptions = { ...options, epochs: 2 };
    const whole = encodeModel((await train(random, data, few)).model);
    const controller = new AbortController();
    const onStep = ({ step }: { step: number }) => step === 8 && controller.abort();
    const { signal } = controller;
    const stopped = train(random, data, { ...few, checkpoint, signal, onStep });
    await expect(stopped).rejects.toMatchObject({ code: "interrupted" });
    const run = await train(random, data, { ...few, checkpoint });
    expect(run.resumedEpochs).toBe(1);
    expect(Buffer.compare(encodeModel(run.model), whole)).toBe(0);
    // The file holds the standard Dropout, which does nothing in inference.
    expect(run.model.graph.nodes.filter((node) => node.op === "Dropout")).toHaveLength(2);
  });

  test("each step of each epoch drops others", async () => {
    const [inputs, labels] = [new Float32Array(8 * 64).fill(0.5), new Uint8Array(8)];
    const same: Dataset = { ...data, train: { inputs, labels, count: 8 } };
    const net = nn.sequential(nn.flatten(), nn.dropout(0.5), nn.dense(10));
    // Equal examples, and weights that stay: the loss depends on what is dropped alone.
    const still = {
      ...options,
      optimizer: nn.sgd({ rate: 0 }),
      batch: 4,
      augment: "none",
    } as const;
    const steps: number[] = [];
    await train(net, same, { ...still, onStep: ({ loss }) => steps.push(loss) });
    expect(new Set(steps).size).toBe(6);
  });

  test("what is there in training alone is at work there, and not in the model", async () => {
    const noisy = nn.layer("noisy", (net, x) =>
      net.training ? net.inside(nn.dropout(0.5), x) : x,
    );
    const net = (inner: nn.Layer) => nn.sequential(nn.flatten(), inner, nn.dense(10));
    const few: TrainOptions = { ...options, epochs: 1 };
    const plain = await train(net(nn.identity()), data, few);
    const run = await train(net(noisy), data, few);
    expect(run.model.graph.nodes.map((node) => node.op)).toEqual(["Flatten", "Gemm", "Identity"]);
    expect(run.losses).not.toEqual(plain.losses);
  });

  test("the step is an input only where something depends on it", async () => {
    const optimizer = nn.sgd({ rate: 0.1 });
    const program = (net: nn.Layer) => {
      const graph = nn.buildNet(net, { input: data.input, output: "y", seed: 1 });
      return sound(trainingProgram(graph, { batch: 8, optimizer, watch: [] }).graph);
    };
    const inputs = (net: nn.Layer) => program(net).inputs.map((input) => input.name);
    expect(inputs(small)).not.toContain("step");
    expect(inputs(random)).toContain("step");
    const ops = new Set(program(random).nodes.map((node) => node.op));
    for (const op of ["Dropout", "RandomUniform", "RandomNormal"]) expect(ops).not.toContain(op);
  });

  test("a checkpoint of another run is not taken up, a broken one is told", async () => {
    const checkpoint = join(folder, "other.safetensors");
    await train(small, data, { ...options, epochs: 1, checkpoint });
    expect(
      (await train(small, data, { ...options, epochs: 1, seed: 9, checkpoint })).resumedEpochs,
    ).toBe(0);
    const whole = await readFile(checkpoint);
    const { tensors, metadata } = decodeSafetensors(whole);
    const few = new Map([...tensors].slice(1));
    const damaged = [
      Buffer.from("not a checkpoint"),
      whole.subarray(0, 300),
      encodeSafetensors(few, metadata),
      encodeSafetensors(tensors, new Map(metadata).set("progress", "{}")),
      encodeSafetensors(tensors, new Map(metadata).set("progress", "{")),
    ];
    for (const bytes of damaged) {
      await writeFile(checkpoint, bytes);
      const found = train(small, data, { ...options, epochs: 1, seed: 9, checkpoint });
      await expect(found).rejects.toThrow(checkpoint);
      expect(await idsOf(found)).toEqual(["train/checkpoint-damaged"]);
    }
    const lost = join(folder, "no", "such", "folder.safetensors");
    expect(await idsOf(train(small, data, { ...options, epochs: 1, checkpoint: lost }))).toEqual([
      "train/checkpoint-unwritable",
    ]);
  });

  test.each<[string, nn.Layer, Partial<TrainOptions>, string]>([
    ["the wrong number of classes", nn.sequential(nn.flatten(), nn.dense(7)), {}, "train/classes"],
    [
      "a batch larger than the data",
      nn.sequential(nn.flatten(), nn.dense(10)),
      { batch: 5000 },
      "train/batch",
    ],
    [
      "a rate that diverges",
      small,
      { optimizer: nn.sgd({ rate: 1e30 }), schedule: "constant" },
      "train/diverged",
    ],
  ])("%s", async (_what, net, more, id) => {
    expect(await idsOf(train(net, data, { ...options, ...more }))).toEqual([id]);
  });
});

describe("the learning rate", () => {
  test("rises over a tenth, then falls as a cosine to zero", () => {
    const factors = Array.from({ length: 100 }, (_, step) => rateFactor("cosine", step, 100));
    expect(factors[0]).toBeCloseTo(0.1);
    expect(factors[9]).toBe(1);
    expect(factors[55]).toBeCloseTo(0.5, 1);
    expect(factors[99]).toBeLessThan(0.001);
    expect(rateFactor("constant", 5, 10)).toBe(1);
    for (const factor of factors) expect(factor).toBeGreaterThanOrEqual(0);
  });
});

describe("safetensors", () => {
  const value = fc
    .tuple(
      fc.constantFrom("float32", "int64", "uint8", "bool", "float16"),
      fc.array(fc.nat(3), { maxLength: 3 }),
    )
    .map(([dtype, shape]) => {
      const count = shape.reduce((a, b) => a * b, 1);
      return tensor(
        dtype as "uint8",
        shape,
        Uint8Array.from({ length: dtypeBytes(dtype as "uint8", count) }, (_, i) => i % 2),
      );
    });
  const name = fc
    .string({ minLength: 1, maxLength: 8 })
    .filter((text) => text !== "__metadata__" && text !== "__proto__");

  test("what is written reads back the same, and aligned", () => {
    fc.assert(
      fc.property(
        fc.dictionary(name, value),
        fc.dictionary(name, fc.string()),
        (tensors, metadata) => {
          const bytes = encodeSafetensors(
            new Map(Object.entries(tensors)),
            new Map(Object.entries(metadata)),
          );
          const found = decodeSafetensors(new Uint8Array(bytes));
          expect(new Map(found.metadata)).toEqual(new Map(Object.entries(metadata)));
          expect([...found.tensors.keys()].sort()).toEqual(Object.keys(tensors).sort());
          for (const [key, one] of Object.entries(tensors)) {
            const got = found.tensors.get(key);
            expect(got?.shape).toEqual(one.shape);
            expect(got?.dtype).toBe(one.dtype);
            expect(Buffer.compare(got?.data.bytes ?? Buffer.from("?"), one.data.bytes)).toBe(0);
          }
        },
      ),
    );
  });

  test("the layout is the published one", () => {
    const bytes = encodeSafetensors(new Map([["a", float32([2], [1, 2])]]), new Map([["k", "v"]]));
    const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
    expect(length % 8).toBe(0);
    expect(JSON.parse(Buffer.from(bytes.subarray(8, 8 + length)).toString())).toEqual({
      __metadata__: { k: "v" },
      a: { dtype: "F32", shape: [2], data_offsets: [0, 8] },
    });
    expect(bytes.byteLength).toBe(8 + length + 8);
  });

  test("damaged files are refused, whatever is damaged", () => {
    const whole = encodeSafetensors(new Map([["a", float32([2], [1, 2])]]), new Map());
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length), (at, byte, end) => {
        const bytes = new Uint8Array(whole.subarray(0, end));
        if (at < end) bytes[at] = byte;
        try {
          decodeSafetensors(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(SkipwayError);
        }
      }),
    );
    const lie = Buffer.alloc(16);
    lie.writeBigUInt64LE(2n ** 62n, 0);
    expect(() => decodeSafetensors(lie)).toThrow(/does not fit/);
  });
});

test("the largest of several is the first", () => {
  expect(largest(Float32Array.of(1, 3, 3, 2))).toBe(1);
  expect(largest(Float32Array.of())).toBe(0);
});

test("the checkpoint on disk is a safetensors file with readable names", async () => {
  const checkpoint = join(folder, "named.safetensors");
  await train(small, data, { ...options, epochs: 1, checkpoint });
  const { tensors } = decodeSafetensors(await readFile(checkpoint));
  expect(tensors.get("weight.residual.conv.weight")?.shape).toEqual([4, 4, 3, 3]);
  expect(tensors.has("momentum.dense.bias")).toBe(true);
  expect(tensors.has("statistic.norm.running_mean")).toBe(true);
});
