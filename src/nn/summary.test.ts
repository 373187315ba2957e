import { describe, expect, test } from "vitest";
import { SkipwayError } from "../base/errors.ts";
import { parseGraph } from "../graph/parse.ts";
import * as nn from "./index.ts";

const image: nn.NetInput = { name: "image", shape: [3, 8, 8] };
const small = nn.sequential(
  nn.conv(4, 3, { bias: false }),
  nn.batchNorm(),
  nn.relu(),
  nn.residual(8, { stride: 2 }),
  nn.globalPool(),
  nn.dropout(0.1),
  nn.dense(10),
);

describe("a summary", () => {
  test("has a row for each layer, with what it makes and costs", () => {
    const found = nn.summary(small, { input: image });
    expect(
      found.rows.map((row) => [row.name, row.shape?.join("x"), row.parameters, row.macs]),
    ).toEqual([
      ["conv", "1x4x8x8", 4 * 3 * 9, 4 * 3 * 9 * 64],
      ["norm", "1x4x8x8", 8, 0],
      ["relu", "1x4x8x8", 0, 0],
      ["residual.conv", "1x8x4x4", 8 * 4 * 9, 8 * 4 * 9 * 16],
      ["residual.norm", "1x8x4x4", 16, 0],
      ["residual.relu", "1x8x4x4", 0, 0],
      ["residual.conv2", "1x8x4x4", 8 * 8 * 9, 8 * 8 * 9 * 16],
      ["residual.norm2", "1x8x4x4", 16, 0],
      ["residual.shortcut.conv", "1x8x4x4", 32, 32 * 16],
      ["residual.shortcut.norm", "1x8x4x4", 16, 0],
      ["residual.merge", "1x8x4x4", 0, 0],
      ["residual.relu2", "1x8x4x4", 0, 0],
      ["pool", "1x8", 0, 0],
      ["dropout", "1x8", 0, 0],
      ["dense", "1x10", 90, 80],
    ]);
    expect(found.rows.flatMap((row) => row.skips.map((skip) => [row.name, skip.kind]))).toEqual([
      ["residual.merge", "projection"],
    ]);
    const of = (pick: "parameters" | "macs") =>
      found.rows.reduce((total, row) => total + (row[pick] ?? 0), 0);
    expect(found).toMatchObject({
      parameters: of("parameters"),
      macs: of("macs"),
      statistics: 2 * (4 + 8 + 8 + 8),
      uncounted: [],
      skips: { total: 1 },
    });
  });

  test("is of a graph too, for any batch, as deep as is asked for", () => {
    const graph = nn.buildNet(small, { input: image, output: "y", seed: 1 });
    const one = nn.summary(graph);
    expect(nn.summary(small, { input: image }).rows).toEqual(one.rows);
    const four = nn.summary(graph, { batch: 4, depth: 1 });
    expect(four.macs).toBe(4 * one.macs);
    expect(four.parameters).toBe(one.parameters);
    expect(four.rows.map((row) => row.name)).toEqual([
      ...["conv", "norm", "relu", "residual", "pool", "dropout", "dense"],
    ]);
    expect(four.rows[3]?.skips).toHaveLength(1);
    expect(four.rows[3]?.shape).toEqual([4, 8, 4, 4]);
  });

  test("counts a shared weight once, what is computed from weights as those, and constants not at all", () => {
    const shared = nn.layer("shared", (net, x) => {
      const weight = net.weight("weight", [3, 3], "he");
      const turned = net.emit("Transpose", [weight]);
      return net.emit("MatMul", [net.emit("MatMul", [x, weight]), turned]);
    });
    const sequence: nn.NetInput = { name: "x", shape: ["S", 3] };
    const found = nn.summary(shared, { input: sequence, sizes: { S: 5 } });
    expect(found.parameters).toBe(9);
    expect(found.macs).toBe(2 * 5 * 9);
    // Ones and zeros of the inner norm, and matrices of shares, are constants.
    const constants = nn.sequential(nn.groupNorm(3), nn.adaptivePool(3, 5));
    expect(nn.summary(constants, { input: image }).parameters).toBe(6);
    const open = nn.summary(shared, { input: sequence });
    expect([open.macs, open.uncounted]).toEqual([0, ["matmul", "matmul_1"]]);
    expect(nn.summaryText(open)).toMatch(/MACs {8}at least 0 for a batch of 1/);
  });

  test("looks into bodies: the dearest branch, and as many turns as there are", () => {
    const square = nn.dense(6, { bias: false });
    const turns = nn.layer("turns", (net, x) =>
      net.repeat(3, x, (inner, state) => inner.inside(square, state)),
    );
    const chosen = nn.layer("chosen", (net, x) =>
      net.either(
        net.input("go", [1], "bool"),
        (inner) => inner.inside(nn.sequential(square, square), x),
        (inner) => inner.inside(square, x),
      ),
    );
    const input: nn.NetInput = { name: "x", shape: [6] };
    const found = nn.summary(turns, { input });
    expect([found.parameters, found.macs]).toEqual([36, 3 * 36]);
    const either = nn.summary(chosen, { input });
    expect([either.parameters, either.macs]).toEqual([3 * 36, 2 * 36]);
    const graph = nn.buildNet(chosen, { input, output: "y", seed: 1 });
    const open = {
      ...graph,
      inputs: graph.inputs.with(0, { name: "x", dtype: "float32", shape: ["?", 6] }),
    };
    expect(nn.summary(open).uncounted).toEqual(["if"]);
  });

  test("reads the paths of exported models, and passes on what is made of nothing it knows", () => {
    const graph = parseGraph(`<opset_import: ["" : 20, "own" : 1]>
      g (float[N,4] x) => (float[N,4] y) <float[4,4] w = {${Array.from({ length: 16 }, () => 1)}}> {
        ["/net/fc/MatMul"] h = MatMul (x, w)
        ["/net/fc/Relu"] r = Relu (h)
        ["/net/Add"] a = Add (r, x)
        ["strange"] y = own.Strange (a)
      }`);
    const found = nn.summary(graph);
    expect(found.rows.map((row) => [row.name, row.ops.join()])).toEqual([
      ["net/fc", "MatMul,Relu"],
      ["net/Add", "Add"],
      ["strange", "Strange"],
    ]);
    expect(found.uncounted).toEqual(["strange"]);
    expect(found.rows[1]?.skips.map((skip) => skip.kind)).toEqual(["identity"]);
  });

  test("as text", () => {
    const text = nn.summaryText(nn.summary(small, { input: image, depth: 1 }));
    expect(text).toMatchInlineSnapshot(`
      "layer     ops                           output     parameters    MACs  skips
      ────────  ────────────────────────────  ─────────  ──────────  ──────  ─────────────────────────────
      conv      Conv                          [1,4,8,8]         108   6,912
      norm      BatchNormalization            [1,4,8,8]           8
      relu      Relu                          [1,4,8,8]
      residual  Conv BatchNormalization       [1,8,4,4]         944  14,336  projection from relu.relu.
                Relu Add                                                     output
      pool      GlobalAveragePool Flatten     [1,8]
      dropout   Dropout                       [1,8]
      dense     Gemm                          [1,10]             90      80
      ────────  ────────────────────────────  ─────────  ──────────  ──────  ─────────────────────────────
      parameters  1,150, and 56 running statistics
      MACs        21,328 for a batch of 1
      skips       1"
    `);
    expect(
      nn.summaryText(nn.summary(small, { input: image }), { width: 60 }).split("\n")[0]?.length,
    ).toBeLessThan(61);
  });

  test("a layer without an input is refused, not counted", () => {
    expect(() => nn.summary(small, { input: { name: "x", shape: [] } })).toThrow(SkipwayError);
  });
});
