import { describe, expect, test } from "vitest";
import { sound } from "../../../test/sound.ts";
import { census } from "../../analysis/census.ts";
import type { Graph } from "../../graph/graph.ts";
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

// Dense blocks, inverted residuals and squeeze-and-excitation against the same in double precision.

function build(net: nn.Layer, shape: nn.NetInput["shape"] = IMAGE): Graph {
  return sound(nn.buildNet(net, { input: { name: "x", shape }, output: "y", seed: 1 }));
}

const IMAGE = [4, 5, 6];

async function agrees(
  net: nn.Layer,
  byHand: (ref: Reference, x: Array64) => Array64,
): Promise<void> {
  const graph = scrambled(build(net));
  const x = noise([2, ...IMAGE]);
  const want = byHand(new Reference(graph), array64(x));
  const got = await run(graph, { x });
  expect(got.shape).toEqual(want.shape);
  const largest = Math.max(1, ...want.values.map(Math.abs));
  for (const [i, value] of want.values.entries()) {
    expect(Math.abs((got.values[i] ?? Number.NaN) - value) / largest).toBeLessThan(1e-5);
  }
}

/** [a, b] along the channels. */
function joined(a: Array64, b: Array64): Array64 {
  const [n = 0, first = 0, h = 0, w = 0] = a.shape;
  return table([n, first + (b.shape[1] ?? 0), h, w], ([i = 0, c = 0, ...place]) =>
    c < first ? at(a, [i, c, ...place]) : at(b, [i, c - first, ...place]),
  );
}

const relu6 = (x: Array64): Array64 => each(x, (v) => Math.min(6, Math.max(0, v)));

describe("dense blocks", () => {
  test("each layer reads all before it", () =>
    agrees(nn.denseBlock(2, { growth: 3, bottleneck: 2 }), (ref, x) => {
      const layer = (y: Array64, path: string): Array64 => {
        const inner = ref.conv(relu(ref.norm(y, `${path}.norm`)), `${path}.conv`);
        return ref.conv(relu(ref.norm(inner, `${path}.norm2`)), `${path}.conv2`);
      };
      const one = joined(x, layer(x, "layer1"));
      return joined(one, layer(one, "layer2"));
    }));

  test("without a bottleneck", () =>
    agrees(nn.denseBlock(1, { growth: 3, bottleneck: 0 }), (ref, x) =>
      joined(x, ref.conv(relu(ref.norm(x, "layer1.norm")), "layer1.conv")),
    ));

  test("a transition halves channels and sizes", () => {
    expect(build(nn.transition({ compression: 0.6 }), [5, 7, 6]).outputs[0]?.shape).toEqual([
      "N",
      3,
      3,
      3,
    ]);
    return agrees(nn.sequential(nn.transition()), (ref, x) => {
      const y = ref.conv(relu(ref.norm(x, "transition.norm")), "transition.conv");
      // The last row of five has no window.
      const even = table([2, 2, 4, 6], (place) => at(y, place));
      return pooled(even, 2);
    });
  });

  test("n layers make n concatenations and n(n+1)/2 links", () => {
    const found = census(build(nn.denseBlock(5, { growth: 2 })));
    expect(found.skips.map((skip) => skip.block)).toEqual(Array(5).fill("dense"));
    expect(found.denseLinks).toBe(15);
  });
});

describe("inverted residuals", () => {
  test("wide inside, linear at the end, a skip where shapes agree", () =>
    agrees(nn.invertedResidual(4, { expand: 3 }), (ref, x) => {
      const wide = relu6(ref.norm(ref.conv(x, "conv"), "norm"));
      const seen = relu6(ref.norm(ref.conv(wide, "depthwise", { groups: 12 }), "norm2"));
      return sum(x, ref.norm(ref.conv(seen, "conv2"), "norm3"));
    }));

  test("no skip over a stride; a kernel of 5; squeezed to a share of what comes in", () =>
    agrees(
      nn.invertedResidual(3, { expand: 2, kernel: 5, stride: 2, squeeze: 2, activation: nn.silu }),
      (ref, x) => {
        const wide = silu(ref.norm(ref.conv(x, "conv"), "norm"));
        const seen = ref.conv(wide, "depthwise", { groups: 8, stride: 2 });
        const factored = ref.squeezed(silu(ref.norm(seen, "norm2")), "squeeze", silu);
        expect(ref.weight("squeeze.conv.weight").shape).toEqual([2, 8, 1, 1]);
        return ref.norm(ref.conv(factored, "conv2"), "norm3");
      },
    ));

  test("without expansion there is no first convolution", () =>
    agrees(nn.invertedResidual(4, { expand: 1 }), (ref, x) => {
      const seen = relu6(ref.norm(ref.conv(x, "depthwise", { groups: 4 }), "norm"));
      return sum(x, ref.norm(ref.conv(seen, "conv"), "norm2"));
    }));

  test("their skips are identities", () => {
    const kinds = (net: nn.Layer) => census(build(net)).skips.map((skip) => skip.kind);
    expect(kinds(nn.invertedResidual(4, { squeeze: 4 }))).toEqual(["identity"]);
    expect(kinds(nn.invertedResidual(5))).toEqual([]);
    expect(kinds(nn.invertedResidual(4, { stride: 2 }))).toEqual([]);
  });
});
