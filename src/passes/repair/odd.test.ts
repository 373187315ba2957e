// Files that nobody expects: repair never throws, and what it gives is a sound graph that the runtime takes.

import { expect, test } from "vitest";
import type { Graph } from "../../graph/graph.ts";
import { parseGraph } from "../../graph/parse.ts";
import { modelOf } from "../../onnx/onnx-model.ts";
import { encodeModel } from "../../onnx/write.ts";
import { verify } from "../../ops/verify.ts";
import { inProcessRunner } from "../../runtime/in-process.ts";
import { repair } from "./repair.ts";

const net = (opset: number, text: string): Graph =>
  parseGraph(`<ir_version: 8, opset_import: ["" : ${opset}, "own" : 1]> net ${text}`);

const ones = (count: number): string => Array.from({ length: count }, () => 1).join();

test.each<[string, Graph, number]>([
  ["an input that is an output", net(20, "(float[1,4] x) => (float[1,4] x) {}"), 1],
  ["a batch of none", net(20, "(float[0,4] x) => (float[0,4] y) { y = Relu (x) }"), 1],
  ["64 axes", net(20, `(float[${ones(64)}] x) => (float[${ones(64)}] y) { y = Relu (x) }`), 1],
  [
    "an operator set without Expand",
    net(
      7,
      "(float[1,2,4] x) => (float[] y) <float[1,1,4] c = {1,2,3,4}> { y = Concat <axis = 1> (c, x) }",
    ),
    0,
  ],
  [
    "sums in an operator set without Expand",
    net(
      7,
      "(float[N,2,4,4] x) => (float[] y) { r = Relu (x) m = GlobalAveragePool (r) y = Add (r, m) }",
    ),
    0,
  ],
  [
    "names with signs, and names that a repair would take",
    net(
      20,
      `(float[1,2,4] "x/é☃") => (float[] "out:0") <float[1,1,4] "c \\"q\\"" = {1,2,3,4}, int64[2] t = {1,12}>
       { ["a/b \\"c\\""] "a/b \\"c\\".expand" = Concat <axis = 1> ("c \\"q\\"", "x/é☃")
         ["a/b \\"c\\".expand"] h = Reshape ("a/b \\"c\\".expand", t) ["a/b \\"c\\".shape"] "out:0" = Neg (h) }`,
    ),
    1,
  ],
  [
    "half precision",
    net(
      20,
      "(float16[1,2,4] x) => (float16[] y) { s = Constant <value_ints = [1, 1, 4]> () c = ConstantOfShape <value = float16[1] {1}> (s) y = Concat <axis = 1> (c, x) }",
    ),
    1,
  ],
  [
    "integers that no projection joins",
    net(20, "(int64[N,3] x, int64[N,4] z) => (int64[] y) { y = Add (x, z) }"),
    0,
  ],
  [
    "a merge of operands that repeat",
    net(
      20,
      "(float[N,2] x) => (float[] y) <float[2,3] w = {1,2,3,4,5,6}> { h = MatMul (x, w) y = Sum (h, x, x, h) }",
    ),
    1,
  ],
  [
    "an op that nobody knows",
    net(
      20,
      "(float[1,4] x) => (float[] y) <int64[3] t = {1,2,2}> { h = own.Magic (x) y = Reshape (h, t) }",
    ),
    0,
  ],
  [
    "weights that are inputs as well",
    net(
      20,
      "(float[1,2,4] x, float[1,1,4] c) => (float[] y) <float[1,1,4] c = {1,2,3,4}> { y = Concat <axis = 1> (c, x) }",
    ),
    1,
  ],
  [
    "sequences",
    net(
      20,
      "(float[1,4] x) => (float[] y) { s = SequenceConstruct (x, x) y = ConcatFromSequence <axis = 1> (s) }",
    ),
    1,
  ],
])("%s", async (_, graph, count) => {
  const { graph: mended, fixed } = repair(graph);
  expect(fixed).toHaveLength(count);
  if (count === 0) expect(mended).toBe(graph);
  else {
    expect(verify(mended).filter(({ severity }) => severity === "error")).toEqual([]);
    await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(mended)) });
    expect(session).toBeDefined();
  }
});
