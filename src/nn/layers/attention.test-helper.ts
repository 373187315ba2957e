// Attention computed by hand in float64, one example at a time, and networks with weights at random to
// compare it with.

import { Random } from "../../base/random.ts";
import type { Graph } from "../../graph/graph.ts";
import {
  float32,
  float32Values,
  hasBytes,
  type Tensor,
  type TensorRef,
} from "../../graph/tensor.ts";
import { modelOf } from "../../onnx/onnx-model.ts";
import { encodeModel } from "../../onnx/write.ts";
import { inProcessRunner } from "../../runtime/in-process.ts";

/** A sequence of vectors. */
export type Rows = readonly (readonly number[])[];

/** The same graph with other weights, all at random: biases and scales would else start alike. */
export function shaken(graph: Graph, seed = 1): Graph {
  const random = new Random(seed, 7);
  const shake = (ref: TensorRef): TensorRef => {
    if (ref.dtype !== "float32" || ref.shape.length === 0) return ref;
    const count = ref.shape.reduce((a, b) => a * b, 1);
    return float32(
      ref.shape,
      Float32Array.from({ length: count }, () => 0.5 * random.normal()),
    );
  };
  const initializers = new Map([...graph.initializers].map(([name, ref]) => [name, shake(ref)]));
  return { ...graph, initializers };
}

/** Standard normal numbers. */
export function noise(count: number, seed: number): Float32Array {
  const random = new Random(seed, 11);
  return Float32Array.from({ length: count }, () => random.normal());
}

/** The outputs of a graph on the runtime, by name. */
export async function run(
  graph: Graph,
  feeds: Readonly<Record<string, Tensor>>,
): Promise<ReadonlyMap<string, number[]>> {
  const session = await inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
  try {
    const found = await session.run(new Map(Object.entries(feeds)));
    return new Map([...found].map(([name, t]) => [name, [...float32Values(t)]]));
  } finally {
    await session.close();
  }
}

/** The largest difference between two lists, and Infinity where they are not equally long. */
export function distance(a: readonly number[] | undefined, b: readonly number[]): number {
  if (a?.length !== b.length) return Number.POSITIVE_INFINITY;
  const differences = a.map((value, i) => Math.abs(value - (b[i] ?? Number.NaN)));
  return differences.some(Number.isNaN) ? Number.NaN : Math.max(0, ...differences);
}

/** A flat list as sequences of vectors. */
export function rowsOf(flat: ArrayLike<number>, length: number, width: number): Rows {
  return Array.from({ length }, (_, i) =>
    Array.from({ length: width }, (_, j) => flat[i * width + j] ?? Number.NaN),
  );
}

/** The weights of a graph under a path. */
export class Weights {
  readonly #graph: Graph;
  readonly #path: string;

  constructor(graph: Graph, path = "") {
    this.#graph = graph;
    this.#path = path;
  }

  at(path: string): Weights {
    return new Weights(this.#graph, `${this.#path}${path}.`);
  }

  /** Of all weights with axes; numbers alone are constants. */
  *names(): Generator<string> {
    for (const [name, ref] of this.#graph.initializers) {
      if (ref.dtype === "float32" && ref.shape.length > 0) yield name;
    }
  }

  has(name: string): boolean {
    return this.#graph.initializers.has(this.#path + name);
  }

  vector(name: string): readonly number[] {
    const ref = this.#graph.initializers.get(this.#path + name);
    if (ref === undefined || !hasBytes(ref)) throw new Error(`no weight ${this.#path}${name}`);
    return [...float32Values(ref)];
  }

  matrix(name: string): Rows {
    const [rows = 0, columns = 0] =
      this.#graph.initializers.get(this.#path + name)?.shape.slice(-2) ?? [];
    return rowsOf(this.vector(name), rows, columns);
  }

  /** x·W + b. */
  linear(x: Rows): Rows {
    const weight = this.matrix("weight");
    const bias = this.has("bias") ? this.vector("bias") : [];
    return x.map((row) =>
      (weight[0] ?? []).map(
        (_, j) => row.reduce((sum, value, i) => sum + value * at(weight, i, j), 0) + (bias[j] ?? 0),
      ),
    );
  }

  /** (x - mean) / √(variance + ε)·scale + bias. */
  layerNorm(x: Rows, epsilon = 1e-5): Rows {
    const [scale, bias] = [this.vector("scale"), this.vector("bias")];
    return x.map((row) => {
      const mean = sum(row) / row.length;
      const variance = sum(row.map((value) => (value - mean) ** 2)) / row.length;
      const root = Math.sqrt(variance + epsilon);
      return row.map((value, i) => ((value - mean) / root) * (scale[i] ?? 0) + (bias[i] ?? 0));
    });
  }

  /** x / √(mean of squares + ε)·scale. */
  rmsNorm(x: Rows, epsilon = 1e-5): Rows {
    const scale = this.vector("scale");
    return x.map((row) => {
      const root = Math.sqrt(sum(row.map((value) => value ** 2)) / row.length + epsilon);
      return row.map((value, i) => (value / root) * (scale[i] ?? 0));
    });
  }
}

function at(matrix: Rows, i: number, j: number): number {
  return matrix[i]?.[j] ?? Number.NaN;
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}

/** What attention by hand is told. */
export interface ByHand {
  readonly heads: number;
  readonly keyHeads: number;
  readonly causal?: boolean;
  /** Whether a key may be read. */
  readonly readable?: (key: number) => boolean;
  /** Turns the vector of one head at a position. */
  readonly turn?: (head: readonly number[], position: number) => readonly number[];
  readonly bias?: (head: number, query: number, key: number) => number;
  readonly scale?: number;
  readonly memory?: Rows;
}

/** Attention, one number after another. */
export function attend(x: Rows, weights: Weights, options: ByHand): Rows {
  const { heads, keyHeads, causal = false, memory = x } = options;
  const [q, k, v] = [
    weights.at("query").linear(x),
    weights.at("key").linear(memory),
    weights.at("value").linear(memory),
  ];
  const size = (q[0]?.length ?? 0) / heads;
  const { turn = (head: readonly number[]) => head, scale = 1 / Math.sqrt(size) } = options;
  const headOf = (rows: Rows, place: number, head: number): readonly number[] =>
    rows[place]?.slice(head * size, (head + 1) * size) ?? [];
  const mixed = x.map((_, i) =>
    Array.from({ length: heads }, (_, h) => {
      const shared = Math.floor((h * keyHeads) / heads);
      const query = turn(headOf(q, i, h), i);
      const scores = memory.map((_, j) => {
        if ((causal && j > i) || options.readable?.(j) === false) return Number.NEGATIVE_INFINITY;
        const key = turn(headOf(k, j, shared), j);
        const dot = sum(query.map((value, d) => value * (key[d] ?? Number.NaN)));
        return dot * scale + (options.bias?.(h, i, j) ?? 0);
      });
      const highest = Math.max(...scores);
      const powers = scores.map((score) => Math.exp(score - highest));
      const total = sum(powers);
      return Array.from({ length: size }, (_, d) =>
        sum(powers.map((power, j) => (power / total) * (headOf(v, j, shared)[d] ?? Number.NaN))),
      );
    }).flat(),
  );
  return weights.at("out").linear(mixed);
}

/** Rotary positions as rotations in a plane: element `first(i)` and `second(i)` make pair i. */
export function rotation(
  size: number,
  base: number,
  pair: (i: number) => readonly [number, number],
): NonNullable<ByHand["turn"]> {
  return (head, position) => {
    const turned = [...head];
    for (let i = 0; i < size / 2; i++) {
      const [first, second] = pair(i);
      const angle = position / base ** ((2 * i) / size);
      const [a = 0, b = 0] = [head[first], head[second]];
      turned[first] = a * Math.cos(angle) - b * Math.sin(angle);
      turned[second] = a * Math.sin(angle) + b * Math.cos(angle);
    }
    return turned;
  };
}
