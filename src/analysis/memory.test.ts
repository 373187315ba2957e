import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { GraphBuilder } from "../graph/build.ts";
import type { Graph } from "../graph/graph.ts";
import { float32, int64 } from "../graph/tensor.ts";
import { bindBatch, inferenceMemory } from "./memory.ts";

const OPSETS = new Map([["", 20]]);

/** Alive at a node: made by now, and read now or later, or an output of the graph. */
function bruteForce(graph: Graph, bytes: (name: string) => number): number[] {
  const values = [...graph.inputs.map((v) => v.name), ...graph.nodes.flatMap((n) => n.outputs)];
  const made = new Map<string, number>(graph.inputs.map((v) => [v.name, 0]));
  graph.nodes.forEach((node, i) => {
    for (const name of node.outputs) made.set(name, i);
  });
  const outputs = new Set(graph.outputs.map((v) => v.name));
  return graph.nodes.map((_, at) => {
    let total = 0;
    for (const name of values) {
      const readLater = graph.nodes.some((node, i) => i >= at && node.inputs.includes(name));
      const needed = readLater || outputs.has(name) || made.get(name) === at;
      if ((made.get(name) ?? 0) <= at && needed) total += bytes(name);
    }
    return total;
  });
}

describe("inference memory", () => {
  test("is what counting what is alive at each node gives, on random graphs", () => {
    const node = fc.record({ a: fc.nat(), b: fc.nat(), size: fc.integer({ min: 1, max: 9 }) });
    fc.assert(
      fc.property(fc.array(node, { minLength: 1, maxLength: 9 }), (nodes) => {
        const b = new GraphBuilder();
        const sizes = new Map<string, number>([["x", 5]]);
        const values = [b.input("x", "float32", [5])];
        for (const { a, b: second, size } of nodes) {
          const pick = (i: number): string => values[i % values.length] ?? "x";
          const [y = ""] = b.emit("Mystery", [pick(a), pick(second)], { domain: "test" }).outputs;
          b.setType(y, { dtype: "float32", shape: [size] });
          sizes.set(y, size);
          values.push(y);
        }
        // Every value that nobody reads is an output, as in a sound file.
        const draft = b.finish("g", OPSETS);
        const read = new Set(draft.nodes.flatMap((n) => n.inputs));
        const outputs = [...draft.values.values()].filter((v) => !read.has(v.name));
        const graph = { ...draft, outputs };
        const expected = bruteForce(graph, (name) => 4 * (sizes.get(name) ?? 0));
        const found = inferenceMemory(graph);
        expect(found.timeline.map((one) => one.bytes)).toEqual(expected);
        expect(found.peakBytes).toBe(Math.max(...expected));
        const standing = found.atPeak.reduce((sum, one) => sum + one.bytes, 0);
        expect(standing).toBe(found.peakBytes);
      }),
      { numRuns: 300 },
    );
  });

  test("a view shares the storage of what it views", () => {
    const b = new GraphBuilder();
    b.input("x", "float32", ["N", 4]);
    b.initializer("w", float32([8], new Array(8).fill(1)));
    b.initializer("flat", int64([1], [-1]));
    b.emit("Reshape", ["x", "flat"], { outputs: ["v"] });
    b.emit("Relu", ["v"], { outputs: ["y"] });
    b.output({ name: "y", dtype: "float32", shape: undefined });
    const found = inferenceMemory(inferShapes(b.finish("g", OPSETS)), { batch: 2 });
    expect(found.timeline.map((one) => one.bytes)).toEqual([32, 64]);
    expect(found.weightsBytes).toBe(8 * 4 + 8);
    expect(found.unknown).toBe(0);
  });

  test("scales with the batch, and says what it does not know", () => {
    const b = new GraphBuilder();
    b.input("x", "float32", ["N", "T", 4]);
    b.emit("Relu", ["x"], { outputs: ["y"] });
    b.output({ name: "y", dtype: "float32", shape: undefined });
    const graph = inferShapes(b.finish("g", OPSETS));
    expect(inferenceMemory(graph, { batch: 8 }).unknown).toBe(2);
    const fixed = inferShapes(graph, new Map([["T", 3]]));
    expect(inferenceMemory(fixed, { batch: 8 }).peakBytes).toBe(2 * 8 * 3 * 4 * 4);
    expect(bindBatch(fixed, 8).inputs[0]?.shape).toEqual([8, 3, 4]);
  });
});
