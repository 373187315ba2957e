// For the tests of blocks: networks with weights that are all at work, run on the runtime, and the arithmetic
// of layers in double precision, loop by loop.

import { present } from "../../base/assert.ts";
import { Random } from "../../base/random.ts";
import type { Graph } from "../../graph/graph.ts";
import { float32, float32Values, type Tensor } from "../../graph/tensor.ts";
import { modelOf } from "../../onnx/onnx-model.ts";
import { encodeModel } from "../../onnx/write.ts";
import { inProcessRunner } from "../../runtime/in-process.ts";

/** Other numbers in all weights, statistics too: nothing is 0 or 1 by chance, variances are positive. */
export function scrambled(graph: Graph, scale = 0.5): Graph {
  const random = new Random(11);
  const initializers = new Map(
    [...graph.initializers].map(([name, ref]) => {
      if (ref.dtype !== "float32" || ref.shape.length === 0) return [name, ref] as const;
      const count = ref.shape.reduce((a, b) => a * b, 1);
      const isVariance = name.endsWith("running_variance");
      const value = () => (isVariance ? 0.5 + random.uniform() : scale * random.normal());
      return [name, float32(ref.shape, Array.from({ length: count }, value))] as const;
    }),
  );
  return { ...graph, initializers };
}

/** The only output of a graph for its inputs. */
export async function run(
  graph: Graph,
  feeds: Readonly<Record<string, Tensor>>,
): Promise<{ shape: readonly number[]; values: number[] }> {
  await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
  const found = await session.run(new Map(Object.entries(feeds)));
  const y = present(found.get(graph.outputs[0]?.name ?? ""), "an output");
  return { shape: y.shape, values: [...float32Values(y)] };
}

/** Normal numbers of a shape. */
export function noise(shape: readonly number[], seed = 5): Tensor {
  const random = new Random(seed);
  const count = shape.reduce((a, b) => a * b, 1);
  return float32(
    shape,
    Array.from({ length: count }, () => random.normal()),
  );
}

/** A tensor in double precision. */
export interface Array64 {
  readonly shape: readonly number[];
  readonly values: readonly number[];
}

/** Layers in double precision, with the weights of a graph. Images are [N, C, H, W]. */
export class Reference {
  readonly #graph: Graph;

  constructor(graph: Graph) {
    this.#graph = graph;
  }

  weight(name: string): Array64 {
    const ref = present(this.#graph.initializers.get(name), name) as Tensor;
    return { shape: ref.shape, values: [...float32Values(ref)] };
  }

  scalar(name: string): number {
    return present(this.weight(name).values[0], name);
  }

  conv(x: Array64, name: string, options: { stride?: number; groups?: number } = {}): Array64 {
    const { stride = 1, groups = 1 } = options;
    const w = this.weight(`${name}.weight`);
    const [n = 0, c = 0, height = 0, width = 0] = x.shape;
    const [out = 0, each = 0, k = 0] = w.shape;
    const pad = Math.floor(k / 2);
    const [rows, columns] = [height, width].map((s) => Math.floor((s + 2 * pad - k) / stride) + 1);
    const bias = this.#graph.initializers.has(`${name}.bias`)
      ? this.weight(`${name}.bias`).values
      : [];
    return table([n, out, rows ?? 0, columns ?? 0], ([b = 0, o = 0, i = 0, j = 0]) => {
      const from = Math.floor(o / (out / groups)) * (c / groups);
      let sum = bias[o] ?? 0;
      for (let m = 0; m < each; m++) {
        for (let u = 0; u < k; u++) {
          for (let v = 0; v < k; v++) {
            const [p, q] = [i * stride + u - pad, j * stride + v - pad];
            if (p < 0 || q < 0 || p >= height || q >= width) continue;
            const tap = w.values[((o * each + m) * k + u) * k + v] ?? Number.NaN;
            sum += tap * at(x, [b, from + m, p, q]);
          }
        }
      }
      return sum;
    });
  }

  /** Rank 2; weights [units, K]. */
  dense(x: Array64, name: string): Array64 {
    const [w, bias] = [this.weight(`${name}.weight`), this.#biasOf(name)];
    const [n = 0, k = 0] = x.shape;
    return table([n, w.shape[0] ?? 0], ([b = 0, o = 0]) => {
      let sum = bias[o] ?? 0;
      for (let i = 0; i < k; i++) sum += at(x, [b, i]) * (w.values[o * k + i] ?? Number.NaN);
      return sum;
    });
  }

  #biasOf(name: string): readonly number[] {
    const known = this.#graph.initializers.has(`${name}.bias`);
    return known ? this.weight(`${name}.bias`).values : [];
  }

  /** Batch normalisation by running statistics. */
  norm(x: Array64, name: string): Array64 {
    const [scale, bias, mean, variance] = ["scale", "bias", "running_mean", "running_variance"].map(
      (part) => this.weight(`${name}.${part}`).values,
    );
    const of = (list: readonly number[] | undefined, c: number): number => list?.[c] ?? Number.NaN;
    return table(x.shape, (place) => {
      const c = place[1] ?? 0;
      const normed = (at(x, place) - of(mean, c)) / Math.sqrt(of(variance, c) + 1e-5);
      return normed * of(scale, c) + of(bias, c);
    });
  }

  /** x times a factor for each channel from its mean, by two 1x1 convolutions. */
  squeezed(x: Array64, name: string, activation: (x: Array64) => Array64 = relu): Array64 {
    const [n = 0, c = 0, h = 0, w = 0] = x.shape;
    const mean = table([n, c, 1, 1], ([b = 0, channel = 0]) => {
      let sum = 0;
      for (let i = 0; i < h; i++) for (let j = 0; j < w; j++) sum += at(x, [b, channel, i, j]);
      return sum / (h * w);
    });
    const inner = activation(this.conv(mean, `${name}.conv`));
    const factors = this.conv(inner, `${name}.conv2`);
    return table(x.shape, (p) => at(x, p) * sigmoid(at(factors, [p[0] ?? 0, p[1] ?? 0, 0, 0])));
  }
}

function sigmoid(value: number): number {
  return 1 / (1 + Math.exp(-value));
}

export function at(x: Array64, place: readonly number[]): number {
  const index = x.shape.reduce((sum, size, axis) => sum * size + (place[axis] ?? 0), 0);
  return x.values[index] ?? Number.NaN;
}

/** The tensor whose element at each place is a function of the place. */
export function table(shape: readonly number[], of: (place: readonly number[]) => number): Array64 {
  const count = shape.reduce((a, b) => a * b, 1);
  const values = Array.from({ length: count }, (_, index) => {
    const place: number[] = [];
    let rest = index;
    for (const size of shape.toReversed()) {
      place.unshift(rest % size);
      rest = Math.floor(rest / size);
    }
    return of(place);
  });
  return { shape, values };
}

export function array64(x: Tensor): Array64 {
  return { shape: x.shape, values: [...float32Values(x)] };
}

export function sum(a: Array64, b: Array64): Array64 {
  return table(a.shape, (p) => at(a, p) + at(b, p));
}

/** A function of each element. */
export function each(x: Array64, of: (value: number) => number): Array64 {
  return { shape: x.shape, values: x.values.map(of) };
}

export function relu(x: Array64): Array64 {
  return each(x, (v) => Math.max(0, v));
}

export function silu(x: Array64): Array64 {
  return each(x, (v) => v * sigmoid(v));
}

/** Mean of windows of s x s pixels, those beyond the edge left out. */
export function pooled(x: Array64, s: number): Array64 {
  const [n = 0, c = 0, h = 0, w = 0] = x.shape;
  return table([n, c, Math.ceil(h / s), Math.ceil(w / s)], ([b = 0, m = 0, i = 0, j = 0]) => {
    let [total, count] = [0, 0];
    for (let u = i * s; u < Math.min(h, (i + 1) * s); u++) {
      for (let v = j * s; v < Math.min(w, (j + 1) * s); v++, count++) total += at(x, [b, m, u, v]);
    }
    return total / count;
  });
}
