// One measurement of `read.bench.ts` in a process of its own: its memory starts at nothing, and nothing is
// warm that would be cold for a user. Prints seconds and the peak memory above the process's base.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { canonicalize } from "../dist/canonical/canonical.js";
import { inferShapes } from "../dist/canonical/infer-shapes.js";
import { GraphBuilder } from "../dist/graph/build.js";
import { mapTensors } from "../dist/graph/map-tensors.js";
import { float32 } from "../dist/graph/tensor.js";
import { modelOf } from "../dist/onnx/onnx-model.js";
import { loadModel } from "../dist/onnx/read.js";

const OPSETS = new Map([["", 20]]);

/** So many weights of a megabyte each, added up. */
function weights(megabytes) {
  const b = new GraphBuilder();
  let last = b.input("x", "float32", [262_144]);
  for (let i = 0; i < megabytes; i++) {
    const values = Float32Array.from({ length: 262_144 }, (_, j) => i + j);
    const weight = b.initializer(`w${i}`, float32([262_144], values));
    last = b.emit("Add", [last, weight], { outputs: [`a${i}`] }).outputs[0];
  }
  b.output({ name: last, dtype: "float32", shape: [262_144] });
  return b.finish("weights", OPSETS);
}

/** Residual blocks of four nodes, with a weight each. */
function nodes(count) {
  const b = new GraphBuilder();
  let last = b.input("x", "float32", ["N", 8, 4, 4]);
  const kernel = float32([8, 8, 1, 1], new Float32Array(64));
  for (let i = 0; i < count / 4; i++) {
    const weight = b.initializer(`block${i}.weight`, kernel);
    const conv = b.emit("Conv", [last, weight], { name: `block${i}.conv` }).outputs[0];
    const relu = b.emit("Relu", [conv], { name: `block${i}.relu` }).outputs[0];
    const add = b.emit("Add", [last, relu], { name: `block${i}.add` }).outputs[0];
    last = b.emit("Identity", [add], { name: `block${i}.out` }).outputs[0];
  }
  b.output({ name: last, dtype: "float32", shape: ["N", 8, 4, 4] });
  return b.finish("nodes", OPSETS);
}

const same = (ref) => ref;
const PASSES = {
  mapTensors: (graph) => mapTensors(graph, same),
  inferShapes,
  canonicalize,
};

const JOBS = {
  makeWeights: (path, size) => modelOf(weights(Number(size))).save(path),
  makeNodes: (path, size) => modelOf(nodes(Number(size))).save(path),
  read: (path) => measured(() => loadModel(path)),
  async write(path) {
    const model = await loadModel(path);
    return measured(() => model.save(`${path}.copy`));
  },
  /** A pass that has nothing to do, the second time and later. */
  async pass(path, name) {
    const pass = PASSES[name];
    let graph = pass((await loadModel(path)).graph);
    const times = [];
    for (let i = 0; i < 7; i++) {
      // A copy, of which nothing is remembered.
      graph = { ...graph };
      const from = performance.now();
      if (pass(graph) !== graph) throw new Error(`${name} found something to do`);
      times.push(performance.now() - from);
    }
    return { seconds: times.sort((a, b) => a - b)[3] / 1000 };
  },
  "peer:onnx-proto"(path) {
    const { onnx } = createRequire(import.meta.url)("onnx-proto");
    return measured(() => onnx.ModelProto.decode(readFileSync(path)));
  },
};

async function measured(work) {
  const base = process.memoryUsage().rss;
  const from = performance.now();
  const kept = await work();
  const seconds = (performance.now() - from) / 1000;
  const peak = process.resourceUsage().maxRSS * 1024;
  if (kept === null) throw new Error("nothing was read");
  return { seconds, peakBytes: Math.max(0, peak - base) };
}

const [job, ...args] = process.argv.slice(2);
const found = await JOBS[job](...args);
process.stdout.write(JSON.stringify(found ?? {}));
