import { describe, expect, test } from "vitest";
import { evaluate } from "../../test/float64/evaluate.ts";
import { randomGraph } from "../../test/gradients/random-graph.ts";
import { sound } from "../../test/sound.ts";
import { memoryOf } from "../analysis/memory.ts";
import { Random } from "../base/random.ts";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import { type Graph, int, type Node, subgraphs, type ValueName } from "../graph/graph.ts";
import { parseGraph } from "../graph/parse.ts";
import { captures, indexOf } from "../graph/query.ts";
import { float32, float32Values } from "../graph/tensor.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { exportModel } from "../runtime/export.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import { differentiate } from "./gradient/differentiate.ts";
import { recompute, type Segment, segmentsBetween } from "./recompute.ts";

/** All nodes that a value depends on, by the edges of the graph alone. */
function behind(graph: Graph, value: ValueName): ReadonlySet<Node> {
  const { producers } = indexOf(graph);
  const found = new Set<Node>();
  const open = [value];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    const maker = producers.get(name);
    if (maker === undefined || found.has(maker)) continue;
    found.add(maker);
    open.push(...maker.inputs, ...subgraphs(maker).flatMap((body) => [...captures(body)]));
  }
  return found;
}

/** Nothing reads an original once the gradient is there, and no copy is made before. */
function expectBehindBarrier(given: Graph, segments: readonly Segment[]): number {
  const { graph, copies } = recompute(given, segments);
  sound(graph);
  const { uses, producers } = indexOf(graph);
  for (const { values, after } of segments) {
    const before = behind(graph, after);
    const gradient = producers.get(after);
    for (const name of values) {
      const copy = copies.get(name);
      if (copy === undefined) continue;
      for (const { node } of uses.get(name) ?? []) expect(before.has(node), name).toBe(true);
      expect(gradient !== undefined && behind(graph, copy).has(gradient), copy).toBe(true);
    }
  }
  return copies.size;
}

/** A random graph with the gradients of a sum of squares of its outputs, and parts between values that were drawn. */
function drawn(seed: number) {
  const random = new Random(seed);
  const found = randomGraph(random, 5 + random.integer(25));
  const builder = new TypedBuilder(found.graph);
  const parts = found.ends.map((end) =>
    builder.emit("ReduceSumSquare", [end], { attributes: { keepdims: int(0) } }),
  );
  builder.emit("Sum", parts, { outputs: ["loss"] });
  builder.output({ name: "loss", dtype: "float32", shape: [] });
  const forward = builder.finish("random", found.graph.opsets);
  const made = forward.nodes.flatMap(({ outputs }) => outputs);
  const some = made.filter((name) => name !== "loss" && random.uniform() < 0.2);
  const wrt = [...found.leaves, ...some];
  const { graph, gradients } = differentiate(forward, {
    loss: "loss",
    wrt,
    unreached: "leave-out",
  });
  const outputs = found.leaves.flatMap((name) => {
    const gradient = gradients.get(name);
    const type = gradient === undefined ? undefined : graph.values.get(gradient);
    return type === undefined ? [] : [type];
  });
  const kept = some.flatMap((name) => {
    const gradient = gradients.get(name);
    return gradient === undefined ? [] : [[name, gradient] as const];
  });
  const whole = { ...graph, outputs: [...graph.outputs, ...outputs] };
  return { whole, feeds: found.feeds, segments: segmentsBetween(whole, new Map(kept)) };
}

describe("what is computed twice", () => {
  test("is the same, to the last bit, on random graphs", () => {
    let copies = 0;
    for (let seed = 1; seed <= 40; seed++) {
      const { whole, feeds, segments } = drawn(seed);
      copies += expectBehindBarrier(whole, segments);
      const expected = evaluate(whole, feeds);
      const found = evaluate(recompute(whole, segments).graph, feeds);
      for (const { name } of whole.outputs) {
        expect(found.get(name), `${name}, seed ${seed}`).toEqual(expected.get(name));
      }
    }
    expect(copies).toBeGreaterThan(100);
  });

  test("is the same on the runtime, which fuses what it can", async () => {
    for (let seed = 100; seed < 106; seed++) {
      const { whole, feeds, segments } = drawn(seed);
      const given = new Map(
        [...feeds].map(([name, { shape, values }]) => [
          name,
          float32(shape, Float32Array.from(values)),
        ]),
      );
      const [expected, found] = await Promise.all(
        [whole, recompute(whole, segments).graph].map(async (graph) => {
          const bytes = encodeModel(modelOf(graph));
          await using session = await inProcessRunner().load({ bytes });
          return session.run(given);
        }),
      );
      for (const { name } of whole.outputs) {
        expect(found?.get(name), `${name}, seed ${seed}`).toEqual(expected?.get(name));
      }
    }
  });
});

/** Twelve layers of tanh with the gradient of x, and that of every fourth. */
function layers(batch: number | "N" = 64) {
  const between = Array.from({ length: 11 }, (_, i) => `a${i + 2} = Tanh (a${i + 1})`);
  const forward = inferShapes(
    parseGraph(`<opset_import: ["" : 20]>
    g (float[${batch},8] x) => (float loss) {
      a1 = Tanh (x)
      ${between.join("\n")}
      loss = ReduceSumSquare <keepdims = 0> (a12)
    }`),
  );
  const ends = ["a4", "a8", "a12"];
  const { graph, gradients } = differentiate(forward, { loss: "loss", wrt: ["x", ...ends] });
  const gradient = (name: string): ValueName => gradients.get(name) ?? "";
  const dx = graph.values.get(gradient("x")) ?? { name: "", dtype: "float32", shape: [] };
  const whole = { ...graph, outputs: [...graph.outputs, dx] };
  return { whole, kept: new Map(ends.map((name) => [name, gradient(name)])) };
}

describe("the barrier", () => {
  test("keeps the runtime from joining a copy with its original", async () => {
    const { whole, kept } = layers();
    const { graph, copies } = recompute(whole, segmentsBetween(whole, kept));
    expect(copies.size).toBe(9);
    const count = async (of: Graph): Promise<number> => {
      const { graph: left } = await exportModel(of, { form: "optimized" });
      return left.nodes.filter(({ op }) => op === "Tanh").length;
    };
    expect(await count(graph)).toBe(21);
    // The same without one is joined: this is what the barrier is for.
    const bare = graph.nodes.map((node) =>
      node.op === "Tanh"
        ? { ...node, inputs: node.inputs.map((name) => viewed(graph, name)) }
        : node,
    );
    expect(await count({ ...graph, nodes: bare })).toBe(12);
  });

  test("lets less be alive at once", () => {
    const { whole, kept } = layers();
    const { graph } = recompute(whole, segmentsBetween(whole, kept));
    const peak = (of: Graph): number => memoryOf(of, { batch: 64, sizes: {} }).peakBytes;
    expect(peak(graph)).toBeLessThan(peak(whole));
  });

  test.each([0, 1, 5])("holds for a batch of %i whose size is read at run time", async (batch) => {
    const { whole, kept } = layers("N");
    const { graph } = recompute(whole, segmentsBetween(whole, kept));
    const x = float32(
      [batch, 8],
      Float32Array.from({ length: batch * 8 }, (_, i) => i / 40 - 0.4),
    );
    const [expected, found] = await Promise.all(
      [whole, graph].map(async (one) => {
        await using session = await inProcessRunner().load({
          bytes: encodeModel(modelOf(sound(one))),
        });
        return session.run(new Map([["x", x]]));
      }),
    );
    expect(found).toEqual(expected);
  });

  test("lets a gradient that is no number pass", async () => {
    const { whole, kept } = layers();
    const { graph } = recompute(whole, segmentsBetween(whole, kept));
    await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
    const found = await session.run(
      new Map([["x", float32([64, 8], new Float32Array(512).fill(Number.NaN))]]),
    );
    for (const values of found.values()) expect(float32Values(values)[0]).toBeNaN();
  });
});

/** The value of which a barrier is a view. */
function viewed(graph: Graph, name: ValueName): ValueName {
  const maker = indexOf(graph).producers.get(name);
  return maker?.name.startsWith("barrier.") ? (maker.inputs[0] ?? "") : name;
}

describe("left as it is", () => {
  const text = (nodes: string, outputs = ""): Graph =>
    inferShapes(
      parseGraph(`<opset_import: ["" : 20]>
      g (float[2,3] x, bool c) => (float[2,3] y${outputs}) <float[2,3] w = {1, 2, 3, 4, 5, 6}> {
        ${nodes}
        late = Neg (x)
        y = Mul (v, late)
      }`),
    );
  const again = (graph: Graph, after = "late"): readonly string[] => [
    ...recompute(graph, [{ values: ["v"], after }]).copies.keys(),
  ];

  test.each([
    ["what the gradient does not need", "v = Exp (x)", ""],
    ["what depends on constants alone", "v = Exp (w)", ""],
  ])("%s", (_what, nodes, outputs) => {
    const graph = text(nodes, outputs);
    expect(again(graph)).toEqual([]);
    expect(recompute(graph, [{ values: ["v"], after: "late" }]).graph).toBe(graph);
  });

  const needed = (nodes: string, outputs = ""): Graph =>
    inferShapes(
      parseGraph(`<opset_import: ["" : 20]>
      g (float[2,3] x, bool c) => (float[2,3] y${outputs}) {
        ${nodes}
        late = Neg (v)
        y = Mul (v, late)
      }`),
    );
  test.each([
    ["outputs of the graph", needed("v = Exp (x)", ", float[2,3] v")],
    ["what is drawn at random", needed("v = RandomNormalLike (x)")],
    [
      "what a branch gives",
      needed(`v = If (c) <
        then_branch = t () => (float[2,3] a) { a = Exp (x) },
        else_branch = e () => (float[2,3] b) { b = Neg (x) }
      >`),
    ],
  ])("%s", (_what, graph) => {
    expect(again(graph)).toEqual([]);
  });

  test("and nothing else", () => {
    const graph = needed("v = Exp (x)");
    expect(again(graph)).toEqual(["v"]);
    expect(expectBehindBarrier(graph, [{ values: ["v"], after: "late" }])).toBe(1);
  });
});
