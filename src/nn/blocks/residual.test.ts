import { describe, expect, test } from "vitest";
import { sound } from "../../../test/sound.ts";
import { census } from "../../analysis/census.ts";
import { SkipwayError } from "../../base/errors.ts";
import type { Graph } from "../../graph/graph.ts";
import { float32 } from "../../graph/tensor.ts";
import * as nn from "../index.ts";
import {
  type Array64,
  array64,
  at,
  each,
  noise,
  pooled,
  Reference,
  relu,
  run,
  scrambled,
  silu,
  sum,
  table,
} from "./reference.test-helper.ts";

function build(net: nn.Layer, shape: nn.NetInput["shape"], more: Partial<nn.BuildOptions> = {}) {
  return sound(nn.buildNet(net, { input: { name: "x", shape }, output: "y", seed: 1, ...more }));
}

/** The runtime against the same block written out, with weights that are all at work. */
async function agrees(
  net: nn.Layer,
  shape: readonly number[],
  byHand: (ref: Reference, x: Array64) => Array64,
): Promise<void> {
  const graph = scrambled(build(net, shape));
  const x = noise([2, ...shape]);
  const want = byHand(new Reference(graph), array64(x));
  const got = await run(graph, { x });
  expect(got.shape).toEqual(want.shape);
  const largest = Math.max(1, ...want.values.map(Math.abs));
  for (const [i, value] of want.values.entries()) {
    expect(Math.abs((got.values[i] ?? Number.NaN) - value) / largest).toBeLessThan(1e-5);
  }
}

const IMAGE = [4, 5, 6];

/** norm(conv(relu(norm(conv(x))))) as a block of two convolutions has it. */
function twoConvs(ref: Reference, x: Array64, stride = 1): Array64 {
  const inner = relu(ref.norm(ref.conv(x, "conv", { stride }), "norm"));
  return ref.norm(ref.conv(inner, "conv2"), "norm2");
}

function projected(ref: Reference, x: Array64, stride: number): Array64 {
  return ref.norm(ref.conv(x, "shortcut.conv", { stride }), "shortcut.norm");
}

describe("a residual block against the same in double precision", () => {
  test("identity", () => agrees(nn.residual(4), IMAGE, (ref, x) => relu(sum(x, twoConvs(ref, x)))));

  test("projection, with a stride over an odd size", () =>
    agrees(nn.residual(6, { stride: 2 }), IMAGE, (ref, x) =>
      relu(sum(projected(ref, x, 2), twoConvs(ref, x, 2))),
    ));

  test("pooled: a mean, then a projection where the channels differ", () =>
    agrees(nn.residual(6, { stride: 2, shortcut: "pooled" }), IMAGE, (ref, x) =>
      relu(sum(projected(ref, pooled(x, 2), 1), twoConvs(ref, x, 2))),
    ));

  test("pooled: nothing but a mean where they do not", () =>
    agrees(nn.residual(4, { stride: 2, shortcut: "pooled" }), IMAGE, (ref, x) =>
      relu(sum(pooled(x, 2), twoConvs(ref, x, 2))),
    ));

  test("padded: every second pixel, then zeros", () =>
    agrees(nn.residual(6, { stride: 2, shortcut: "padded" }), IMAGE, (ref, x) => {
      const skip = table([2, 6, 3, 3], ([n = 0, c = 0, i = 0, j = 0]) =>
        c < 4 ? at(x, [n, c, 2 * i, 2 * j]) : 0,
      );
      return relu(sum(skip, twoConvs(ref, x, 2)));
    }));

  test("none: the plain twin", () =>
    agrees(nn.residual(4, { shortcut: "none" }), IMAGE, (ref, x) => relu(twoConvs(ref, x))));

  test("pre-activation: nothing stands on the skip", () =>
    agrees(nn.residual(4, { order: "pre" }), IMAGE, (ref, x) => {
      const inner = ref.conv(relu(ref.norm(x, "norm")), "conv");
      return sum(x, ref.conv(relu(ref.norm(inner, "norm2")), "conv2"));
    }));

  test("pre-activation with a projection: both sides start behind the first activation", () =>
    agrees(nn.residual(6, { order: "pre", stride: 2 }), IMAGE, (ref, x) => {
      const active = relu(ref.norm(x, "norm"));
      const inner = ref.conv(active, "conv", { stride: 2 });
      const skip = ref.conv(active, "shortcut.conv", { stride: 2 });
      return sum(skip, ref.conv(relu(ref.norm(inner, "norm2")), "conv2"));
    }));

  test("bottleneck in groups, with squeeze-and-excitation", () => {
    const net = nn.bottleneck(4, { width: 6, groups: 3, squeeze: 2 });
    return agrees(net, IMAGE, (ref, x) => {
      const first = relu(ref.norm(ref.conv(x, "conv"), "norm"));
      const second = relu(ref.norm(ref.conv(first, "conv2", { groups: 3 }), "norm2"));
      const third = ref.norm(ref.conv(second, "conv3"), "norm3");
      return relu(sum(x, ref.squeezed(third, "squeeze")));
    });
  });

  test.each([
    ["rezero", "rezero"],
    ["SkipInit", { skipInit: 0.3 }],
  ] as const)("%s: a scalar times the branch", (_name, branchScale) =>
    agrees(nn.residual(4, { branchScale }), IMAGE, (ref, x) =>
      relu(
        sum(
          x,
          each(twoConvs(ref, x), (v) => ref.scalar("scale.weight") * v),
        ),
      ),
    ),
  );

  test("LayerScale: a factor for each channel", () =>
    agrees(nn.residual(4, { branchScale: { layerScale: 0.1 } }), IMAGE, (ref, x) => {
      const branch = twoConvs(ref, x);
      const factor = ref.weight("layer_scale.weight");
      return relu(
        sum(
          x,
          table(x.shape, (p) => at(branch, p) * (factor.values[p[1] ?? 0] ?? 0)),
        ),
      );
    }));

  test("Fixup: no norms, a bias before each layer and activation, a multiplier", () =>
    agrees(nn.residual(4, { branchScale: { fixup: 9 } }), IMAGE, (ref, x) => {
      const add = (y: Array64, name: string) => each(y, (v) => v + ref.scalar(`${name}.weight`));
      const inner = relu(add(ref.conv(add(x, "bias"), "conv"), "bias2"));
      const branch = each(
        ref.conv(add(inner, "bias3"), "conv2"),
        (v) => v * ref.scalar("scale.weight"),
      );
      return relu(sum(x, add(branch, "bias4")));
    }));

  test("dense layers, before the activation and behind it", async () => {
    await agrees(nn.residualDense(5, { hidden: 7 }), [5], (ref, x) =>
      relu(sum(x, ref.dense(relu(ref.dense(x, "dense")), "dense2"))),
    );
    await agrees(nn.residualDense(5, { order: "pre" }), [5], (ref, x) =>
      sum(x, ref.dense(relu(ref.dense(relu(x), "dense")), "dense2")),
    );
    await agrees(nn.residualDense(3), [5], (ref, x) =>
      relu(sum(ref.dense(x, "shortcut.dense"), ref.dense(relu(ref.dense(x, "dense")), "dense2"))),
    );
  });

  test("a branch of one's own", () => {
    const net = nn.skip(nn.sequential(nn.dense(6), nn.silu(), nn.dense(5)), {
      branchScale: { layerScale: 0.1 },
    });
    return agrees(net, [5], (ref, x) => {
      const branch = ref.dense(silu(ref.dense(x, "branch.dense")), "branch.dense2");
      const factor = ref.weight("layer_scale.weight");
      return sum(
        x,
        table(x.shape, (p) => at(branch, p) * (factor.values[p[1] ?? 0] ?? 0)),
      );
    });
  });
});

describe("the skips of a residual block", () => {
  const kinds = (graph: Graph): string[] => census(graph).skips.map((skip) => skip.kind);
  const rows: readonly (readonly [string, nn.Layer, readonly string[]])[] = [
    ["identity", nn.residual(4), ["identity"]],
    ["projection", nn.residual(6), ["projection"]],
    ["a projection that is asked for", nn.residual(4, { shortcut: "projection" }), ["projection"]],
    ["pooled", nn.residual(4, { stride: 2, shortcut: "pooled" }), ["pooled"]],
    ["pooled and projected", nn.residual(6, { stride: 2, shortcut: "pooled" }), ["projection"]],
    ["padded", nn.residual(6, { stride: 2, shortcut: "padded" }), ["padded"]],
    ["padded where nothing changes", nn.residual(4, { shortcut: "padded" }), ["identity"]],
    ["none", nn.bottleneck(4, { shortcut: "none" }), []],
    ["pre-activation", nn.bottleneck(4, { order: "pre" }), ["identity"]],
    ["pre-activation and projection", nn.bottleneck(8, { order: "pre" }), ["projection"]],
    ["rezero", nn.residual(4, { branchScale: "rezero" }), ["identity"]],
    ["layer scale", nn.residual(4, { branchScale: { layerScale: 1e-6 } }), ["identity"]],
    ["fixup", nn.residual(4, { branchScale: { fixup: 3 } }), ["identity"]],
    ["squeeze-and-excitation", nn.residual(4, { squeeze: 2 }), ["identity"]],
    ["stochastic depth", nn.residual(4, { dropPath: 0.5 }), ["identity"]],
  ];
  test.each(rows)("%s", (_name, net, want) => {
    expect(kinds(build(net, IMAGE))).toEqual(want);
    expect(kinds(build(net, IMAGE, { mode: "training" }))).toEqual(want);
  });

  test("sizes of images may be symbols, also behind a stride", () => {
    const net = nn.sequential(
      nn.residual(4),
      nn.residual(6, { stride: 2 }),
      nn.residual(6),
      nn.residual(8, { stride: 2, shortcut: "padded" }),
      nn.residual(8, { shortcut: "identity" }),
    );
    const want = ["identity", "projection", "identity", "padded", "identity"];
    expect(kinds(build(net, [4, "H", "W"]))).toEqual(want);
  });

  test("projections fit sequences: [N, S, D] and [N, C, L]", () => {
    const wider = nn.skip(nn.dense(6));
    expect(build(wider, ["S", 5]).outputs[0]?.shape).toEqual(["N", "S", 6]);
    const shorter = nn.skip(nn.conv1d(6, 3, { stride: 2 }));
    expect(build(shorter, [5, 9]).outputs[0]?.shape).toEqual(["N", 6, 5]);
  });
});

describe("what does not fit", () => {
  const failure = (net: nn.Layer, shape: readonly number[] = IMAGE) => {
    try {
      build(net, shape);
    } catch (error) {
      if (error instanceof SkipwayError) return error.diagnostics[0];
      throw error;
    }
    return undefined;
  };

  test("is named with both shapes, the line, and what would repair it", () => {
    expect(failure(nn.bottleneck(6, { stride: 2, shortcut: "identity" }))).toMatchObject({
      id: "shape/mismatch",
      where: expect.stringMatching(/^layer \(root\) \(.*residual\.test\.ts:\d+:\d+\)$/),
      text: expect.stringMatching(
        /^the skip "x" carries \[N,4,5,6\], the branch ".*norm.*" makes \[N,6,3,3\]$/,
      ),
      fix: 'Use shortcut "auto": a 1x1 projection 4→6 with stride 2.',
    });
    expect(failure(nn.residualDense(3, { shortcut: "identity" }), [5])?.fix).toMatch(/5→3/);
  });

  test("a rate that is none is refused, also where nothing is dropped", () => {
    expect(failure(nn.residual(4, { dropPath: 1 }))?.text).toMatch(/depth is 1/);
  });

  test("channels cannot be taken away by padding", () => {
    expect(failure(nn.residual(2, { shortcut: "padded" }))?.fix).toMatch(/only be added/);
  });
});

describe("how a branch starts", () => {
  const scales: readonly nn.BranchScale[] = ["zero", "rezero", { skipInit: 0 }, { fixup: 16 }];
  test.each(scales.flatMap((scale) => [["post", scale] as const, ["pre", scale] as const]))(
    "at nothing, order %s, %j",
    async (order, branchScale) => {
      const graph = build(nn.bottleneck(4, { order, branchScale }), IMAGE);
      const x = noise([2, ...IMAGE]);
      const want = order === "post" ? relu(array64(x)) : array64(x);
      expect((await run(graph, { x })).values).toEqual(want.values);
    },
  );

  test("Fixup: He's deviation times L^(-1/(2m-2)), the last layer zero, no norms", () => {
    const deviation = (net: nn.Layer, name: string): number => {
      const values = new Reference(build(net, [32, 4, 4])).weight(name).values;
      return Math.sqrt(values.reduce((total, v) => total + v * v, 0) / values.length);
    };
    const basic = nn.residual(32, { branchScale: { fixup: 100 } });
    const deep = nn.bottleneck(32, { width: 32, branchScale: { fixup: 100 } });
    expect(deviation(basic, "conv.weight") / Math.sqrt(2 / 288)).toBeCloseTo(100 ** -0.5, 2);
    expect(deviation(deep, "conv2.weight") / Math.sqrt(2 / 288)).toBeCloseTo(100 ** -0.25, 1);
    expect(deviation(deep, "conv3.weight")).toBe(0);
    const ops = build(deep, [32, 4, 4]).nodes.map((node) => node.op);
    expect(ops).not.toContain("BatchNormalization");
  });
});

describe("stochastic depth", () => {
  test("is not there at inference", () => {
    const nodes = (dropPath: number) => build(nn.residual(4, { dropPath }), IMAGE).nodes;
    expect(nodes(0.5)).toEqual(nodes(0));
  });

  test("in training decides for each example, and keeps the mean", async () => {
    const graph = build(nn.residual(4, { dropPath: 0.2, order: "pre" }), IMAGE, {
      mode: "training",
    });
    const drop = graph.nodes.find((node) => node.op === "Dropout");
    const rate = graph.initializers.get(drop?.inputs[1] ?? "");
    expect(rate?.shape).toEqual([]);
    // In place of the random mask, one that is known: the first example is dropped.
    const known: Graph = scrambled({
      ...graph,
      inputs: [...graph.inputs, { name: "mask", dtype: "float32", shape: ["N", 1, 1, 1] }],
      nodes: graph.nodes.map((node) =>
        node === drop ? { ...node, op: "Mul", inputs: [node.inputs[0] ?? "", "mask"] } : node,
      ),
    });
    const x = noise([2, ...IMAGE]);
    const masked = await run(known, { x, mask: float32([2, 1, 1, 1], [0, 1.25]) });
    const ref = new Reference(known);
    const inner = ref.conv(relu(ref.norm(array64(x), "norm")), "conv");
    const branch = ref.conv(relu(ref.norm(inner, "norm2")), "conv2");
    const want = table(
      [2, ...IMAGE],
      (p) => at(array64(x), p) + (p[0] === 0 ? 0 : 1.25 * at(branch, p)),
    );
    for (const [i, value] of want.values.entries()) expect(masked.values[i]).toBeCloseTo(value, 4);
  });

  test("its rate rises in equal steps to the last block", () => {
    const rate = nn.linearDecay(0.5, 4);
    expect([0, 1, 2, 3].map(rate)).toEqual([0.125, 0.25, 0.375, 0.5]);
  });
});
