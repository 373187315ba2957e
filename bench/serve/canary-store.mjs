// Registers several models, each with versions that really differ: canary-store.mjs FOLDER MODELS BURN_MS STABLE_SLOW. Which
// inputs are slow is decided by their content, so that the client knows.

import { systemClock } from "../../dist/base/clock.js";
import { iterationsFor, medianRunMs } from "../../dist/drill/faults/calibrate.js";
import { notNumbers, slow } from "../../dist/drill/faults/model-faults.js";
import { GraphBuilder } from "../../dist/graph/build.js";
import { float32 } from "../../dist/graph/tensor.js";
import { modelOf } from "../../dist/onnx/onnx-model.js";
import { encodeModel } from "../../dist/onnx/write.js";
import { Registry } from "../../dist/registry/registry.js";
import { inProcessRunner } from "../../dist/runtime/in-process.js";

const [, , folder, models, burnMs, stableSlow] = process.argv;
const b = new GraphBuilder();
b.input("x", "float32", ["N", 1]);
b.emit("Relu", ["x"], { outputs: ["y"] });
b.output({ name: "y", dtype: "float32", shape: ["N", 1] });
const plain = modelOf(b.finish("plain", new Map([["", 20]])));
const measure = medianRunMs(new Map([["x", float32([1, 1], [0.5])]]), {
  runner: inProcessRunner(),
  clock: systemClock,
});
const iterations = await iterationsFor(plain, Number(burnMs), measure);
const slowFor = (share) => slow(plain, { iterations, share });
// Version 1 is stable; the others are its candidates.
const versions = [
  slowFor(Number(stableSlow)),
  slowFor(0.05),
  slowFor(0.1),
  notNumbers(slowFor(Number(stableSlow)), { share: 1 }),
];

const registry = await Registry.open(folder);
const by = { actor: "bench", reason: "a measurement", override: true };
const metadata = { createdBy: "bench", metrics: {} };
for (let i = 1; i <= Number(models); i++) {
  const name = `m${i}`;
  for (const version of versions) await registry.push(name, encodeModel(version), { metadata });
  await registry.setAlias(name, "stable", 1, by);
}
await registry[Symbol.asyncDispose]();
