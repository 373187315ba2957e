// The two halves of `memory.bench.ts`, each in a process of its own.
// `make NAME BATCH LENGTH FILE` writes the network as the runtime rewrites it, and says what is predicted.
// `run FILE BATCH LENGTH RUNS` runs it so often, and says what that took.

import { readFileSync, writeFileSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { CONTROL } from "./memory-control.mjs";

const [task, ...rest] = process.argv.slice(2);
const found = task === "make" ? await make(...rest) : await run(...rest);
process.stdout.write(JSON.stringify(found));

async function make(name, batch, length, file) {
  const nn = await import("../dist/nn/index.js");
  const { zoo } = await import("../dist/nn/models/index.js");
  const { exportModel } = await import("../dist/runtime/export.js");
  const { inferShapes } = await import("../dist/canonical/infer-shapes.js");
  const { bindBatch, inferenceMemory } = await import("../dist/analysis/memory.js");
  const { typeOf } = await import("../dist/graph/query.js");
  const { valueBytes } = await import("../dist/ops/rules.js");
  const { runtimeMemory } = await import("../dist/analysis/memory/runtime.js");
  const { parseGraph } = await import("../dist/graph/parse.js");
  const { modelOf } = await import("../dist/onnx/onnx-model.js");
  const network = async () => {
    const { build, input } = zoo[name];
    const graph = nn.buildNet(build(), { input, output: "y", seed: 1 });
    return exportModel(graph, { form: "optimized" });
  };
  const opsets = new Map([["", 20]]);
  const control = () => modelOf(parseGraph(CONTROL[name], { opsets }));
  const model = name in CONTROL ? control() : await network();
  await model.save(file);
  const sizes = new Map([["S", Number(length)]]);
  const sized = inferShapes(model.graph, sizes);
  const liveness = inferenceMemory(sized, { batch: Number(batch) });
  const bound = bindBatch(sized, Number(batch));
  const { peakBytes, peakNode } = runtimeMemory(bound);
  const outputs = bound.outputs.map(({ name }) => valueBytes(typeOf(bound, name)) ?? 0);
  return {
    nodes: bound.nodes.length,
    peakNode,
    livenessBytes: liveness.peakBytes,
    runtimeBytes: peakBytes,
    outputBytes: outputs.reduce((a, b) => a + b, 0),
    unknown: liveness.unknown,
  };
}

async function run(file, batch, length, runs) {
  const session = await InferenceSession.create(file, {
    // The file is run as it is: it has been rewritten.
    graphOptimizationLevel: "disabled",
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    enableCpuMemArena: false,
    enableMemPattern: false,
    logSeverityLevel: 4,
  });
  // Loading takes more than running for many weights: the high-water mark starts anew (proc(5)).
  writeFileSync("/proc/self/clear_refs", "5");
  const before = statusBytes("VmRSS");
  const feeds = {};
  for (const { name, type, shape } of session.inputMetadata) {
    const dims = shape.map((dim, axis) => {
      if (typeof dim === "number" && dim > 0) return dim;
      return Number(axis === 0 ? batch : length);
    });
    const count = dims.reduce((a, b) => a * b, 1);
    const data = type === "int64" ? new BigInt64Array(count) : new Float32Array(count).fill(0.5);
    feeds[name] = new Tensor(type, data, dims);
  }
  for (let i = 0; i < Number(runs); i++) await session.run(feeds);
  return { beforeBytes: before, measuredBytes: statusBytes("VmHWM") - before };
}

/** A field of proc(5)'s status. */
function statusBytes(field) {
  const text = readFileSync("/proc/self/status", "utf8");
  return 1024 * Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(text)?.[1]);
}
