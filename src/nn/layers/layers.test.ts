import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { int64 } from "../../graph/tensor.ts";
import * as nn from "../index.ts";
import {
  agrees,
  built,
  distance,
  element,
  findingOf,
  randomValues,
  runOn,
  runWith,
  type Values,
  valuesBy,
  weightOf,
} from "./layers.test-helper.ts";

// Each layer against its definition, written out in float64.

interface Window {
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  /** Top, left, bottom, right. */
  readonly padding: readonly [number, number, number, number];
  readonly dilation: readonly [number, number];
}

function outputSize(size: number, axis: 0 | 1, w: Window): number {
  const padded = size + w.padding[axis] + w.padding[axis === 0 ? 2 : 3];
  return Math.floor((padded - w.dilation[axis] * (w.kernel[axis] - 1) - 1) / w.stride[axis]) + 1;
}

/** Σ over taps of a function of the pixel's place. */
function overWindow(
  w: Window,
  [y, x]: readonly [number, number],
  at: (row: number, column: number, tapRow: number, tapColumn: number) => void,
): void {
  for (let i = 0; i < w.kernel[0]; i++) {
    for (let j = 0; j < w.kernel[1]; j++) {
      const row = y * w.stride[0] - w.padding[0] + i * w.dilation[0];
      const column = x * w.stride[1] - w.padding[1] + j * w.dilation[1];
      at(row, column, i, j);
    }
  }
}

function convolved(
  x: Values,
  { weight, bias, groups }: { weight: Values; bias: Values | undefined; groups: number },
  w: Window,
): Values {
  const [n = 0, , high = 0, wide = 0] = x.shape;
  const [channels = 0, perGroup = 0] = weight.shape;
  const shape = [n, channels, outputSize(high, 0, w), outputSize(wide, 1, w)];
  return valuesBy(shape, ([b = 0, c = 0, row = 0, column = 0]) => {
    const group = Math.floor(c / (channels / groups));
    let total = bias === undefined ? 0 : element(bias, [c]);
    overWindow(w, [row, column], (y, z, i, j) => {
      for (let k = 0; k < perGroup; k++) {
        total += element(weight, [c, k, i, j]) * element(x, [b, group * perGroup + k, y, z]);
      }
    });
    return total;
  });
}

describe("convolutions", () => {
  const pair = (max: number) => fc.tuple(fc.integer({ min: 1, max }), fc.integer({ min: 1, max }));
  const four = fc.tuple(fc.nat(2), fc.nat(2), fc.nat(2), fc.nat(2));

  test("any kernel, stride, padding, dilation and number of groups", async () => {
    await fc.assert(
      fc.asyncProperty(
        pair(3),
        pair(2),
        four,
        pair(2),
        fc.constantFrom(1, 2, 4),
        fc.boolean(),
        async (kernel, stride, padding, dilation, groups, bias) => {
          const window = { kernel, stride, padding, dilation };
          const layer = nn.conv(4, kernel, { stride, padding, dilation, groups, bias });
          await agrees(layer, randomValues([2, 4, 6, 7]), (x, weight) =>
            convolved(
              x,
              {
                weight: weight("weight"),
                bias: bias ? weight("bias") : undefined,
                groups,
              },
              window,
            ),
          );
        },
      ),
      { numRuns: 25 },
    );
  });

  test("without padding given, stride 1 keeps the size, for even kernels too", () => {
    for (const kernel of [1, 2, 3, 4, 5]) {
      for (const dilation of [1, 2, 3]) {
        const shape = [2, 6, "W"];
        expect(built(nn.conv(3, kernel, { dilation }), shape).outputs[0]?.shape).toEqual([
          "N",
          3,
          6,
          "W",
        ]);
      }
    }
  });

  test("over a sequence; with zeros before it alone, nothing looks ahead", async () => {
    const layer = nn.conv1d(3, 3, { dilation: 2, padding: [4, 0] });
    await agrees(layer, randomValues([2, 2, 9]), (x, weight) =>
      valuesBy([2, 3, 9], ([b = 0, c = 0, t = 0]) => {
        let total = element(weight("bias"), [c]);
        for (let k = 0; k < 2; k++) {
          for (let i = 0; i < 3; i++) {
            total += element(weight("weight"), [c, k, i]) * element(x, [b, k, t - 4 + 2 * i]);
          }
        }
        return total;
      }),
    );
  });

  test("each channel by itself", async () => {
    const window: Window = {
      kernel: [3, 3],
      stride: [2, 2],
      padding: [1, 1, 1, 1],
      dilation: [1, 1],
    };
    await agrees(nn.depthwise(3, { stride: 2 }), randomValues([2, 3, 5, 5]), (x, weight) =>
      convolved(x, { weight: weight("weight"), bias: weight("bias"), groups: 3 }, window),
    );
    const sequence = built(nn.depthwise(3, { bias: false }), [3, 7]);
    expect(weightOf(sequence, "weight").shape).toEqual([3, 1, 3]);
  });

  test("transposed: the transpose of the convolution with the same weight", async () => {
    await fc.assert(
      fc.asyncProperty(
        pair(3),
        pair(3),
        fc.constantFrom(1, 2),
        fc.nat(1),
        async (kernel, stride, groups, cut) => {
          const padding = Math.min(cut, ...kernel.map((k) => k - 1));
          const layer = nn.convTranspose(4, kernel, { stride, padding, groups, bias: false });
          const x = randomValues([1, 2, 3, 4]);
          await agrees(layer, x, (_x, weight) => {
            const w = weight("weight");
            const high = 2 * stride[0] + kernel[0] - 2 * padding;
            const wide = 3 * stride[1] + kernel[1] - 2 * padding;
            const totals = new Float64Array(4 * high * wide);
            for (const [flat, value] of x.data.entries()) {
              const [c, y, z] = [Math.floor(flat / 12), Math.floor(flat / 4) % 3, flat % 4];
              const group = Math.floor(c / (2 / groups));
              for (let k = 0; k < 4 / groups; k++) {
                for (let i = 0; i < kernel[0]; i++) {
                  for (let j = 0; j < kernel[1]; j++) {
                    const row = y * stride[0] + i - padding;
                    const column = z * stride[1] + j - padding;
                    if (row < 0 || row >= high || column < 0 || column >= wide) continue;
                    const at = ((group * 4) / groups + k) * high * wide + row * wide + column;
                    totals[at] = (totals[at] ?? 0) + value * element(w, [c, k, i, j]);
                  }
                }
              }
            }
            return { shape: [1, 4, high, wide], data: [...totals] };
          });
        },
      ),
      { numRuns: 15 },
    );
  });

  test("what does not fit is said with shapes", () => {
    expect(findingOf(nn.conv(4, 3), [4])?.text).toBe("a convolution takes [N,C,H,W], it got [N,4]");
    expect(findingOf(nn.conv(4, 3, { groups: 3 }), [4, 8, 8])?.text).toBe(
      "4 channels in and 4 out do not divide into 3 groups",
    );
    expect(findingOf(nn.conv(4, 5, { padding: 0 }), [4, 3, 8])).toMatchObject({
      id: "nn/window",
      text: "axis 2 of [N,4,3,8] is shorter than the window",
    });
    expect(findingOf(nn.conv(4, 0), [4, 3, 8])?.id).toBe("nn/option");
    expect(findingOf(nn.conv(4, 3, { stride: 0 }), [4, 3, 8])?.id).toBe("nn/option");
    expect(findingOf(nn.conv(4, 3), ["C", 3, 8])?.id).toBe("nn/channels");
    expect(findingOf(nn.maxPool(4), [4, 3, 8])?.id).toBe("nn/window");
  });
});

describe("dense layers and embeddings", () => {
  test("over the last axis of any rank", async () => {
    for (const bias of [true, false]) {
      await agrees(nn.dense(3, { bias }), randomValues([2, 5]), (x, weight) =>
        valuesBy([2, 3], ([b = 0, u = 0]) => {
          let total = bias ? element(weight("bias"), [u]) : 0;
          for (let k = 0; k < 5; k++)
            total += element(x, [b, k]) * element(weight("weight"), [u, k]);
          return total;
        }),
      );
      await agrees(nn.dense(3, { bias }), randomValues([2, 4, 5]), (x, weight) =>
        valuesBy([2, 4, 3], ([b = 0, s = 0, u = 0]) => {
          let total = bias ? element(weight("bias"), [u]) : 0;
          for (let k = 0; k < 5; k++)
            total += element(x, [b, s, k]) * element(weight("weight"), [k, u]);
          return total;
        }),
      );
    }
  });

  test("an embedding gives the vector of each number", async () => {
    const input: nn.NetInput = { name: "x", shape: ["S"], dtype: "int64" };
    const graph = built(nn.embedding(7, 3), [], { input });
    expect(graph.outputs[0]?.shape).toEqual(["N", "S", 3]);
    const found = await runWith(graph, { x: int64([1, 4], [6, 0, 3, 3]) });
    const table = weightOf(graph, "weight");
    const wanted = valuesBy([1, 4, 3], ([, s = 0, k = 0]) =>
      element(table, [[6, 0, 3, 3][s] ?? 0, k]),
    );
    expect(found.get("y")).toEqual(wanted);
  });
});

describe("normalisations", () => {
  const image = randomValues([2, 4, 3, 5]);
  /** (v - mean) / √(variance + ε) over the elements that belong together. */
  const normed = (x: Values, together: (index: readonly number[]) => string): Values => {
    const groups = new Map<string, number[]>();
    valuesBy(x.shape, (index) => {
      const key = together(index);
      groups.set(key, [...(groups.get(key) ?? []), element(x, index)]);
      return 0;
    });
    return valuesBy(x.shape, (index) => {
      const own = groups.get(together(index)) ?? [];
      const mean = own.reduce((a, b) => a + b, 0) / own.length;
      const variance = own.reduce((a, v) => a + (v - mean) ** 2, 0) / own.length;
      return (element(x, index) - mean) / Math.sqrt(variance + 1e-5);
    });
  };
  const affine = (x: Values, axis: number, weight: (name: string) => Values, bias = true): Values =>
    valuesBy(x.shape, (index) => {
      const i = [index[axis] ?? 0];
      return (
        element(x, index) * element(weight("scale"), i) + (bias ? element(weight("bias"), i) : 0)
      );
    });

  test("batch: by running statistics", async () => {
    await agrees(nn.batchNorm(), image, (x, weight) =>
      valuesBy(x.shape, (index) => {
        const c = [index[1] ?? 0];
        const r = Math.sqrt(element(weight("running_variance"), c) + 1e-5);
        const centred = element(x, index) - element(weight("running_mean"), c);
        return (centred / r) * element(weight("scale"), c) + element(weight("bias"), c);
      }),
    );
  });

  test("layer: over the last axis, or over channels", async () => {
    for (const axis of [-1, 1]) {
      for (const bias of [true, false]) {
        const along = axis === 1 ? 1 : 3;
        await agrees(nn.layerNorm({ axis, bias }), image, (x, weight) =>
          affine(
            normed(x, (index) => index.filter((_, i) => i !== along).join()),
            along,
            weight,
            bias,
          ),
        );
      }
    }
  });

  test("group and instance", async () => {
    await agrees(nn.groupNorm(2), image, (x, weight) =>
      affine(
        normed(x, ([b, c = 0]) => `${b} ${Math.floor(c / 2)}`),
        1,
        weight,
      ),
    );
    await agrees(nn.instanceNorm(), image, (x, weight) =>
      affine(
        normed(x, ([b, c]) => `${b} ${c}`),
        1,
        weight,
      ),
    );
    const open = built(nn.groupNorm(2), [4, "H", "W"]);
    expect(open.outputs[0]?.shape).toEqual(["N", 4, "H", "W"]);
    const same = built(nn.groupNorm(2), [4, 3, 5]);
    expect(distance(await runOn(open, image), await runOn(same, image))).toBe(0);
  });

  test("root mean square", async () => {
    await agrees(nn.rmsNorm(), image, (x, weight) =>
      valuesBy(x.shape, (index) => {
        const row = Array.from({ length: 5 }, (_, k) => element(x, index.with(3, k)) ** 2);
        const mean = row.reduce((a, b) => a + b, 0) / 5;
        return (
          (element(x, index) / Math.sqrt(mean + 1e-5)) * element(weight("scale"), [index[3] ?? 0])
        );
      }),
    );
  });

  test("what does not fit is said", () => {
    expect(findingOf(nn.groupNorm(3), [4, 3, 5])?.text).toBe(
      "4 channels do not divide into 3 groups",
    );
    expect(findingOf(nn.layerNorm({ axis: 0 }), [4])?.id).toBe("nn/axis");
    expect(findingOf(nn.layerNorm(), [4, "W"])?.id).toBe("nn/size");
  });
});

describe("pooling", () => {
  const image = randomValues([2, 3, 7, 6]);
  const window: Window = {
    kernel: [3, 2],
    stride: [2, 1],
    padding: [1, 0, 1, 0],
    dilation: [1, 1],
  };
  const pooled = (x: Values, reduce: (inside: number[]) => number): Values =>
    valuesBy([2, 3, 4, 5], ([b = 0, c = 0, row = 0, column = 0]) => {
      const inside: number[] = [];
      overWindow(window, [row, column], (y, z) => {
        if (y >= 0 && y < 7 && z >= 0 && z < 6) inside.push(element(x, [b, c, y, z]));
      });
      return reduce(inside);
    });
  const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
  const options = { stride: window.stride, padding: [1, 0] } as const;

  test("windows: the largest, the mean with and without the padding", async () => {
    await agrees(nn.maxPool([3, 2], options), image, (x) => pooled(x, (v) => Math.max(...v)));
    await agrees(nn.avgPool([3, 2], options), image, (x) => pooled(x, (v) => sum(v) / 6));
    await agrees(nn.avgPool([3, 2], { ...options, countPadding: false }), image, (x) =>
      pooled(x, (v) => sum(v) / v.length),
    );
  });

  test("sizes rounded up, and sequences", () => {
    const shape = (layer: nn.Layer, from: nn.NetInput["shape"]) =>
      built(layer, from).outputs[0]?.shape;
    expect(shape(nn.maxPool(3, { stride: 2, ceil: true }), [3, 112, 112])).toEqual([
      "N",
      3,
      56,
      56,
    ]);
    expect(shape(nn.maxPool(3, { stride: 2 }), [3, 112, 112])).toEqual(["N", 3, 55, 55]);
    expect(shape(nn.avgPool(2), [3, 8])).toEqual(["N", 3, 4]);
    expect(shape(nn.globalPool(), [3, "L"])).toEqual(["N", 3]);
    expect(shape(nn.adaptivePool(1, 1), [3, "H", "W"])).toEqual(["N", 3, 1, 1]);
  });

  test("adaptive: windows between ⌊i·H/n⌋ and ⌈(i+1)·H/n⌉", async () => {
    for (const [high, wide] of [
      [7, 3],
      [3, 4],
      [7, 6],
      [1, 2],
      [9, 9],
      [1, 1],
    ] as const) {
      await agrees(nn.adaptivePool(high, wide), image, (x) =>
        valuesBy([2, 3, high, wide], ([b = 0, c = 0, i = 0, j = 0]) => {
          const inside: number[] = [];
          for (let y = Math.floor((i * 7) / high); y < Math.ceil(((i + 1) * 7) / high); y++) {
            for (let z = Math.floor((j * 6) / wide); z < Math.ceil(((j + 1) * 6) / wide); z++) {
              inside.push(element(x, [b, c, y, z]));
            }
          }
          return sum(inside) / inside.length;
        }),
      );
    }
    expect(findingOf(nn.adaptivePool(2, 2), [3, "H", 4])?.id).toBe("nn/size");
  });

  test("all pixels", async () => {
    await agrees(nn.globalPool(), image, (x) =>
      valuesBy([2, 3], ([b = 0, c = 0]) => {
        const start = (b * 3 + c) * 42;
        return sum(x.data.slice(start, start + 42)) / 42;
      }),
    );
  });
});

/** Φ, by the series of erf: enough terms for |x| below 4. */
function normalDistribution(x: number): number {
  const z = x / Math.SQRT2;
  let [term, total] = [z, z];
  for (let k = 1; k < 100; k++) {
    term *= (-z * z) / k;
    total += term / (2 * k + 1);
  }
  return 0.5 + total / Math.sqrt(Math.PI);
}

describe("activations", () => {
  const clamp = (v: number, low: number, high: number): number => Math.min(Math.max(v, low), high);
  const logistic = (v: number): number => 1 / (1 + Math.exp(-v));
  const softplus = (v: number): number => Math.log1p(Math.exp(v));
  const rows: readonly (readonly [string, nn.Layer, (v: number) => number])[] = [
    ["relu", nn.relu(), (v) => Math.max(v, 0)],
    ["relu6", nn.relu6(), (v) => clamp(v, 0, 6)],
    ["gelu", nn.gelu(), (v) => v * normalDistribution(v)],
    [
      "gelu by tanh",
      nn.gelu({ approximate: "tanh" }),
      (v) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3))),
    ],
    ["silu", nn.silu(), (v) => v * logistic(v)],
    ["sigmoid", nn.sigmoid(), logistic],
    ["tanh", nn.tanh(), Math.tanh],
    ["hardSwish", nn.hardSwish(), (v) => v * clamp(v / 6 + 0.5, 0, 1)],
    ["hardSigmoid", nn.hardSigmoid(), (v) => clamp(v / 6 + 0.5, 0, 1)],
    ["leakyRelu", nn.leakyRelu(0.2), (v) => (v > 0 ? v : 0.2 * v)],
    ["elu", nn.elu(), (v) => (v > 0 ? v : Math.expm1(v))],
    ["softplus", nn.softplus(), softplus],
    ["mish", nn.mish(), (v) => v * Math.tanh(softplus(v))],
  ];

  test.each(rows)("%s", async (_name, layer, define) => {
    const { data } = randomValues([2, 20]);
    const x = { shape: [2, 20], data: data.map((v, i) => (i % 4 === 0 ? v * 3.5 : v)) };
    await agrees(layer, x, () => ({ shape: x.shape, data: x.data.map(define) }));
  });

  test("prelu has a slope for each channel, softmax sums to one", async () => {
    const image = randomValues([2, 3, 2, 2]);
    await agrees(nn.prelu(), image, (x, weight) =>
      valuesBy(x.shape, (index) => {
        const v = element(x, index);
        return v > 0 ? v : v * element(weight("slope"), [index[1] ?? 0]);
      }),
    );
    await agrees(nn.softmax(1), image, (x) =>
      valuesBy(x.shape, (index) => {
        const all = [0, 1, 2].map((c) => Math.exp(element(x, index.with(1, c))));
        return Math.exp(element(x, index)) / all.reduce((a, b) => a + b, 0);
      }),
    );
    expect(findingOf(nn.softmax(4), [3])?.id).toBe("nn/axis");
  });
});
