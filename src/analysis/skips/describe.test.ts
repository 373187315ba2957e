import { describe, expect, test } from "vitest";
import { float, int, type ValueName } from "../../graph/graph.ts";
import { int64 } from "../../graph/tensor.ts";
import { census } from "../census.ts";
import { Sketch } from "../sketch.test-helper.ts";

/** x + attention(x) over [1, 4, 8], by the ops that multiply queries with keys and weights with values. */
function attends(
  core: (s: Sketch, q: ValueName, k: ValueName, v: ValueName) => ValueName,
): readonly string[] {
  const s = new Sketch([1, 4, 8]);
  const [q, k, v] = [s.linear(s.x), s.linear(s.x), s.linear(s.x)];
  const heads = core(s, q, k, v);
  return census(s.end(s.op("Add", s.x, s.linear(heads)))).skips.map(({ block }) => block);
}

describe("a block that attends", () => {
  const fused = { domain: "com.microsoft", attributes: { transB: int(1), alpha: float(0.35) } };

  test("fused products, and 0 in the place of what is no number", () => {
    const blocks = attends((s, q, k, v) => {
      const weights = s.op("Softmax", s.b.emit("FusedMatMul", [q, k], fused));
      const masked = s.op("Where", s.op("IsNaN", weights), s.one(0), weights);
      return s.op("MatMul", masked, v);
    });
    expect(blocks).toEqual(["attention"]);
  });

  test("products of matrices as Gemm, as JAX writes them", () => {
    const blocks = attends((s, q, k, v) => {
      const flat = (x: ValueName): ValueName => s.op("Squeeze", x);
      const scores = s.b.emit("Gemm", [flat(q), flat(k)], { attributes: { transB: int(1) } });
      return s.op(
        "Unsqueeze",
        s.op("Gemm", s.op("Softmax", scores), flat(v)),
        s.b.constant(int64([1], [0])),
      );
    });
    expect(blocks).toEqual(["attention"]);
  });

  test("a product behind another function attends to nothing", () => {
    const blocks = attends((s, q, k, v) =>
      s.op("MatMul", s.op("Tanh", s.b.emit("FusedMatMul", [q, k], fused)), v),
    );
    expect(blocks).toEqual(["mlp"]);
  });
});
