// Builds a network with the block, checks it, looks at its skips, runs it and saves it.

import { census, float32, float32Values, inProcessRunner, modelOf, nn, verify } from "skipway";
import { blurResidual } from "./blur-block.ts";

const net = nn.sequential(
  nn.conv(8, 3),
  nn.relu(),
  nn.named("block1", blurResidual(16)),
  nn.named("block2", blurResidual(32)),
  nn.globalPool(),
  nn.dense(10),
);

const graph = nn.buildNet(net, {
  input: { name: "image", shape: [1, 28, 28] },
  output: "logits",
  seed: 1,
});
console.log("findings:", verify(graph).length);
for (const skip of census(graph).skips) console.log("skip:", skip.kind, "into", skip.merge);
console.log(
  "weights:",
  [...graph.initializers.keys()].filter((name) => name.includes("block1")),
);

await modelOf(graph).save("own-block.onnx");

const session = await inProcessRunner().load({ path: "own-block.onnx" });
const image = float32(
  [1, 1, 28, 28],
  Array.from({ length: 28 * 28 }, (_, i) => Math.sin(i)),
);
const outputs = await session.run(new Map([["image", image]]));
for (const [name, tensor] of outputs) console.log(name, float32Values(tensor).length, "numbers");
await session.close();
