import { createHash } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import { sound } from "../../test/sound.ts";
import { bindBatch, memoryOf } from "../analysis/memory.ts";
import { Random } from "../base/random.ts";
import type { Graph } from "../graph/graph.ts";
import { float32, float32Values, int64, scalar, type Tensor } from "../graph/tensor.ts";
import * as nn from "../nn/index.ts";
import { buildNet } from "../nn/net.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { blockSize } from "../runtime/block-probe.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import { blockInputs } from "./blocks.ts";
import { gatherFlat } from "./layout.ts";
import { type Program, type ProgramOptions, ports, trainingProgram } from "./program.ts";

const BATCH = 8;

let block: number | undefined;
beforeAll(async () => {
  block = await blockSize();
});

const head = [nn.globalPool(), nn.dense(3)];
const residual = nn.sequential(
  nn.conv(16, 3, { bias: false }),
  nn.batchNorm(),
  nn.relu(),
  nn.residual(16),
  nn.residual(32, { stride: 2 }),
  nn.residual(32, { order: "pre" }),
  ...head,
);
const dropped = nn.sequential(
  nn.conv(16, 3),
  nn.relu(),
  nn.dropout(0.3),
  nn.residual(16, { norm: "none", branchScale: "rezero" }),
  nn.dropout(0.2),
  nn.residual(16),
  ...head,
);

function graphOf(net: nn.Layer): Graph {
  return buildNet(net, { input: { name: "x", shape: [3, 8, 8] }, seed: 3, mode: "training" });
}

/** The step of a network that keeps everything, and that of the same which keeps what goes into blocks. */
function programs(graph: Graph, more: Partial<ProgramOptions>) {
  const optimizer = nn.sgd({ rate: 0.1, momentum: 0.9, weightDecay: 0.01 });
  const entries = blockInputs(graph).map(({ value }) => value);
  const of = (keep: readonly string[]): Program =>
    trainingProgram(graph, { batch: BATCH, optimizer, watch: entries, keep, ...more });
  return [of([]), of(entries)] as const;
}

/** What two steps give. */
async function run(
  graph: Graph,
  program: Program,
  given: { x: number[][]; batch: number } = { x: [], batch: BATCH },
): Promise<ReadonlyMap<string, Tensor>[]> {
  const { x, batch } = given;
  const random = new Random(5);
  const flat = (values: Float32Array): Tensor => float32([values.length], values);
  const { parameters, statistics } = program;
  let state = new Map<string, Tensor>([
    [ports.parameters, flat(gatherFlat(graph, parameters))],
    [ports.momentum, flat(new Float32Array(parameters.count))],
    [ports.statistics, flat(gatherFlat(graph, statistics))],
  ]);
  const bytes = encodeModel(modelOf(sound(program.graph)));
  await using session = await inProcessRunner().load({ bytes });
  const found: ReadonlyMap<string, Tensor>[] = [];
  for (let step = 0; step < 2; step++) {
    const images = Float32Array.from({ length: batch * 192 }, () => 3 * random.normal() + 1);
    x.push([...images]);
    const labels = Array.from({ length: batch }, () => random.integer(3));
    const feeds = new Map<string, Tensor>([
      ...state,
      ["x", float32([batch, 3, 8, 8], images)],
      [ports.label, int64([batch], labels)],
      [ports.rate, scalar(0.1)],
      [ports.step, int64([], [step])],
    ]);
    const outputs = await session.run(
      new Map([...feeds].filter(([name]) => session.inputs.has(name))),
    );
    state = new Map([...state].map(([name, old]) => [name, outputs.get(ports.next(name)) ?? old]));
    found.push(outputs);
  }
  return found;
}

/** The digest of each value of each step: bytes one by one take long to compare. */
function bits(steps: readonly ReadonlyMap<string, Tensor>[] = []): string[] {
  return steps.flatMap((step) =>
    [...step].map(
      ([name, { data }]) => `${name} ${createHash("sha256").update(data.bytes).digest("hex")}`,
    ),
  );
}

describe("a step that computes blocks a second time", () => {
  const forms = {
    "in standard ops": () => ({}),
    "with the runtime's products": () => ({ fusedProducts: true }),
    "in the runtime's layout": () => ({
      ...{ block, fusedProducts: true, leastGainUs: Number.NEGATIVE_INFINITY },
    }),
  } as const;
  const rows = [
    ...Object.entries(forms).map(
      ([form, options]) => [`a residual network ${form}`, residual, options] as const,
    ),
    ["random layers", dropped, forms["in the runtime's layout"]] as const,
  ];

  test.each(rows)("gives the same bits: %s", async (_name, net, options) => {
    const graph = graphOf(net);
    const [plain, twice] = programs(graph, options());
    expect(bits(await run(graph, twice))).toEqual(bits(await run(graph, plain)));
    // Of a batch that weights are small beside.
    const peaks = programs(graph, { ...options(), batch: 64 }).map(
      (of) => memoryOf(bindBatch(of.graph, 64), { batch: 64, sizes: {} }).peakBytes,
    );
    expect(peaks[1]).toBeLessThan(peaks[0] ?? 0);
  });
});

/** Means and variances of three channels of 8x8 after its steps, by PyTorch's formula (BatchNorm2d, momentum 0.1). */
function runningAfter(steps: readonly number[][], batch: number): number[] {
  const [means, variances] = [
    [0, 0, 0],
    [1, 1, 1],
  ];
  const n = batch * 64;
  for (const images of steps) {
    for (let c = 0; c < 3; c++) {
      const values = images.filter((_, i) => Math.floor(i / 64) % 3 === c);
      const mean = values.reduce((a, b) => a + b, 0) / n;
      const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1);
      means[c] = 0.9 * (means[c] ?? 0) + 0.1 * mean;
      variances[c] = 0.9 * (variances[c] ?? 0) + 0.1 * variance;
    }
  }
  return [...means, ...variances];
}

test.each([1, 3])("running variances of samples are PyTorch's, batch %i", async (batch) => {
  const graph = graphOf(nn.sequential(nn.batchNorm(), ...head));
  const program = trainingProgram(graph, {
    ...{ batch, optimizer: nn.sgd({ rate: 0.1, momentum: 0.9 }), watch: [] },
    runningVariance: "sample",
  });
  const x: number[][] = [];
  const found = await run(graph, program, { x, batch });
  const last = found.at(-1)?.get(ports.next(ports.statistics)) ?? scalar(0);
  const expected = runningAfter(x, batch);
  expect(float32Values(last).length).toBe(6);
  for (const [i, value] of float32Values(last).entries())
    expect(value).toBeCloseTo(expected[i] ?? 0, 5);
});

test("in the runtime's layout too, and nothing else changes", async () => {
  const graph = graphOf(residual);
  const [own] = programs(graph, { block, leastGainUs: Number.NEGATIVE_INFINITY });
  const [blocked] = programs(graph, {
    ...{ block, leastGainUs: Number.NEGATIVE_INFINITY, runningVariance: "sample" },
  });
  const [plain] = programs(graph, { runningVariance: "sample" });
  const [a, b, c] = await Promise.all([own, blocked, plain].map((of) => run(graph, of)));
  const statistics = ports.next(ports.statistics);
  const values = (of: typeof a): Float32Array =>
    float32Values(of?.[0]?.get(statistics) ?? scalar(0));
  const other = values(c);
  for (const [i, value] of values(b).entries()) expect(value).toBeCloseTo(other[i] ?? 0, 4);
  expect(values(b)).not.toEqual(values(a));
  const rest = (of: typeof a) => bits(of).filter((one) => !one.startsWith(statistics));
  expect(rest(b)).toEqual(rest(a));
});
