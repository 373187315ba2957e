import { describe, expect, test } from "vitest";
import { sound } from "../../test/sound.ts";
import { hashName, mix32 } from "../base/random.ts";
import { inferShapes } from "../canonical/infer-shapes.ts";
import type { Graph } from "../graph/graph.ts";
import { parseGraph } from "../graph/parse.ts";
import { float32, float32Values, int64, type Tensor } from "../graph/tensor.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import type { Session } from "../runtime/runner.ts";
import { differentiate } from "./gradient/differentiate.ts";
import { withMasks } from "./random-mask.ts";

const WIDTH = 64;

/** Two Dropouts of one value. */
function pair(rate: number, batch: number | "N" = "N", opset = 20): Graph {
  const shape = `float[${batch},${WIDTH}]`;
  return parseGraph(`<opset_import: ["" : ${opset}]>
    g (${shape} x) => (${shape} a, ${shape} b) <float rate = {${rate}}> {
      [one] a = Dropout (x, rate)
      [two] b = Dropout (x, rate)
    }`);
}

function masked(graph: Graph, seed = 1): Graph {
  return sound(withMasks(inferShapes(graph), { seed, step: "step" }).graph);
}

async function open(graph: Graph): Promise<Session> {
  return inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
}

/** What becomes of ones. */
async function masks(
  session: Session,
  step: number,
  rows = 256,
): Promise<{ a: Float32Array; b: Float32Array }> {
  const x = float32([rows, WIDTH], new Float32Array(rows * WIDTH).fill(1));
  const found = await session.run(
    new Map([
      ["x", x],
      ["step", int64([], [step])],
    ]),
  );
  const values = (name: string): Float32Array => float32Values(found.get(name) as Tensor);
  return { a: values("a"), b: values("b") };
}

/** In standard deviations of what independent elements would have. */
function correlation(a: Float32Array, b: Float32Array): number {
  const count = Math.min(a.length, b.length);
  const mean = (v: Float32Array): number => v.reduce((s, one) => s + one, 0) / v.length;
  const [ma, mb] = [mean(a), mean(b)];
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < count; i++) {
    const [da, db] = [(a[i] ?? 0) - ma, (b[i] ?? 0) - mb];
    ab += da * db;
    aa += da * da;
    bb += db * db;
  }
  return Math.abs(ab / Math.sqrt(aa * bb)) * Math.sqrt(count);
}

describe("masks", () => {
  test.each(["N", 5] as const)(
    "are the hash of seed, node, step and place, batch %s",
    async (batch) => {
      await using session = await open(masked(pair(0.3, batch), 7));
      expect(session.inputs.get("step")).toEqual({ dtype: "int64", shape: [] });
      for (const step of [0, 1, 4_294_967_295]) {
        const found = await masks(session, step, 5);
        for (const [node, values] of [
          ["one", found.a],
          ["two", found.b],
        ] as const) {
          const key = mix32(mix32(7, hashName(node)), step);
          const wanted = Float32Array.from(values, (_, i) =>
            mix32(key, i) >>> 8 >= Math.round(Math.fround(0.3) * 2 ** 24)
              ? 1 / (1 - Math.fround(0.3))
              : 0,
          );
          expect(values).toEqual(wanted);
        }
      }
    },
  );

  test.each([0.05, 0.5, 0.9])("drop %f of all elements, wherever they stand", async (rate) => {
    await using session = await open(masked(pair(rate)));
    const dropped = new Float64Array(WIDTH);
    const rows = 256;
    const steps = 20;
    for (let step = 0; step < steps; step++) {
      const { a } = await masks(session, step, rows);
      const share = a.filter((v) => v === 0).length / a.length;
      expect(Math.abs(share - rate)).toBeLessThan(5 * Math.sqrt((rate * (1 - rate)) / a.length));
      for (const [i, v] of a.entries()) {
        if (v === 0) dropped[i % WIDTH] = (dropped[i % WIDTH] ?? 0) + 1;
      }
      expect(new Set(a).size).toBe(2);
      expect(Math.max(...a)).toBeCloseTo(1 / (1 - rate), 5);
    }
    // χ² over columns, 64 of them: its mean is 64, its variance 128.
    const expected = steps * rows * rate;
    const square = dropped.reduce((s, n) => s + (n - expected) ** 2, 0) / (expected * (1 - rate));
    expect(Math.abs(square - WIDTH)).toBeLessThan(5 * Math.sqrt(2 * WIDTH));
  });

  test("steps, nodes, seeds and neighbours have nothing to do with each other", async () => {
    await using session = await open(masked(pair(0.5)));
    await using other = await open(masked(pair(0.5), 2));
    const steps = await Promise.all([0, 1, 2, 3, 1000].map((step) => masks(session, step)));
    const [first] = steps;
    if (first === undefined) throw new TypeError("a step");
    for (const later of steps.slice(1)) {
      expect(correlation(first.a, later.a)).toBeLessThan(5);
      expect(correlation(first.a, later.a.subarray(1))).toBeLessThan(5);
    }
    expect(correlation(first.a, first.b)).toBeLessThan(5);
    expect(correlation(first.a, (await masks(other, 0)).a)).toBeLessThan(5);
    for (const lag of [1, 2, 8, WIDTH, WIDTH + 1]) {
      expect(correlation(first.a, first.a.subarray(lag))).toBeLessThan(5);
    }
  });

  test("are the same each time that they are asked for", async () => {
    const graph = masked(pair(0.5));
    await using session = await open(graph);
    await using again = await open(graph);
    const once = await masks(session, 3);
    await masks(session, 4);
    for (const one of [await masks(session, 3), await masks(again, 3)]) {
      expect(Buffer.compare(Buffer.from(one.a.buffer), Buffer.from(once.a.buffer))).toBe(0);
    }
  });
});

describe("the pass", () => {
  test("leaves graphs alone in which nothing is random", () => {
    const options = { seed: 1, step: "step" };
    const plain = parseGraph(
      '<opset_import: ["" : 20]> g (float[N] x) => (float[N] y) { y = Relu (x) }',
    );
    for (const graph of [plain, pair(0.5, 4, 17)]) {
      expect(withMasks(graph, options)).toEqual({ graph, step: undefined });
      expect(withMasks(graph, options).graph).toBe(graph);
    }
  });

  test("takes the ratio from an input, or the one that the standard means", async () => {
    const graph = parseGraph(`<opset_import: ["" : 20]>
      g (float[N,64] x) => (float[N,64] a, float[N,64] b, bool[N,64] kept)
      <float none = {0}> {
        a = Dropout (x, none)
        b, kept = Dropout (x)
      }`);
    await using session = await open(masked(graph));
    const found = await masks(session, 0);
    expect(found.a.every((v) => v === 1)).toBe(true);
    expect(new Set(found.b)).toEqual(new Set([0, 2]));
  });

  test("makes up no name that the graph has", () => {
    const graph = parseGraph(`<opset_import: ["" : 20]>
      g (float[N,64] mask) => (float[N,64] y) <float mask_ = {0.5}> {
        [mask_mul] h = Dropout (mask, mask_)
        [mask__] y = Relu (h)
      }`);
    const { nodes, initializers } = masked(graph);
    const names = [...nodes.flatMap((node) => node.outputs), ...initializers.keys()];
    expect(new Set(names).size).toBe(names.length);
    expect(new Set(nodes.map((node) => node.name)).size).toBe(nodes.length);
  });

  test("the gradient flows through what was kept, and only there", async () => {
    const graph = parseGraph(`<opset_import: ["" : 20]>
      g (float[8,64] x, float[8,64] w) => (float[] loss) <float rate = {0.25}> {
        h = Add (x, w)
        a = Dropout (h, rate)
        s = Mul (a, a)
        loss = ReduceSum <keepdims = 0> (s)
      }`);
    const { graph: both, gradients } = differentiate(masked(graph), { loss: "loss", wrt: ["w"] });
    const dw = gradients.get("w") ?? "";
    const outputs = ["a", dw].map((name) => ({ name, dtype: "float32" as const, shape: [8, 64] }));
    await using session = await open(sound({ ...both, outputs: [...both.outputs, ...outputs] }));
    const found = await session.run(
      new Map([
        ["x", float32([8, 64], new Float32Array(512).fill(3))],
        ["w", float32([8, 64], new Float32Array(512))],
        ["step", int64([], [2])],
      ]),
    );
    const [a, d] = ["a", dw].map((name) => [...float32Values(found.get(name) as Tensor)]);
    expect(new Set(a)).toEqual(new Set([0, 4]));
    // d(a²)/dw = 2a · mask, which is 0 or 4/3.
    expect(d?.map((v) => Math.round(v * 1e4) / 1e4)).toEqual(
      a?.map((v) => Math.round(((2 * v * 4) / 3) * 1e4) / 1e4),
    );
  });
});
