import { describe, expect, test } from "vitest";
import { present } from "../../base/assert.ts";
import type { Graph } from "../../graph/graph.ts";
import { float32, float32Values, type Tensor } from "../../graph/tensor.ts";
import * as nn from "../index.ts";
import { noise, run } from "./reference.test-helper.ts";

// How a signal comes through a thousand blocks that were just initialised: mean square of the output over
// that of the input, and how far two near inputs get from each other. In double precision, where nothing
// overflows; the runtime gives the same.

const DEPTH = 1000;
const WIDTH = 16;
const ROWS = 8;

/** A residual MLP of order `pre`: x and a thousand branches of two layers. */
function tower(branchScale: nn.BranchScale): Graph {
  const block = nn.residualDense(WIDTH, { order: "pre", branchScale });
  const blocks = Array.from({ length: DEPTH }, (_, i) => nn.named(`block${i + 1}`, block));
  const input = { name: "x", shape: [WIDTH] };
  return nn.buildNet(nn.sequential(...blocks), { input, output: "y", seed: 1 });
}

const plain = tower("none");
const rezero = tower("rezero");
const fixup = tower({ fixup: DEPTH });
const zero = tower("zero");

/** The same with other numbers in the weights that end so. */
function changed(graph: Graph, ending: string, value: (count: number, i: number) => Float32Array) {
  const initializers = new Map(
    [...graph.initializers].map(([name, ref], i) => {
      if (!name.endsWith(ending)) return [name, ref] as const;
      const count = ref.shape.reduce((a, b) => a * b, 1);
      return [name, float32(ref.shape, value(count, i))] as const;
    }),
  );
  return { ...graph, initializers };
}

/** Last layers of branches with He's values, where they started at zero: as after long training. */
function moved(graph: Graph): Graph {
  return changed(graph, "dense2.weight", (count, i) =>
    float32Values(noise([count], 100 + i)).map((v) => v * Math.sqrt(2 / WIDTH)),
  );
}

/** x + s·W₂ relu(W₁ relu(x)) for each block; biases are zero. Without skips, the branch alone. */
function byHand(graph: Graph, x: readonly number[], skips = true): number[] {
  const weight = (name: string): Float32Array | undefined => {
    const ref = graph.initializers.get(name);
    return ref === undefined ? undefined : float32Values(ref as Tensor);
  };
  let row = [...x];
  for (let i = 1; i <= DEPTH; i++) {
    const scale = weight(`block${i}.scale.weight`)?.[0] ?? 1;
    const inner = times(present(weight(`block${i}.dense.weight`), "a layer"), row);
    const branch = times(present(weight(`block${i}.dense2.weight`), "a layer"), inner);
    row = branch.map((v, j) => scale * v + (skips ? (row[j] ?? 0) : 0));
  }
  return row;
}

/** W·relu(x). */
function times(matrix: Float32Array, x: readonly number[]): number[] {
  return x.map((_, o) =>
    x.reduce((sum, v, i) => sum + (matrix[o * WIDTH + i] ?? 0) * Math.max(0, v), 0),
  );
}

/** Squares overflow last: growth is told as a logarithm to base 2. */
function signal(graph: Graph, skips = true): { growth: number; spread: number } {
  const xs = rowsOf(float32Values(noise([ROWS, WIDTH])));
  const shifts = rowsOf(float32Values(noise([ROWS, WIDTH], 6))).map((row) =>
    row.map((v) => 0.01 * v),
  );
  const ys = xs.map((x) => byHand(graph, x, skips));
  const near = xs.map((x, r) =>
    byHand(
      graph,
      x.map((v, i) => v + (shifts[r]?.[i] ?? 0)),
      skips,
    ),
  );
  const apart = ys.map((y, r) => y.map((v, i) => v - (near[r]?.[i] ?? 0)));
  return { growth: size(ys) - size(xs), spread: size(apart) - size(shifts) };
}

function rowsOf(values: Float32Array): number[][] {
  return Array.from({ length: ROWS }, (_, r) => [...values.slice(r * WIDTH, (r + 1) * WIDTH)]);
}

/** Logarithm of the sum of squares. */
function size(rows: readonly (readonly number[])[]): number {
  const largest = Math.max(...rows.flat().map(Math.abs), Number.MIN_VALUE);
  const sum = rows.flat().reduce((total, v) => total + (v / largest) ** 2, 0);
  return Math.log2(sum) + 2 * Math.log2(largest);
}

/** Squares beyond this logarithm are beyond the largest number of single precision, squared. */
const OVERFLOW = 256;

describe(`a signal through ${DEPTH} blocks`, () => {
  test("overflows single precision without a scale, and is gone without skips", () => {
    expect(signal(plain).growth).toBeGreaterThan(OVERFLOW);
    expect(signal(plain, false).growth).toBeLessThan(-OVERFLOW);
  });

  test.each([
    ["ReZero", rezero],
    ["Fixup", fixup],
    ["a last layer of zeros", zero],
  ])("%s: passes unchanged at the start", (_name, graph) => {
    expect(signal(graph)).toEqual({ growth: 0, spread: expect.closeTo(0, 6) });
  });

  // Each block adds 1/L of x: (1 + 1/L)^L tends to e.
  const bounded = (found: { growth: number; spread: number }): void => {
    expect(found.growth).toBeGreaterThan(0.5);
    expect(found.growth).toBeLessThan(2 * Math.log2(Math.E));
    expect(found.spread).toBeGreaterThan(0);
    expect(found.spread).toBeLessThan(2 * Math.log2(Math.E));
  };

  test("SkipInit from 1/√L, and ReZero once its scalars have moved so far: grows to about e", () => {
    bounded(signal(tower({ skipInit: DEPTH ** -0.5 })));
    const scalars = (count: number) => new Float32Array(count).fill(DEPTH ** -0.5);
    bounded(signal(changed(rezero, "scale.weight", scalars)));
  });

  test("Fixup: stays bounded when all last layers have moved, and explodes without its factor", async () => {
    const graph = moved(fixup);
    bounded(signal(graph));
    expect(signal(moved(zero)).growth).toBeGreaterThan(OVERFLOW);
    // The runtime says the same of a thousand blocks.
    const x = noise([1, WIDTH]);
    const { values } = await run(graph, { x });
    const want = byHand(graph, [...float32Values(x)]);
    for (const [i, v] of want.entries()) expect(values[i]).toBeCloseTo(v, 4);
  });
});

test("a ResNet of 1,202 layers runs", async () => {
  const net = nn.cifarResnet(1202, { width: 2 });
  const input = { name: "x", shape: [3, 8, 8] };
  const graph = nn.buildNet(net, { input, output: "y", seed: 1 });
  const { shape, values } = await run(graph, { x: noise([2, 3, 8, 8]) });
  expect(shape).toEqual([2, 10]);
  expect(values.every(Number.isFinite)).toBe(true);
});
