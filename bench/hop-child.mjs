// Times runs in this process and through a model's process, in alternating blocks: hop-child.mjs MODEL RUNS ROUNDS.
// Says microseconds of every run as JSON, one list of rounds for each side. `start` in the place of a model: how long
// a process takes until it could load one, beside a node that does nothing, and what it holds then.

import { spawn } from "node:child_process";
import ort from "onnxruntime-node";
import { GraphBuilder } from "../dist/graph/build.js";
import { ints } from "../dist/graph/graph.js";
import { bytesOf, int64, tensor } from "../dist/graph/tensor.js";
import { modelOf } from "../dist/onnx/onnx-model.js";
import { encodeModel } from "../dist/onnx/write.js";
import { childProcessRunner } from "../dist/runtime/child-process.js";
import { memoryOf, proportionalBytesOf } from "../dist/runtime/memory-probe.js";
import { ModelProcess } from "../dist/runtime/model-process.js";

const [name, runs, rounds] = process.argv.slice(2);
const WARM_UP = 200;

function tiny() {
  const b = new GraphBuilder();
  b.input("x", "int32", ["N", 16]);
  b.emit("Add", ["x", "x"], { outputs: ["y"] });
  b.output({ name: "y", dtype: "int32", shape: ["N", 16] });
  const data = Int32Array.from({ length: 32 }, (_, i) => i);
  return { graph: b, x: { dtype: "int32", shape: [2, 16], data } };
}

/** 602,112 bytes in, 12 out. */
function image() {
  const b = new GraphBuilder();
  b.input("x", "float32", ["N", 3, 224, 224]);
  b.emit("AveragePool", ["x"], {
    outputs: ["p"],
    attributes: { kernel_shape: ints([224, 224]), strides: ints([224, 224]) },
  });
  b.initializer("flat", int64([2], [-1, 3]));
  b.emit("Reshape", ["p", "flat"], { outputs: ["y"] });
  b.output({ name: "y", dtype: "float32", shape: ["N", 3] });
  const data = Float32Array.from({ length: 3 * 224 * 224 }, (_, i) => i % 7);
  return { graph: b, x: { dtype: "float32", shape: [1, 3, 224, 224], data } };
}

async function start(count) {
  const found = { readyMs: [], nodeMs: [], anonymousMb: [], proportionalMb: [] };
  for (let i = 0; i < count; i++) {
    let from = performance.now();
    const child = new ModelProcess();
    await child.ask({ kind: "prepare" });
    found.readyMs.push(performance.now() - from);
    await new Promise((resolve) => setTimeout(resolve, 500));
    found.anonymousMb.push(memoryOf(child.pid).anonymousBytes / 1e6);
    found.proportionalMb.push(proportionalBytesOf(child.pid) / 1e6);
    await child.close();
    from = performance.now();
    const bare = spawn(process.execPath, ["-e", "0"], { stdio: "ignore" });
    await new Promise((resolve) => bare.once("exit", resolve));
    found.nodeMs.push(performance.now() - from);
  }
  return found;
}

async function block(run, count) {
  const times = new Array(count);
  for (let i = 0; i < count; i++) {
    const from = performance.now();
    await run();
    times[i] = (performance.now() - from) * 1000;
  }
  return times;
}

async function hop() {
  const { graph, x } = { tiny, image }[name]();
  const bytes = encodeModel(modelOf(graph.finish(name, new Map([["", 20]]))));
  const bare = await ort.InferenceSession.create(bytes, {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
  });
  const child = await childProcessRunner().load({ bytes });
  const feeds = new Map([["x", tensor(x.dtype, x.shape, bytesOf(x.data))]]);
  const sides = {
    bare: () => bare.run({ x: new ort.Tensor(x.dtype, x.data, x.shape) }),
    child: () => child.run(feeds),
  };

  const found = { bare: [], child: [] };
  for (const run of Object.values(sides)) await block(run, WARM_UP);
  for (let round = 0; round < Number(rounds); round++) {
    for (const [side, run] of Object.entries(sides)) {
      // A block starts warm: the other side has had the caches.
      await block(run, 20);
      found[side].push(await block(run, Number(runs)));
    }
  }
  await child.close();
  return found;
}

process.stdout.write(JSON.stringify(name === "start" ? await start(Number(runs)) : await hop()));
