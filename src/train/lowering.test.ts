import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { sound } from "../../test/sound.ts";
import { Random } from "../base/random.ts";
import { float32, float32Values, int64, scalar, type Tensor } from "../graph/tensor.ts";
import * as nn from "../nn/index.ts";
import { buildNet } from "../nn/net.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { blockSize } from "../runtime/block-probe.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import { blockInputs } from "./blocks.ts";
import { digits } from "./data.ts";
import { gatherFlat, tensorsOf } from "./layout.ts";
import { trainingBlock } from "./lowering.ts";
import { type Program, ports, trainingProgram } from "./program.ts";
import { type TrainOptions, train } from "./train.ts";

// A training step in blocks gives what the plain step gives: loss, gradients, statistics and norms.

let block = 16;
beforeAll(async () => {
  block = (await blockSize()) ?? 0;
});

const optimizer = nn.sgd({ rate: 0.1, momentum: 0.9, weightDecay: 0.01 });

interface Case {
  readonly net: nn.Layer;
  readonly input: readonly number[];
  readonly batch: number;
}

function programs({ net, input, batch }: Case) {
  const graph = buildNet(net, { input: { name: "x", shape: input }, seed: 3 });
  const watch = blockInputs(graph).map((one) => one.value);
  const of = (size: number | undefined): Program =>
    trainingProgram(graph, {
      ...{ batch, optimizer, watch, block: size },
      leastGainUs: Number.NEGATIVE_INFINITY,
    });
  return { graph, plain: of(undefined), blocked: of(block) };
}

async function step(given: Case, graph: ReturnType<typeof buildNet>, program: Program) {
  const { input, batch } = given;
  const random = new Random(7);
  const count = batch * input.reduce((a, b) => a * b, 1);
  const vector = (values: Float32Array): Tensor => float32([values.length], values);
  const { parameters, statistics } = program;
  const feeds = new Map<string, Tensor>([
    [
      "x",
      float32(
        [batch, ...input],
        Float32Array.from({ length: count }, () => random.normal()),
      ),
    ],
    [
      ports.label,
      int64(
        [batch],
        Array.from({ length: batch }, () => random.integer(3)),
      ),
    ],
    [ports.parameters, vector(gatherFlat(graph, parameters))],
    [ports.momentum, vector(new Float32Array(parameters.count))],
    [ports.statistics, vector(gatherFlat(graph, statistics))],
    [ports.rate, scalar(0.1)],
  ]);
  const bytes = encodeModel(modelOf(program.graph));
  await using session = await inProcessRunner().load({ bytes });
  const used = [...feeds].filter(([name]) => session.inputs.has(name));
  const outputs = await session.run(new Map(used));
  const found = new Map<string, Float32Array>();
  for (const [name, tensor] of outputs) {
    const layout = name.startsWith("statistics") ? statistics : parameters;
    if (!name.endsWith(".next")) found.set(name, float32Values(tensor));
    else
      for (const [weight, part] of tensorsOf(float32Values(tensor), layout))
        found.set(`${name} ${weight}`, float32Values(part));
  }
  return found;
}

async function expectSame(given: Case, tolerance = 2e-4): Promise<Program> {
  const { graph, plain, blocked } = programs(given);
  const expected = await step(given, graph, plain);
  const got = await step(given, graph, blocked);
  expect([...got.keys()].sort()).toEqual([...expected.keys()].sort());
  for (const [name, values] of expected) {
    const other = got.get(name) ?? new Float32Array();
    const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-2);
    const apart = values.reduce(
      (most, value, i) => Math.max(most, Math.abs(value - (other[i] ?? Number.NaN))),
      0,
    );
    expect(apart / largest, name).toBeLessThan(tolerance);
  }
  return blocked;
}

function isBlocked(program: Program): boolean {
  return program.graph.nodes.some((node) => node.domain === "com.microsoft.nchwc");
}

const head = [nn.globalPool(), nn.dense(3)];
const stem = (channels: number): nn.Layer[] => [
  nn.conv(channels, 3, { bias: false }),
  nn.batchNorm(),
  nn.relu(),
];

describe("a step in blocks is the plain step", () => {
  const rows: readonly (readonly [string, (b: number) => nn.Layer])[] = [
    ["a convolution with a bias", () => nn.sequential(nn.conv(2 * block, 3), nn.relu(), ...head)],
    ["a norm behind a convolution", (b) => nn.sequential(...stem(b), ...head)],
    ["an identity skip", (b) => nn.sequential(...stem(b), nn.residual(b), ...head)],
    [
      "a projection with a stride",
      (b) =>
        nn.sequential(...stem(b), nn.residual(2 * b, { stride: 2 }), nn.residual(2 * b), ...head),
    ],
    [
      "a padded shortcut",
      (b) =>
        nn.sequential(...stem(b), nn.residual(2 * b, { stride: 2, shortcut: "padded" }), ...head),
    ],
    [
      "norms before convolutions",
      (b) =>
        nn.sequential(
          nn.conv(b, 3, { bias: false }),
          nn.residual(b, { order: "pre" }),
          nn.residual(2 * b, { order: "pre", stride: 2 }),
          ...head,
        ),
    ],
    [
      "bottlenecks",
      (b) => nn.sequential(...stem(b), nn.bottleneck(2 * b, { width: b, stride: 2 }), ...head),
    ],
    [
      "a scaled branch",
      (b) =>
        nn.sequential(...stem(b), nn.residual(b, { branchScale: "rezero", norm: "none" }), ...head),
    ],
    [
      "channels that fill no block between those that do",
      (b) => nn.sequential(...stem(b), nn.conv(b + 3, 3), nn.relu(), nn.conv(b, 1), ...head),
    ],
    [
      "a strided convolution of one tap alone, and an even kernel",
      (b) =>
        nn.sequential(
          ...stem(b),
          nn.conv(b, 1, { stride: 2, bias: false }),
          nn.batchNorm(),
          nn.conv(b, 2, { stride: 2, padding: 0 }),
          ...head,
        ),
    ],
    [
      "channels that fill no block, with skips, strides and watched values",
      (b) =>
        nn.sequential(
          ...stem(b - 5),
          nn.residual(b - 5),
          nn.residual(b + 9, { stride: 2 }),
          nn.residual(b + 9, { order: "pre" }),
          ...head,
        ),
    ],
    [
      "half a block",
      (b) => nn.sequential(...stem(b / 2), nn.residual(b / 2, { branchScale: "rezero" }), ...head),
    ],
    [
      "one group for each channel",
      (b) =>
        nn.sequential(
          ...stem(b),
          nn.invertedResidual(b, { expand: 2 }),
          nn.invertedResidual(b + 8, { expand: 2, stride: 2 }),
          ...head,
        ),
    ],
    [
      "a branch that may be left out",
      (b) =>
        nn.sequential(
          ...stem(b),
          nn.conditional(nn.sequential(nn.conv(b, 3), nn.relu()), { threshold: 0 }),
          nn.residual(b),
          ...head,
        ),
    ],
    ["five taps", (b) => nn.sequential(...stem(b), nn.conv(b, 5), nn.relu(), ...head)],
    ["a dense block", (b) => nn.sequential(...stem(b), nn.denseBlock(2, { growth: b }), ...head)],
  ];
  test.each(rows)("%s", async (_name, net) => {
    if (block === 0) return expect(await trainingBlock()).toBeUndefined();
    const program = await expectSame({ net: net(block), input: [3, 8, 8], batch: block });
    sound(program.graph);
    expect(isBlocked(program)).toBe(true);
  });

  test("gradients of a skip are summed by a convolution, and factors over channels lie in weights", () => {
    if (block === 0) return;
    const net = nn.sequential(...stem(block), nn.residual(block), nn.residual(block), ...head);
    const { blocked } = programs({ net, input: [3, 8, 8], batch: block });
    const images = blocked.graph.nodes.filter(({ outputs: [y = ""] }) => {
      const shape = blocked.graph.values.get(y)?.shape;
      return shape?.length === 4 && shape[2] === 8;
    });
    const ops = images.map((node) => node.op);
    expect(ops).not.toContain("Sum");
    // Five masks of a Relu; no image is multiplied by anything else.
    expect(ops.filter((op) => op === "Mul")).toHaveLength(5);
  });

  test("batches, channels and kernels of any size", async () => {
    const sizes = fc.record({
      batch: fc.integer({ min: 1, max: 2 * Math.max(block, 2) }),
      channels: fc.integer({ min: 1, max: 2 * Math.max(block, 2) }),
      stride: fc.integer({ min: 1, max: 2 }),
      kernel: fc.integer({ min: 1, max: 4 }),
      inputs: fc.integer({ min: 1, max: 5 }),
      size: fc.integer({ min: 4, max: 9 }),
    });
    await fc.assert(
      fc.asyncProperty(sizes, async ({ batch, channels, stride, kernel, inputs, size }) => {
        const net = nn.sequential(
          nn.conv(channels, kernel, { stride }),
          nn.batchNorm(),
          nn.relu(),
          nn.conv(Math.max(block, 1), kernel, { bias: false }),
          nn.batchNorm(),
          ...head,
        );
        // A batch norm over one value has no gradient to compare: the deviation is 0.
        const count = Math.ceil(size / stride) ** 2 * batch;
        fc.pre(count > 8);
        await expectSame({ net, input: [inputs, size, size], batch }, 2e-3);
      }),
      { numRuns: 12, seed: 11 },
    );
  });

  test("a mean far from zero costs no digits once the running mean follows", async () => {
    if (block === 0) return;
    const net = nn.sequential(nn.conv(block, 1), nn.batchNorm(), ...head);
    const given: Case = { net, input: [3, 8, 8], batch: block };
    const { graph, plain, blocked } = programs(given);
    const far = new Map(graph.initializers);
    const bias = [...far].find(([name]) => name.endsWith("conv.bias"))?.[0] ?? "";
    const mean = [...far].find(([name]) => name.endsWith("running_mean"))?.[0] ?? "";
    for (const name of [bias, mean])
      far.set(name, float32([block], new Float32Array(block).fill(1000)));
    const moved = { ...graph, initializers: far };
    const [expected, got] = [await step(given, moved, plain), await step(given, moved, blocked)];
    const [loss = 0, other = 1] = [expected.get("loss")?.[0], got.get("loss")?.[0]];
    expect(Math.abs(loss - other)).toBeLessThan(1e-3);
  });
});

test.each([
  [16, 64, 32, true],
  [16, 64, 8, true],
  [16, 1, 8, false],
  [4, 64, 4, false],
])("%i channels, batch %i, %i pixels: blocked is %s", (channels, batch, size, gains) => {
  const net = nn.sequential(...stem(channels), nn.residual(channels), ...head);
  const graph = buildNet(net, { input: { name: "x", shape: [3, size, size] }, seed: 3 });
  expect(isBlocked(trainingProgram(graph, { batch, optimizer, watch: [], block: 16 }))).toBe(gains);
});

describe("a run in blocks", () => {
  const options: TrainOptions = { loss: "cross-entropy", optimizer, epochs: 2, batch: 32 };
  const run = async (more: Partial<TrainOptions>) => {
    const full = await digits();
    const { inputs, labels } = full.train;
    const head = { inputs: inputs.subarray(0, 64 * 64), labels: labels.subarray(0, 64), count: 64 };
    // 8x8 images of one channel, wide enough that the layout gains.
    const width = 2 * Math.max(block, 4);
    const net = nn.sequential(...stem(width), nn.residual(width), nn.globalPool(), nn.dense(10));
    return train(net, { ...full, train: head }, { ...options, ...more });
  };

  test("gives the same bits every time, and a checkpoint that a plain run goes on from", async () => {
    const folder = await mkdtemp(join(tmpdir(), "skipway-lowering-"));
    try {
      const checkpoint = join(folder, "run.safetensors");
      const first = await run({ checkpoint });
      expect(Buffer.compare(encodeModel((await run({})).model), encodeModel(first.model))).toBe(0);
      const resumed = await run({ checkpoint, lowering: "plain" });
      expect(resumed.resumedEpochs).toBe(2);
      expect(Buffer.compare(encodeModel(resumed.model), encodeModel(first.model))).toBe(0);
      const plain = await run({ lowering: "plain" });
      expect(plain.losses[1] ?? 0).toBeCloseTo(first.losses[1] ?? 1, 2);
      // Other roundings: the run before was in blocks.
      const same = Buffer.compare(encodeModel(plain.model), encodeModel(first.model)) === 0;
      expect(same).toBe(block === 0);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

test("the lowering is proven on a machine whose runtime has blocks", async () => {
  expect((await trainingBlock()) ?? 0).toBe(block);
});
