// Writes a model for `census.bench.ts`: census-child.mjs NAME FILE. Says its nodes and skips.

import { census } from "../dist/analysis/census.js";
import * as nn from "../dist/nn/index.js";
import { modelOf } from "../dist/onnx/onnx-model.js";

const [name, file] = process.argv.slice(2);

/** Residual blocks of one width: 142 of them with 22 channels are 5 MB and just under 1,000 nodes. */
function residualStack(blocks, width) {
  const body = Array.from({ length: blocks }, () => nn.residual(width));
  return nn.sequential(nn.conv(width, 3), ...body, nn.globalPool(), nn.dense(10));
}

const networks = {
  "5 MB": () => residualStack(142, 22),
  densenet121: () => nn.densenet(121),
  resnet152: () => nn.resnet(152),
};
const size = name === "5 MB" ? 16 : 224;
const input = { name: "image", shape: [3, size, size] };
const graph = nn.buildNet(networks[name](), { input, output: "y", seed: 1 });
await modelOf(graph).save(file);
const facts = { nodes: graph.nodes.length, skips: census(graph).skips.length };
process.stdout.write(JSON.stringify(facts));
