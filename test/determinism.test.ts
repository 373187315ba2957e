import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";

// The same seed, threads and machine give the same bits: of the loss of every step and of all weights, in processes
// of their own, with convolutions in the runtime's layout and plain ones, and with dropout at work.

const run = promisify(execFile);

/** Trains ten steps and prints the bits of each loss and a digest of the model. */
const PROGRAM = `
import { createHash } from "node:crypto";
import { datasets, nn, train } from "./dist/index.js";
const [lowering] = process.argv.slice(1);
const net = nn.sequential(
  nn.conv(16, 3, { bias: false }), nn.batchNorm(), nn.relu(), nn.dropout(0.3),
  nn.residual(16, { dropPath: 0.5 }), nn.globalPool(), nn.dropout(0.2), nn.dense(10),
);
const losses = [];
const { model } = await train(net, await datasets.digits(), {
  loss: "cross-entropy", optimizer: nn.sgd({ rate: 0.1, momentum: 0.9 }), epochs: 1, batch: 143,
  seed: 1, threads: 2, lowering, augment: "shift", onStep: ({ loss }) => losses.push(loss),
});
const bits = losses.map((loss) => Buffer.from(Float32Array.of(loss).buffer).toString("hex"));
const hash = createHash("sha256");
for (const { data } of model.graph.initializers.values()) hash.update(data.bytes);
console.log(JSON.stringify({ bits, digest: hash.digest("hex") }));
`;

async function trained(lowering: string): Promise<{ bits: string[]; digest: string }> {
  const args = ["--input-type=module", "-e", PROGRAM, lowering];
  return JSON.parse((await run(process.execPath, args)).stdout);
}

test.each(["auto", "plain"])("ten steps in two processes give the same bits: %s", async (form) => {
  const first = await trained(form);
  expect(first.bits).toHaveLength(10);
  expect(new Set(first.bits).size).toBe(10);
  expect(await trained(form)).toEqual(first);
});
