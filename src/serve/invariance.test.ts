import { expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import type { Graph } from "../graph/graph.ts";
import { parseGraph } from "../graph/parse.ts";
import { buildNet } from "../nn/index.ts";
import { zoo } from "../nn/models/index.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import { batchInvariance, type Invariance } from "./invariance.ts";
import { tiesOf } from "./ties.ts";

const OPSETS = new Map([["", 20]]);

async function looked(graph: Graph): Promise<Invariance> {
  await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
  return await batchInvariance(session, { clock: systemClock, timeMs: 1000, ties: tiesOf(graph) });
}

const X = "float[N,4] x";
const Y = "float[N,4] y";

test.each([
  [
    "statistics of the batch",
    `g (${X}) => (${Y}) <int64[1] a = {0}> { m = ReduceMean (x, a)  y = Sub (x, m) }`,
    "depends on what else is in the batch",
  ],
  [
    "a softmax over it",
    `g (${X}) => (${Y}) { y = Softmax <axis = 0> (x) }`,
    "depends on what else",
  ],
  [
    "rows in the other order",
    `g (${X}) => (${Y}) <int64[1] s = {-1}, int64[1] e = {-100}, int64[1] a = {0}> { y = Slice (x, s, e, a, s) }`,
    "depends on what else",
  ],
  [
    "sums along it",
    `g (${X}) => (${Y}) <int64 a = {0}> { y = CumSum (x, a) }`,
    "depends on what else",
  ],
  [
    "places along it, as integers",
    `g (${X}) => (int64[N,4] y) <int64 a = {0}, int64[2] one = {1, 1}> {
      i = Cast <to = 7> (x)
      o = Sub (i, i)
      z = Cast <to = 1> (o)
      w = Exp (z)
      c = CumSum (w, a)
      y = Cast <to = 7> (c)
    }`,
    "depends on what else is in the batch: a row differs wholly",
  ],
  [
    "an output without it",
    `g (${X}) => (float[1,4] y) <int64[1] a = {0}> { y = ReduceMean (x, a) }`,
    'output "y" has [1,4]: axis 0 is not a batch',
  ],
  [
    "a batch of one",
    "g (float[1,4] x) => (float[1,4] y) { y = Relu (x) }",
    "axis 0 is not a batch",
  ],
  [
    "the largest of the others, chosen",
    `g (${X}) => (int64[N] y) <int64[1] a = {0}> {
      m = ReduceMean (x, a)
      d = Sub (x, m)
      y = ArgMax <axis = 1, keepdims = 0> (d)
    }`,
    "depends on what else",
  ],
])("%s is refused", async (_, text, reason) => {
  const found = await looked(parseGraph(text, { opsets: OPSETS }));
  expect(found.reason).toContain(reason);
  expect(found.invariant).toBe(false);
});

test.each(["cifar-resnet20", "densenet121", "vit-b-16", "bert-base", "unet"])(
  "rows of %s keep to themselves",
  async (name) => {
    const model = zoo[name];
    const { build, input } = model?.small ?? model ?? {};
    if (build === undefined || input === undefined) throw new Error(name);
    const found = await looked(buildNet(build(), { input, output: "y", seed: 1 }));
    expect(found.reason).toContain("agree");
    expect(found.invariant).toBe(true);
    expect(found.worst).toBeLessThan(0.5);
  },
);

test("rows of text are compared as long as they are", async () => {
  const text = `g (${X}) => (string[N,4] y) { y = Cast <to = 8> (x) }`;
  expect(await looked(parseGraph(text, { opsets: OPSETS }))).toMatchObject({ invariant: true });
});

test("equal candidates may be chosen otherwise in a batch; a model that fails is served alone", async () => {
  const choice = `g (${X}) => (int64[N] y) { y = ArgMax <axis = 1, keepdims = 0> (x) }`;
  expect((await looked(parseGraph(choice, { opsets: OPSETS }))).invariant).toBe(true);
  const brittle = `g (${X}) => (${Y}) <int64[1] s = {12}, int64[1] a = {0}> {
      r = Reshape (x, s)
      t = ReduceSum <keepdims = 0> (r, a)
      y = Add (x, t)
    }`;
  const found = await looked(parseGraph(brittle, { opsets: OPSETS }));
  expect(found).toMatchObject({ invariant: false, worst: 0 });
  expect(found.reason).toContain("served without batches");
});
