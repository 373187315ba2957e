// The measurement of `conditional.bench.ts`, in a process of its own: one network with a conditional block,
// run with its gate open and shut in turn. Prints milliseconds of every run, and the gates.

import { float32, float32Values } from "../dist/graph/tensor.js";
import * as nn from "../dist/nn/index.js";
import { modelOf } from "../dist/onnx/onnx-model.js";
import { encodeModel } from "../dist/onnx/write.js";
import { inProcessRunner } from "../dist/runtime/in-process.js";

const [kind, width, depth, size, rounds] = [process.argv[2], ...process.argv.slice(3).map(Number)];

const layers = Array.from({ length: depth }, () =>
  kind === "conv"
    ? [nn.conv(width, 3, { bias: false }), nn.batchNorm(), nn.relu()]
    : [nn.dense(width), nn.relu()],
).flat();
const shape = kind === "conv" ? [width, size, size] : [width];
const graph = nn.buildNet(nn.conditional(nn.sequential(...layers)), {
  input: { name: "x", shape },
  output: "y",
  seed: 1,
});

// A fresh gate has no bias: what opens it shuts it with the other sign.
const count = shape.reduce((a, b) => a * b, 1);
const values = Float32Array.from({ length: count }, (_, i) => Math.sin(i * 0.7) + 0.5);
const inputs = [values, values.map((v) => -v)].map((list) => float32([1, ...shape], list));

const session = await inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
const sides = [];
for (const x of inputs) {
  const gate = float32Values((await session.run(new Map([["x", x]]))).get("gate"))[0];
  sides.push({ gate, x, ms: [] });
}
for (let round = 0; round < rounds; round++) {
  for (const side of sides) {
    const from = performance.now();
    await session.run(new Map([["x", side.x]]));
    side.ms.push(performance.now() - from);
  }
}
await session.close();
process.stdout.write(JSON.stringify(sides.map(({ gate, ms }) => ({ gate, ms }))));
