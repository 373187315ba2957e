import { expect, test } from "vitest";
import { parseGraph } from "../../graph/parse.ts";
import { lint } from "../lint.ts";

const found = (inputs: string, weights: string, nodes: string) =>
  lint(
    parseGraph(`<ir_version: 10, opset_import: ["" : 20]>
      g (${inputs}) => (float y) <${weights}> { ${nodes} }`),
  ).filter(({ id }) => id === "merge/silent-broadcast");

test.each([
  [
    "a lower rank",
    "float[N,4] x, float[N,4] z",
    "a = Relu (x) m = ReduceMean <keepdims = 0, noop_with_empty_axes = 0> (z, one) b = Relu (z) y = Add (b, m)",
    "int64[1] one = {0}",
  ],
  ["both ways", "float[N,1,4] x, float[N,4,1] z", "a = Relu (x) b = Relu (z) y = Add (a, b)", ""],
  [
    "one batch for all",
    "float[1,4] x, float[N,4] z",
    "a = Relu (x) b = Relu (z) y = Add (b, a)",
    "",
  ],
])("%s is told", (_, inputs, nodes, weights) => {
  expect(found(inputs, weights, nodes)).toHaveLength(1);
});

test.each([
  [
    "a sum that fails",
    "float[N,4,4] x, float[N,16] z",
    "",
    "a = Relu (x) b = Relu (z) y = Add (a, b)",
  ],
  ["a bias", "float[N,4] x", "float[4] b = {1,2,3,4}", "r = Relu (x) y = Add (r, b)"],
  [
    "a mask",
    "float[N,1,1,4] m, float[N,2,4,4] s",
    "",
    "n = Neg (m) r = Relu (s) t = Add (r, n) y = Softmax (t)",
  ],
  ["a scale", "float[N,4] x", "", "r = Relu (x) m = ReduceMean <keepdims = 0> (r) y = Add (r, m)"],
  [
    "an Unsqueeze",
    "float[N,4] e, float[N,4,8] x",
    "int64[1] axes = {2}",
    "r = Relu (x) u = Unsqueeze (e, axes) y = Add (r, u)",
  ],
  ["the same shape", "float[N,4] x", "", "r = Relu (x) y = Add (r, x)"],
  ["unknown sizes", "float[N,P] x, float[N,Q] z", "", "a = Relu (x) b = Relu (z) y = Add (a, b)"],
])("%s is not told", (_, inputs, weights, nodes) => {
  expect(found(inputs, weights, nodes)).toEqual([]);
});
