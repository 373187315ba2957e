// The measurement of `train.bench.ts`, in a process of its own: training steps of one network, with fresh batches.
// `{"share": FOLDER}` takes weights and batches from there instead of making them (train-peer.py).

import { readFileSync } from "node:fs";
import { join } from "node:path";

const settings = JSON.parse(process.argv[2]);
const { width, blocks, batch, steps, threads, lowering, rate, size, share, recompute } = settings;
const nn = await import("../dist/nn/index.js");
const { trainingProgram, ports } = await import("../dist/train/program.js");
const { gatherFlat, tensorsOf, put } = await import("../dist/train/layout.js");
const { trainingBlock } = await import("../dist/train/lowering.js");
const { blockInputs } = await import("../dist/train/blocks.js");
const { inProcessRunner } = await import("../dist/runtime/in-process.js");
const { modelOf } = await import("../dist/onnx/onnx-model.js");
const { encodeModel } = await import("../dist/onnx/write.js");
const { Random } = await import("../dist/base/random.js");
const { float32, float32Values, int64, scalar } = await import("../dist/graph/tensor.js");
const { TypedBuilder } = await import("../dist/canonical/typed-builder.js");

const pixels = batch * 3 * size * size;
const graph = nn.buildNet(network(), { input: { name: "x", shape: [3, size, size] }, seed: 1 });
const block = lowering === "plain" ? undefined : await trainingBlock();
const from = performance.now();
const optimizer = nn.sgd({ rate, momentum: 0.9 });
const keep = recompute ? blockInputs(graph).map(({ value }) => value) : [];
// As PyTorch updates them.
const runningVariance = "sample";
const program = trainingProgram(graph, {
  ...{ batch, optimizer, watch: [], block, keep, runningVariance },
});
const graphMs = performance.now() - from;
const found = await measure(program.graph, steps, share === undefined ? made() : shared());
const idle = await measure(copies(program), 20, made());
process.stdout.write(
  JSON.stringify({
    blocked: program.graph.nodes.some((node) => node.domain === "com.microsoft.nchwc"),
    nodes: program.graph.nodes.length,
    graphMs,
    ...found,
    overheadMs: idle.fastestMs,
  }),
);

/** Three stages of residual blocks, as in reference [He et al. 2016], section 4.2, with projections. */
function network() {
  const stages = [0, 1, 2].flatMap((stage) =>
    Array.from({ length: blocks }, (_, i) =>
      nn.named(
        `stage${stage}block${i}`,
        nn.residual(width << stage, { stride: stage > 0 && i === 0 ? 2 : 1 }),
      ),
    ),
  );
  const stem = [nn.conv(width, 3, { bias: false }), nn.batchNorm(), nn.relu()];
  return nn.sequential(...stem, ...stages, nn.globalPool(), nn.dense(10));
}

/** Batches and the state to start from. */
function made() {
  const random = new Random(1);
  return {
    parameters: gatherFlat(graph, program.parameters),
    images: () => Float32Array.from({ length: pixels }, () => random.normal()),
    labels: () => Array.from({ length: batch }, () => random.integer(10)),
  };
}

/** Weights in the order of PyTorch's modules, which is that of the builder. */
function shared() {
  const read = (name) => Uint8Array.from(readFileSync(join(share, name))).buffer;
  const weights = new Float32Array(read("weights.f32"));
  const parameters = new Float32Array(program.parameters.count);
  const slots = new Map(program.parameters.slots.map((slot) => [slot.name, slot]));
  let at = 0;
  for (const name of graph.initializers.keys()) {
    const slot = slots.get(name);
    if (slot === undefined) continue;
    const values = weights.subarray(at, at + slot.count);
    at += slot.count;
    put(parameters, slot, values);
  }
  const [images, labels] = [
    new Float32Array(read("images.f32")),
    new BigInt64Array(read("labels.i64")),
  ];
  let [image, label] = [0, 0];
  return {
    parameters,
    images: () => images.subarray(pixels * image, pixels * ++image),
    labels: () => Array.from(labels.subarray(batch * label, batch * ++label), Number),
  };
}

async function measure(graphToRun, count, data) {
  const bytes = encodeModel(modelOf(graphToRun));
  const session = await inProcessRunner().load({ bytes }, { threads, memoryPattern: false });
  let state = {
    parameters: data.parameters,
    momentum: new Float32Array(program.parameters.count),
    statistics: gatherFlat(graph, program.statistics),
  };
  const vector = (values) => float32([values.length], values);
  const [times, losses] = [[], []];
  for (let step = 0; step < count; step++) {
    const [images, labels] = [data.images(), data.labels()];
    const start = performance.now();
    const outputs = await session.run(
      new Map([
        ["x", float32([batch, 3, size, size], images)],
        [ports.label, int64([batch], labels)],
        ...Object.entries(state).map(([name, values]) => [name, vector(values)]),
        [ports.rate, scalar(rate)],
      ]),
    );
    state = Object.fromEntries(
      Object.keys(state).map((name) => [name, float32Values(outputs.get(ports.next(name)))]),
    );
    losses.push(float32Values(outputs.get(ports.loss))[0]);
    times.push(performance.now() - start);
  }
  const { peakResidentBytes } = await session.memory();
  await session.close();
  const stepMs = times.toSorted((a, b) => a - b)[count >> 1];
  const fastestMs = Math.min(...times);
  const statistics = Object.fromEntries(
    [...tensorsOf(state.statistics, program.statistics)].map(([name, t]) => [
      name,
      [...float32Values(t)],
    ]),
  );
  return {
    stepMs,
    fastestMs,
    losses,
    peakRssBytes: peakResidentBytes,
    ...(share && { statistics }),
  };
}

/** A step that computes nothing: what going in and out of the runtime takes. */
function copies({ graph: whole }) {
  const builder = new TypedBuilder({ ...whole, nodes: [], outputs: [], initializers: new Map() });
  for (const name of [ports.parameters, ports.momentum, ports.statistics]) {
    builder.emit("Identity", [name], { outputs: [ports.next(name)] });
  }
  builder.emit("Identity", [ports.rate], { outputs: [ports.loss] });
  for (const output of whole.outputs) builder.output(output);
  return builder.finish("copies", new Map([["", 20]]));
}
