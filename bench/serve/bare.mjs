// `session.run` of the runtime's own package in a process with nothing else, for its parent's questions.

import ort from "onnxruntime-node";
import { answerTasks } from "./tasks.mjs";

const sessions = new Map();

async function open(path) {
  if (!sessions.has(path)) {
    const options = { intraOpNumThreads: 1, interOpNumThreads: 1 };
    sessions.set(path, await ort.InferenceSession.create(path, options));
  }
  return sessions.get(path);
}

function feeds({ name, dtype, shape }) {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = dtype === "int32" ? new Int32Array(size).fill(3) : new Float32Array(size).fill(0.5);
  return { [name]: new ort.Tensor(dtype, data, shape) };
}

/** Microseconds of runs one after another. */
async function runs({ path, input, count, warm }) {
  const session = await open(path);
  const given = feeds(input);
  for (let i = 0; i < warm; i++) await session.run(given);
  const times = new Array(count);
  for (let i = 0; i < count; i++) {
    const from = performance.now();
    await session.run(given);
    times[i] = (performance.now() - from) * 1000;
  }
  return times;
}

/** Rows a second of a loop at each of these batch sizes. */
async function rates({ path, input, sizes, seconds }) {
  const session = await open(path);
  const found = {};
  for (const size of sizes) {
    const given = feeds({ ...input, shape: [size, ...input.shape.slice(1)] });
    for (let i = 0; i < 3; i++) await session.run(given);
    const from = performance.now();
    let rows = 0;
    while (performance.now() - from < seconds * 1000) {
      await session.run(given);
      rows += size;
    }
    found[size] = (rows * 1000) / (performance.now() - from);
  }
  return found;
}

answerTasks({ runs, rates });
