import { describe, expect, test } from "vitest";
import { sound } from "../../test/sound.ts";
import { census } from "../analysis/census.ts";
import { SkipwayError } from "../base/errors.ts";
import { float32, float32Values, type Tensor } from "../graph/tensor.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import * as nn from "./index.ts";
import { starter } from "./models/starter.ts";

const image: nn.NetInput = { name: "image", shape: [2, 6, 6] };

function build(net: nn.Layer, input: nn.NetInput = image, seed = 1) {
  return nn.buildNet(net, { input, output: "y", seed });
}

function failureOf(net: nn.Layer, input?: nn.NetInput) {
  try {
    build(net, input);
  } catch (error) {
    if (error instanceof SkipwayError) return error.diagnostics[0];
  }
  return undefined;
}

describe("building", () => {
  test("weights have readable names, blocks are numbered", () => {
    const net = nn.sequential(
      nn.conv(4, 3),
      nn.residual(4),
      nn.residual(8, { stride: 2 }),
      nn.globalPool(),
      nn.dense(3),
    );
    const graph = build(net);
    sound(graph);
    const names = [...graph.initializers.keys()].filter((name) => name.includes("weight"));
    expect(names).toEqual([
      "conv.weight",
      "residual.conv.weight",
      "residual.conv2.weight",
      "residual2.conv.weight",
      "residual2.conv2.weight",
      "residual2.shortcut.conv.weight",
      "dense.weight",
    ]);
    expect(graph.outputs[0]).toEqual({ name: "y", dtype: "float32", shape: ["N", 3] });
  });

  test("a weight depends on seed and name alone, not on the layers around it", () => {
    const weight = (net: nn.Layer, seed: number) =>
      build(net, image, seed).initializers.get("conv.weight");
    const alone = weight(nn.sequential(nn.conv(4, 3)), 1);
    expect(weight(nn.sequential(nn.relu(), nn.conv(4, 3), nn.conv(4, 1)), 1)).toEqual(alone);
    expect(weight(nn.sequential(nn.conv(4, 3)), 2)).not.toEqual(alone);
  });

  test("the twins start from the same weights", () => {
    const input = { name: "image", shape: [1, 8, 8] };
    const values = (skips: boolean) =>
      [...build(starter({ skips }), input).initializers]
        .filter(([, ref]) => ref.shape.length === 4)
        .map(([name, ref]) => [name.replace("plain", "residual"), ref.shape]);
    expect(values(false)).toEqual(values(true));
    expect(values(true)).toHaveLength(31);
  });

  test("a layer of one's own stands beside ours", () => {
    const double = nn.layer("double", (net, x) => net.emit("Add", [x, x]));
    expect(build(nn.sequential(double, nn.conv(1, 1))).nodes.map((node) => node.name)).toEqual([
      "double.add",
      "conv.conv",
      "y",
    ]);
  });

  test("shortcuts are chosen from the shapes", () => {
    const kinds = (net: nn.Layer) => census(build(net)).skips.map((skip) => skip.kind);
    expect(kinds(nn.residual(2))).toEqual(["identity"]);
    expect(kinds(nn.residual(4))).toEqual(["projection"]);
    expect(kinds(nn.residual(2, { stride: 2 }))).toEqual(["projection"]);
    expect(kinds(nn.residual(2, { shortcut: "projection" }))).toEqual(["projection"]);
    expect(kinds(nn.residual(2, { shortcut: "none" }))).toEqual([]);
  });

  test("a skip that does not fit is an error with the repair", () => {
    const found = failureOf(nn.sequential(nn.residual(4, { stride: 2, shortcut: "identity" })));
    expect(found).toMatchObject({
      id: "shape/mismatch",
      where: expect.stringMatching(/^layer residual \(.*nn\.test\.ts:\d+:\d+\)$/),
      text: 'the skip "image" carries [N,2,6,6], the branch "residual.norm2.batchnormalization.output" makes [N,4,3,3]',
      fix: 'Use shortcut "auto": a 1x1 projection 2→4 with stride 2.',
    });
  });

  test("layers say what they take", () => {
    expect(failureOf(nn.dense(3), { name: "x", shape: [] })?.fix).toMatch(/nn\.flatten/);
    expect(failureOf(nn.conv(3, 3), { name: "x", shape: [4] })?.text).toMatch(/it got \[N,4\]/);
    const strange = nn.layer("strange", (net, x) => net.emit("NoSuchOp", [x]));
    expect(failureOf(nn.sequential(strange, nn.conv(1, 1)))?.id).toBe("nn/shape");
  });
});

describe("numbers", () => {
  test("a residual block computes relu(x + norm(conv(relu(norm(conv(x))))))", async () => {
    const input = { name: "image", shape: [1, 1, 1] };
    const graph = build(nn.residual(1), input);
    const weight = (name: string): number => {
      const ref = graph.initializers.get(name) as Tensor;
      return float32Values(ref)[4] ?? Number.NaN;
    };
    // On one pixel only the middle tap of a 3x3 kernel sees it; fresh statistics are mean 0, variance 1.
    const norm = (v: number): number => v / Math.sqrt(1 + 1e-5);
    const block = (x: number): number => {
      const inner = Math.max(0, norm(x * weight("conv.weight")));
      return Math.max(0, x + norm(inner * weight("conv2.weight")));
    };
    await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
    const values = [-1.5, -0.2, 0, 0.7, 3];
    const found = await session.run(new Map([["image", float32([5, 1, 1, 1], values)]]));
    const got = [...float32Values(found.get("y") as Tensor)];
    for (const [i, x] of values.entries()) expect(got[i]).toBeCloseTo(block(x), 5);
  });
});
