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
  Reference,
  relu,
  run,
  scrambled,
  table,
} from "./reference.test-helper.ts";

// The units of ShuffleNet and ConvNeXt against the same in double precision.

const IMAGE = [4, 5, 6];

function build(net: nn.Layer): Graph {
  return sound(nn.buildNet(net, { input: { name: "x", shape: IMAGE }, output: "y", seed: 1 }));
}

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

/** Channel c of the result is channel `from[c]` of a and b in a row. */
function dealt(a: Array64, b: Array64, from: readonly number[]): Array64 {
  const [n = 0, half = 0, h = 0, w = 0] = a.shape;
  return table([n, from.length, h, w], ([i = 0, c = 0, ...place]) => {
    const source = from[c] ?? 0;
    return source < half ? at(a, [i, source, ...place]) : at(b, [i, source - half, ...place]);
  });
}

function channels(x: Array64, from: number, until: number): Array64 {
  const [n = 0, , h = 0, w = 0] = x.shape;
  return table([n, until - from, h, w], ([i = 0, c = 0, ...place]) =>
    at(x, [i, from + c, ...place]),
  );
}

/** 1x1, depthwise 3x3, 1x1. */
function branchOf(ref: Reference, x: Array64, stride: number): Array64 {
  const path = "halves.branch";
  const first = relu(ref.norm(ref.conv(x, `${path}.conv`), `${path}.norm`));
  const groups = first.shape[1] ?? 1;
  const seen = ref.norm(ref.conv(first, `${path}.depthwise`, { stride, groups }), `${path}.norm2`);
  return relu(ref.norm(ref.conv(seen, `${path}.conv2`), `${path}.norm3`));
}

describe("the unit of ShuffleNet", () => {
  test("half passes by, and the halves are shuffled", () =>
    agrees(nn.shuffleUnit(4), (ref, x) => {
      const changed = branchOf(ref, channels(x, 2, 4), 1);
      return dealt(channels(x, 0, 2), changed, [0, 2, 1, 3]);
    }));

  test("with stride 2 both halves are made from all channels", () =>
    agrees(nn.shuffleUnit(6, { stride: 2 }), (ref, x) => {
      const path = "halves.shortcut";
      const seen = ref.conv(x, `${path}.depthwise`, { stride: 2, groups: 4 });
      const short = ref.conv(ref.norm(seen, `${path}.norm`), `${path}.conv`);
      const one = relu(ref.norm(short, `${path}.norm2`));
      return dealt(one, branchOf(ref, x, 2), [0, 3, 1, 4, 2, 5]);
    }));

  test("four channels shuffled twice in two groups are in order again", async () => {
    const there = nn.sequential(nn.channelShuffle(2), nn.channelShuffle(2));
    const x = float32(
      [1, ...IMAGE],
      Float32Array.from({ length: 120 }, (_, i) => i),
    );
    expect((await run(build(there), { x })).values).toEqual(array64(x).values);
  });

  test("the skip is a concatenation of a part", () => {
    const [skip] = census(build(nn.shuffleUnit(4))).skips;
    expect(skip).toMatchObject({ kind: "concat", block: "partial", span: 3 });
    expect(census(build(nn.shuffleUnit(4, { stride: 2 }))).skips).toEqual([]);
  });

  test("channels that do not fit are named", () => {
    const failure = (net: nn.Layer): string | undefined => {
      try {
        build(net);
      } catch (error) {
        if (error instanceof SkipwayError) return error.diagnostics[0]?.text;
      }
      return undefined;
    };
    expect(failure(nn.shuffleUnit(6))).toBe("a unit of 6 channels with stride 1 got 4");
    expect(failure(nn.channelShuffle(3))).toBe("4 channels do not fall into 3 groups");
  });
});

describe("the block of ConvNeXt", () => {
  /** The error function by its series: 40 terms are exact to double precision for |x| < 4. */
  function erf(x: number): number {
    let [term, total] = [x, x];
    for (let n = 1; n < 80; n++) {
      term *= (-x * x) / n;
      total += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * total;
  }
  const gelu = (x: Array64): Array64 =>
    each(x, (v) => (v / 2) * (1 + (Math.abs(v) > 5 ? Math.sign(v) : erf(v / Math.SQRT2))));

  test("depthwise, then a norm and two dense layers for each pixel", () =>
    agrees(nn.convnextBlock({ kernel: 3, expand: 2 }), (ref, x) => {
      const seen = ref.conv(x, "branch.depthwise", { groups: 4 });
      const { shape } = seen;
      const moments = (p: readonly number[]): readonly number[] =>
        [0, 1, 2, 3].map((c) => at(seen, [p[0] ?? 0, c, p[2] ?? 0, p[3] ?? 0]));
      const normed = table(shape, (p) => {
        const all = moments(p);
        const mean = all.reduce((a, b) => a + b, 0) / 4;
        const variance = all.reduce((a, b) => a + (b - mean) ** 2, 0) / 4;
        const c = p[1] ?? 0;
        const [scale, bias] = ["scale", "bias"].map(
          (n) => ref.weight(`branch.norm.${n}`).values[c],
        );
        return ((at(seen, p) - mean) / Math.sqrt(variance + 1e-6)) * (scale ?? 0) + (bias ?? 0);
      });
      const wide = perPixel(ref, normed, "branch.dense");
      const branch = perPixel(ref, gelu(wide), "branch.dense2");
      const factor = ref.weight("layer_scale.weight").values;
      return table(shape, (p) => at(x, p) + (factor[p[1] ?? 0] ?? 0) * at(branch, p));
    }));

  /** A dense layer over the channels of each pixel; weights [in, out]. */
  function perPixel(ref: Reference, x: Array64, name: string): Array64 {
    const [w, bias] = [ref.weight(`${name}.weight`), ref.weight(`${name}.bias`).values];
    const [from = 0, to = 0] = w.shape;
    const [n = 0, , h = 0, width = 0] = x.shape;
    return table([n, to, h, width], ([i = 0, o = 0, ...place]) => {
      let sum = bias[o] ?? 0;
      for (let c = 0; c < from; c++) sum += at(x, [i, c, ...place]) * (w.values[c * to + o] ?? 0);
      return sum;
    });
  }

  test("its skip is an identity", () => {
    expect(census(build(nn.convnextBlock())).skips.map((skip) => skip.kind)).toEqual(["identity"]);
  });
});
