// Writes the models of the serving benchmark into a folder: models.mjs FOLDER.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { GraphBuilder } from "../../dist/graph/build.js";
import { ints } from "../../dist/graph/graph.js";
import { parseGraph } from "../../dist/graph/parse.js";
import { int64 } from "../../dist/graph/tensor.js";
import * as nn from "../../dist/nn/index.js";
import { zoo } from "../../dist/nn/models/index.js";
import { modelOf } from "../../dist/onnx/onnx-model.js";
import { encodeModel } from "../../dist/onnx/write.js";
import { WIDE } from "./wide.mjs";

const OPSETS = new Map([["", 20]]);

function tiny() {
  const b = new GraphBuilder();
  b.input("x", "int32", ["N", 16]);
  b.emit("Add", ["x", "x"], { outputs: ["y"] });
  b.output({ name: "y", dtype: "int32", shape: ["N", 16] });
  return b.finish("tiny", OPSETS);
}

/** 602,112 bytes in, 12 out. */
function image() {
  const b = new GraphBuilder();
  b.input("x", "float32", ["N", 3, 224, 224]);
  const size = { kernel_shape: ints([224, 224]), strides: ints([224, 224]) };
  b.emit("AveragePool", ["x"], { outputs: ["p"], attributes: size });
  b.initializer("flat", int64([2], [-1, 3]));
  b.emit("Reshape", ["p", "flat"], { outputs: ["y"] });
  b.output({ name: "y", dtype: "float32", shape: ["N", 3] });
  return b.finish("image", OPSETS);
}

/** Two layers, as the peers' table has it. */
function mlp() {
  const layers = [nn.dense(64), nn.relu(), nn.dense(16)];
  return nn.buildNet(nn.sequential(...layers), {
    input: { name: "x", shape: [16] },
    output: "y",
    seed: 1,
  });
}

function resnet(depth, width) {
  const input = { name: "x", shape: [3, 32, 32] };
  return nn.buildNet(nn.cifarResnet(depth, { width }), { input, output: "y", seed: 1 });
}

/** For images of any size. */
function free() {
  const graph = resnet(20, 16);
  const inputs = graph.inputs.map((one) => ({ ...one, shape: ["N", 3, "H", "W"] }));
  return { ...graph, inputs };
}

/** Two inputs of sequences of any length. */
function bert() {
  const { build, input } = zoo["bert-base"].small;
  return nn.buildNet(build(), { input, output: "y", seed: 1 });
}

const models = {
  tiny,
  image,
  mlp,
  resnet20: () => resnet(20, 16),
  free,
  wide: () => parseGraph(WIDE, { opsets: OPSETS }),
  bert,
  // 20 ms or more.
  slow: () => resnet(74, 32),
};
for (const [name, build] of Object.entries(models)) {
  writeFileSync(join(process.argv[2], `${name}.onnx`), encodeModel(modelOf(build())));
}
