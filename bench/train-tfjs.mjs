// The network of train.bench.ts in TensorFlow.js on its CPU backend, for the comparison beside it: JavaScript with one
// thread. `PEERS` names a folder in which @tensorflow/tfjs is installed. Prints one JSON document.

import { createRequire } from "node:module";
import { join } from "node:path";

const { width, blocks, batch, steps, size, rate } = JSON.parse(process.argv[2]);
// It greets whoever loads it on standard output, which is the document's.
console.warn = () => undefined;
console.log = () => undefined;
const tf = createRequire(join(process.env.PEERS, "peers.js"))("@tensorflow/tfjs");
await tf.setBackend("cpu");

const conv = (filters, kernelSize, strides, x) =>
  tf.layers.conv2d({ filters, kernelSize, strides, padding: "same", useBias: false }).apply(x);
const norm = (x) =>
  tf.layers.batchNormalization({ axis: -1, momentum: 0.9, epsilon: 1e-5 }).apply(x);
const relu = (x) => tf.layers.reLU().apply(x);

function block(x, before, after, stride) {
  const inner = relu(norm(conv(after, 3, stride, x)));
  const branch = norm(conv(after, 3, 1, inner));
  const skip = stride > 1 || before !== after ? norm(conv(after, 1, stride, x)) : x;
  return relu(tf.layers.add().apply([branch, skip]));
}

const input = tf.input({ shape: [size, size, 3] });
let x = relu(norm(conv(width, 3, 1, input)));
let before = width;
for (let stage = 0; stage < 3; stage++) {
  for (let i = 0; i < blocks; i++) {
    x = block(x, before, width << stage, stage > 0 && i === 0 ? 2 : 1);
    before = width << stage;
  }
}
const pooled = tf.layers.globalAveragePooling2d({}).apply(x);
const model = tf.model({ inputs: input, outputs: tf.layers.dense({ units: 10 }).apply(pooled) });
const loss = (labels, scores) => tf.losses.softmaxCrossEntropy(labels, scores);
model.compile({ optimizer: tf.train.momentum(rate, 0.9), loss });

const [times, losses] = [[], []];
for (let step = 0; step < steps; step++) {
  const images = tf.randomNormal([batch, size, size, 3]);
  const labels = tf.oneHot(tf.randomUniform([batch], 0, 10, "int32"), 10);
  const from = performance.now();
  losses.push(await model.trainOnBatch(images, labels));
  times.push(performance.now() - from);
  tf.dispose([images, labels]);
}
process.stdout.write(
  JSON.stringify({
    version: tf.version.tfjs,
    stepMs: times.toSorted((a, b) => a - b)[steps >> 1],
    fastestMs: Math.min(...times),
    peakRssBytes: 1024 * process.resourceUsage().maxRSS,
    losses,
  }),
);
