import { describe, expect, test } from "vitest";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { GraphBuilder } from "../graph/build.ts";
import { int } from "../graph/graph.ts";
import { parseGraph } from "../graph/parse.ts";
import type { Shape } from "../graph/shape.ts";
import { census } from "./census.ts";
import { mergeDiagnostics, repairOf } from "./merges.ts";

function merge(op: string, a: Shape, b: Shape) {
  const builder = new GraphBuilder();
  builder.input("a", "float32", a);
  builder.input("b", "float32", b);
  const options = op === "Concat" ? { attributes: { axis: int(1) } } : {};
  builder.emit(op, ["a", "b"], { ...options, name: "join", outputs: ["y"] });
  builder.output({ name: "y", dtype: "float32", shape: undefined });
  return mergeDiagnostics(builder.finish("g", new Map([["", 20]])));
}

describe("merges", () => {
  test.each<[string, Shape, Shape]>([
    ["Add", ["N", 64, 8, 8], ["N", 64, 8, 8]],
    ["Add", ["N", 64, 8, 8], [64, 1, 1]],
    ["Add", ["N", "?", 8, 8], ["N", 64, 8, 8]],
    ["Concat", ["N", 64, 8, 8], ["N", 32, 8, 8]],
  ])("%s of %j and %j fits", (op, a, b) => {
    expect(merge(op, a, b)).toEqual([]);
  });

  test("a mismatch names both tensors, their shapes and the repair", () => {
    expect(merge("Add", ["N", 64, 56, 56], ["N", 128, 28, 28])).toEqual([
      {
        id: "shape/mismatch",
        severity: "error",
        where: "node join (Add)",
        text: 'cannot join "a" [N,64,56,56] and "b" [N,128,28,28]',
        notes: [],
        fix: "Add a 1x1 projection 64→128 with stride 2 on the shortcut.",
      },
    ]);
    expect(merge("Concat", ["N", 64, 8, 8], ["N", 32, 4, 4])).toHaveLength(1);
  });

  test.each<[Shape, Shape, RegExp]>([
    [["N", 64, 8, 8], ["N", 128, 8, 8], /1x1 projection 64→128 on/],
    [["N", 128, 4, 4], ["N", 64, 8, 8], /1x1 projection 64→128 with stride 2/],
    [["N", 64, 9, 8], ["N", 64, 10, 8], /pad or crop 1 on axis 2/],
    [["N", 64], ["N", 64, 8, 8], /Unsqueeze the first operand at axes 2 and 3/],
    [["N", 64, 8, 8], ["N", 64, 5, 3], /Resize/],
  ])("%j against %j", (a, b, fix) => {
    expect(repairOf(a, b)).toMatch(fix);
  });

  test("a Concat is not told to project channels that need not agree", () => {
    const [found] = merge("Concat", ["N", 64, 8, 8], ["N", 32, 4, 4]);
    expect(found?.fix).toBe("Pool the larger operand with stride 2 before it is joined.");
  });

  test("an odd size: the multiple is the product of all halvings on the way, and the skip is seen", () => {
    const graph = inferShapes(
      parseGraph(`<ir_version: 10, opset_import: ["" : 20]>
        unet (float[1,2,18,16] x) => (float[1,4,18,16] y)
        <float[2,2,2,2] d = {0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0}>
        {
          a = Conv <strides = [2, 2]> (x, d)
          b = Conv <strides = [2, 2]> (a, d)
          c = Relu (b)
          u = ConvTranspose <strides = [2, 2]> (c, d)
          [join] y = Concat <axis = 1> (a, u)
        }`),
    );
    expect(mergeDiagnostics(graph)).toMatchObject([
      {
        where: "node join (Concat)",
        fix: "Odd input: pad or crop 1 on axis 2, or use multiples of 4.",
      },
    ]);
    expect(census(graph).skips).toMatchObject([{ source: "a", merge: "join", kind: "concat" }]);
  });
});
