import { describe, expect, test } from "vitest";
import { float, int, type ValueName } from "../../graph/graph.ts";
import { float32, int64 } from "../../graph/tensor.ts";
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

describe("a convolution with one weight for each channel", () => {
  const kinds = (channels: number, group: number): readonly string[] => {
    const s = new Sketch();
    const w = s.b.initializer(
      "scale",
      float32([channels, 8 / group, 1, 1], new Array((channels * 8) / group).fill(1)),
    );
    const scaled = s.b.emit("Conv", [s.x, w], { attributes: { group: int(group) } });
    return census(s.end(s.op("Add", scaled, s.conv(s.op("Relu", s.conv(s.x)))))).skips.map(
      ({ kind }) => kind,
    );
  };

  test("scales and shifts, as a batch norm does", () => expect(kinds(8, 8)).toEqual(["identity"]));
  const blocked = { domain: "com.microsoft.nchwc" };
  const kindsOf = (s: Sketch, y: ValueName): readonly string[] =>
    census(s.end(y)).skips.map(({ kind }) => kind);
  const draw = (s: Sketch, channels: number): readonly [ValueName, ValueName] => [
    s.b.emit("ReorderInput", [s.x], blocked),
    s.b.initializer(`w${channels}`, float32([8, channels, 1, 1], new Array(8 * channels).fill(1))),
  ];
  const scaling = { ...blocked, attributes: { group: int(8) } };

  test("also where the runtime has fused a sum with it", () => {
    const s = new Sketch();
    const [x, scale] = draw(s, 1);
    const branch = s.b.emit("Conv", [x, draw(s, 8)[1]], blocked);
    expect(kindsOf(s, s.b.emit("Conv", [x, scale, "", branch], scaling))).toEqual(["identity"]);
  });

  test("a source that is read in two layouts is one", () => {
    const s = new Sketch();
    const [x, scale] = draw(s, 1);
    const outer = (y: ValueName): ValueName => s.b.emit("ReorderOutput", [y], blocked);
    const scaled = outer(s.b.emit("Conv", [x, scale], scaling));
    const branch = outer(s.b.emit("Conv", [x, draw(s, 8)[1]], blocked));
    expect(kindsOf(s, s.op("Add", s.op("Add", scaled, s.x), branch))).toEqual(["identity"]);
  });

  test("with fewer groups it mixes", () => expect(kinds(8, 4)).toEqual(["projection"]));
});
