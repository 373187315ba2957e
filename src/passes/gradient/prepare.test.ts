import { describe, expect, test } from "vitest";
import type { Graph } from "../../graph/graph.ts";
import { float32, float32Values } from "../../graph/tensor.ts";
import { graph } from "../../graph/text.test-helper.ts";
import { modelOf } from "../../onnx/onnx-model.ts";
import { encodeModel } from "../../onnx/write.ts";
import { inProcessRunner } from "../../runtime/in-process.ts";
import { prepareForGradients } from "./prepare.ts";
import { withGradients } from "./with-gradients.ts";

/** The gradient of `w` where `x` and the target are given. */
async function gradientOf(given: Graph, shape: readonly number[]): Promise<readonly number[]> {
  const made = withGradients(given, { loss: { kind: "mse" } });
  const bytes = encodeModel(modelOf(made.graph));
  await using session = await inProcessRunner().load({ bytes });
  const count = shape.reduce((a, b) => a * b, 1);
  const x = float32(
    shape,
    Float32Array.from({ length: count }, (_, i) => Math.sin(i + 1)),
  );
  const target = float32(shape, new Float32Array(count));
  const found = await session.run(
    new Map([
      ["x", x],
      ["target", target],
    ]),
  );
  return [...float32Values(found.get("grad.w") ?? float32([0], []))];
}

const ops = (given: Graph): string[] => given.nodes.map(({ op }) => op);

describe("an imported graph, prepared", () => {
  // As PyTorch's tracing exporter writes x.chunk(4, -1) and a list of its parts.
  const chunks = (columns: string): Graph =>
    graph`g (float[2,${columns}] x) => (float[2,${columns}] y)
      <float[1] w = {1.5}, int64 last = {-1}, int64[1] three = {3}, int64 n = {4}, int64[3] whole = {1, 1, 1},
       int64 zero = {0}, int64 one = {1}, int64 two = {2}, int64 end = {-1}>
      { h = Mul (x, w)  s = Shape (h)  c = Gather (s, last)  up = Add (c, three)  size = Div (up, n)
        sizes = Mul (whole, size)  taken = Mul (size, three)  rest = Sub (c, taken)  all = Concat <axis = 0> (sizes, rest)
        parts = SplitToSequence <axis = -1> (h, all)
        a = SequenceAt (parts, zero)  b = SequenceAt (parts, one)  d = SequenceAt (parts, two)  e = SequenceAt (parts, end)
        t = Tanh (d)  y = Concat <axis = -1> (e, t, b, a) }`;
  const split = graph`g (float[2,7] x) => (float[2,7] y)
      <float[1] w = {1.5}, int64[4] sizes = {2, 2, 2, 1}>
      { h = Mul (x, w)  a, b, d, e = Split <axis = -1> (h, sizes)  t = Tanh (d)  y = Concat <axis = -1> (e, t, b, a) }`;

  test.each(["7", "C"])("parts of sizes that are computed, of %s columns", async (columns) => {
    expect(ops(prepareForGradients(chunks(columns)))).not.toContain("SplitToSequence");
    const [expected, found] = [
      await gradientOf(split, [2, 7]),
      await gradientOf(chunks(columns), [2, 7]),
    ];
    expect(found).toHaveLength(1);
    expect(found[0]).toBeCloseTo(expected[0] ?? Number.NaN, 6);
  });

  test("takes branches that follow from constants which it has to compute first", () => {
    // The pads are known once they are turned round, the sizes once the pads are, and the branch then.
    const given = graph`g (float[2,1,4] x) => (float[2,6] y)
      <float[1] w = {1.5}, int64[3,2] turned = {0, 0, 0, 0, 1, 1}, int64[1] flat = {-1}, int64[1] axis = {1},
       int64[1] one = {1}, int64 place = {1}>
      { h = Mul (x, w)  t = Transpose <perm = [1, 0]> (turned)  pads = Reshape (t, flat)  p = Pad (h, pads)
        s = Shape (p)  c = Gather (s, axis)  yes = Equal (c, one)
        q = If (yes) <then_branch = a () => (float[2,6] z) { z = Squeeze (p, axis) },
                      else_branch = b () => (float[2,1,6] i) { i = Identity (p) }>
        y = Tanh (q) }`;
    expect(ops(prepareForGradients(given))).not.toContain("If");
  });
});
