// One measurement of `build.bench.ts` in a process of its own, so that nothing is warm: seconds to build a
// network without weights and with them, to write it, to load it into the runtime, and to run it once.

import { float32 } from "../dist/graph/tensor.js";
import * as nn from "../dist/nn/index.js";
import { modelOf } from "../dist/onnx/onnx-model.js";
import { encodeModel } from "../dist/onnx/write.js";
import { inProcessRunner } from "../dist/runtime/in-process.js";

const [name, depth, size] = process.argv.slice(2);

/** A residual MLP of so many blocks. */
function mlp(blocks, width) {
  const block = nn.residualDense(width, { order: "pre", branchScale: { fixup: blocks } });
  return nn.sequential(
    ...Array.from({ length: blocks }, (_, i) => nn.named(`block${i + 1}`, block)),
  );
}

const networks = {
  resnet: () => nn.resnet(Number(depth)),
  cifar: () => nn.cifarResnet(Number(depth)),
  mlp: () => mlp(Number(depth), Number(size)),
};

const shape = name === "mlp" ? [Number(size)] : [3, Number(size), Number(size)];
const laps = {};
let last = performance.now();
function lap(what) {
  const now = performance.now();
  laps[what] = Number(((now - last) / 1000).toFixed(3));
  last = now;
}

function build(weights) {
  const input = { name: "x", shape };
  return nn.buildNet(networks[name](), { input, output: "y", seed: 1, weights });
}

const nodes = build("absent").nodes.length;
lap("structure");
const graph = build("initial");
lap("withWeights");
const bytes = encodeModel(modelOf(graph));
lap("write");
const session = await inProcessRunner().load({ bytes });
lap("load");
const count = shape.reduce((a, b) => a * b, 1);
await session.run(new Map([["x", float32([1, ...shape], new Float32Array(count).fill(0.1))]]));
lap("run");
await session.close();
process.stdout.write(JSON.stringify({ nodes, megabytes: Math.round(bytes.length / 1e6), ...laps }));
