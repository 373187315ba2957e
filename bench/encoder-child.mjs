// The measurement of `encoder.bench.ts`, in a process of its own: training steps of a transformer encoder, from the
// weights and on the batches of the peer where `share` names the folder that it wrote (encoder-peer.py).

import { readFileSync } from "node:fs";
import { join } from "node:path";

const settings = JSON.parse(process.argv[2]);
const { width, units, heads, blocks, length, batch, steps, threads, rate, share } = settings;
const nn = await import("../dist/nn/index.js");
const { trainingProgram, ports } = await import("../dist/train/program.js");
const { gatherFlat, put } = await import("../dist/train/layout.js");
const { inProcessRunner } = await import("../dist/runtime/in-process.js");
const { modelOf } = await import("../dist/onnx/onnx-model.js");
const { encodeModel } = await import("../dist/onnx/write.js");
const { Random } = await import("../dist/base/random.js");
const { float32, float32Values, int64, scalar } = await import("../dist/graph/tensor.js");
const { int } = await import("../dist/graph/graph.js");
const { TypedBuilder } = await import("../dist/canonical/typed-builder.js");

const CLASSES = 10;
const numbers = batch * length * width;
const graph = nn.buildNet(network(), { input: { name: "x", shape: [length, width] }, seed: 1 });
const from = performance.now();
const optimizer = nn.sgd({ rate, momentum: 0.9 });
const program = trainingProgram(graph, { batch, optimizer, watch: [], fusedProducts: true });
const graphMs = performance.now() - from;
const data = share === undefined ? made() : shared();
const found = await measure(program.graph, steps, data);
const idle = await measure(copies(program), 20, repeated(made()));
process.stdout.write(
  JSON.stringify({
    nodes: program.graph.nodes.length,
    graphMs,
    ...found,
    overheadMs: idle.fastestMs,
  }),
);

/** A pre-norm encoder over vectors with learned positions; the class is read from the mean of all places. */
function network() {
  const block = () => nn.transformer({ attention: { heads }, mlp: { units } });
  const stack = Array.from({ length: blocks }, (_, i) => nn.named(`block${i + 1}`, block()));
  const mean = nn.layer("mean", (net, x) =>
    net.emit("ReduceMean", [x, net.constant(int64([1], [1]), "axes")], {
      attributes: { keepdims: int(0) },
    }),
  );
  return nn.sequential(
    nn.named("positions", nn.positions(length)),
    ...stack,
    nn.named("norm", nn.layerNorm()),
    mean,
    nn.named("head", nn.dense(CLASSES)),
  );
}

/** Weights and batches of our own. */
function made() {
  const random = new Random(1);
  return {
    parameters: gatherFlat(graph, program.parameters),
    x: () => Float32Array.from({ length: numbers }, () => random.normal()),
    labels: () => Array.from({ length: batch }, () => random.integer(CLASSES)),
  };
}

/** Those of the peer, which names its weights as the builder does. */
function shared() {
  const read = (name) => Uint8Array.from(readFileSync(join(share, name))).buffer;
  const places = JSON.parse(readFileSync(join(share, "places.json"), "utf8"));
  const weights = new Float32Array(read("weights.f32"));
  const parameters = new Float32Array(program.parameters.count);
  for (const slot of program.parameters.slots) {
    const at = places[slot.name];
    if (at === undefined) throw new Error(`the peer has no weight ${slot.name}`);
    put(parameters, slot, weights.subarray(at, at + slot.count));
  }
  const values = new Float32Array(read("x.f32"));
  const labels = new BigInt64Array(read("labels.i64"));
  let [value, label] = [0, 0];
  return {
    parameters,
    x: () => values.subarray(numbers * value, numbers * ++value),
    labels: () => Array.from(labels.subarray(batch * label, batch * ++label), Number),
  };
}

/** One batch again and again. */
function repeated({ parameters, x, labels }) {
  const [values, classes] = [x(), labels()];
  return { parameters, x: () => values, labels: () => classes };
}

async function measure(graphToRun, count, data) {
  const bytes = encodeModel(modelOf(graphToRun));
  const session = await inProcessRunner().load({ bytes }, { threads, memoryPattern: false });
  let state = {
    parameters: data.parameters,
    momentum: new Float32Array(program.parameters.count),
  };
  const vector = (values) => float32([values.length], values);
  const [times, processor, losses] = [[], [], []];
  for (let step = 0; step < count; step++) {
    const [x, labels] = [data.x(), data.labels()];
    const start = performance.now();
    const used = process.cpuUsage();
    const outputs = await session.run(
      new Map([
        ["x", float32([batch, length, width], x)],
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
    const { user, system } = process.cpuUsage(used);
    processor.push((user + system) / 1000);
  }
  const { peakResidentBytes } = await session.memory();
  await session.close();
  const middle = (values) => values.toSorted((a, b) => a - b)[count >> 1];
  return {
    stepMs: middle(times),
    fastestMs: Math.min(...times),
    cpuMs: middle(processor),
    losses,
    peakRssBytes: peakResidentBytes,
  };
}

/** A step that computes nothing: what going in and out of the runtime takes. */
function copies({ graph: whole }) {
  const builder = new TypedBuilder({ ...whole, nodes: [], outputs: [], initializers: new Map() });
  for (const name of [ports.parameters, ports.momentum]) {
    builder.emit("Identity", [name], { outputs: [ports.next(name)] });
  }
  builder.emit("Identity", [ports.rate], { outputs: [ports.loss] });
  for (const output of whole.outputs) builder.output(output);
  return builder.finish("copies", new Map([["", 20]]));
}
