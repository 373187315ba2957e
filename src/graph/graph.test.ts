import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { GraphBuilder } from "./build.ts";
import { dtypeBytes, isFloat } from "./dtype.ts";
import { captures, indexOf, producerOf, usesOf } from "./query.ts";
import { bindShape, broadcast, formatShape, normalizeAxis, sameShape } from "./shape.ts";
import { float32, float32Values, int64, int64Values, numbersOf, tensor } from "./tensor.ts";
import { graphDiagnostics } from "./verify.ts";

describe("shapes", () => {
  const dims = fc.array(fc.constantFrom(1, 2, 3), { maxLength: 4 });

  test("broadcasting is numpy's: brute force over the indices", () => {
    fc.assert(
      fc.property(dims, dims, (a, b) => {
        const rank = Math.max(a.length, b.length);
        const at = (s: number[], axis: number): number => s[axis - rank + s.length] ?? 1;
        const axes = Array.from({ length: rank }, (_, i) => [at(a, i), at(b, i)]);
        const fits = axes.every(([x, y]) => x === y || x === 1 || y === 1);
        const expected = fits ? axes.map(([x = 1, y = 1]) => Math.max(x, y)) : undefined;
        expect(broadcast(a, b)).toEqual(expected);
      }),
    );
  });

  test("symbols: the same name is the same size, unknown is equal to nothing", () => {
    expect(broadcast(["N", 3], [1, 3])).toEqual(["N", 3]);
    expect(broadcast(["N"], ["M"])).toEqual(["?"]);
    expect(broadcast(["N"], [4])).toEqual([4]);
    expect(sameShape(["N", 2], ["N", 2])).toBe(true);
    expect(sameShape(["?"], ["?"])).toBe(false);
    expect(bindShape(["N", "M", 2], new Map([["N", 8]]))).toEqual([8, "M", 2]);
    expect(formatShape(["N", 64])).toBe("[N,64]");
    expect(normalizeAxis(-1, 3)).toBe(2);
    expect(normalizeAxis(3, 3)).toBeUndefined();
  });
});

describe("tensors", () => {
  test("views are views where they are aligned, copies where not", () => {
    const bytes = new Uint8Array(20);
    new DataView(bytes.buffer).setFloat32(4, 2.5, true);
    const aligned = tensor("float32", [1], bytes.subarray(4, 8));
    expect(float32Values(aligned)[0]).toBe(2.5);
    expect(float32Values(aligned).buffer).toBe(bytes.buffer);
    new DataView(bytes.buffer).setFloat32(9, -1, true);
    expect(float32Values(tensor("float32", [1], bytes.subarray(9, 13)))[0]).toBe(-1);
  });

  test("sizes must agree", () => {
    expect(() => tensor("float32", [2], new Uint8Array(4))).toThrow(/needs 8 bytes/);
    expect(numbersOf(int64([2], [-5, 9]))).toEqual([-5, 9]);
    expect(int64Values(int64([1], [2 ** 50]))[0]).toBe(2n ** 50n);
    expect(numbersOf(float32([2], [0.5, -1]))).toEqual([0.5, -1]);
  });

  test("sub-byte types are packed", () => {
    expect(dtypeBytes("int4", 3)).toBe(2);
    expect(dtypeBytes("uint2", 5)).toBe(2);
    expect(dtypeBytes("float6e2m3", 4)).toBe(3);
    expect(isFloat("bfloat16")).toBe(true);
    expect(isFloat("int8")).toBe(false);
  });
});

function diamond() {
  const b = new GraphBuilder();
  b.input("x", "float32", [2]);
  b.emit("Relu", ["x"], { name: "left" });
  b.emit("Tanh", ["x"], { name: "right" });
  b.emit("Add", ["left.output", "right.output"], { name: "join", outputs: ["y"] });
  b.output({ name: "y", dtype: "float32", shape: [2] });
  return b;
}

describe("graphs", () => {
  test("producers and uses", () => {
    const graph = diamond().finish("g", new Map());
    expect(producerOf(graph, "y")?.name).toBe("join");
    expect(producerOf(graph, "x")).toBeUndefined();
    expect(usesOf(graph, "x").map((use) => use.node.name)).toEqual(["left", "right"]);
    expect(indexOf(graph)).toBe(indexOf(graph));
    expect(indexOf(graph).outputs.has("y")).toBe(true);
  });

  test("names are made unique", () => {
    const b = diamond();
    const again = b.emit("Relu", ["x"], { name: "left" });
    expect(again.name).toBe("left_1");
    expect(again.outputs).toEqual(["left_1.output"]);
  });

  test("captures are what a body reads of the outside", () => {
    const body = new GraphBuilder();
    body.emit("Add", ["outer", "x"], { outputs: ["inner"] });
    body.output({ name: "inner", dtype: "float32", shape: [2] });
    const graph = body.finish("body", new Map());
    expect([...captures(graph)].sort()).toEqual(["outer", "x"]);
    const b = new GraphBuilder();
    b.input("x", "float32", [2]);
    b.input("c", "bool", []);
    b.emit("If", ["c"], {
      attributes: { then_branch: { kind: "graph", value: graph } },
      outputs: ["y"],
    });
    b.output({ name: "y", dtype: "float32", shape: [2] });
    const outer = b.finish("outer", new Map());
    expect(usesOf(outer, "x").map((use) => use.input)).toEqual([-1]);
    expect(graphDiagnostics(outer).map((one) => one.id)).toEqual(["graph/undefined-value"]);
  });

  test("a sound graph has no findings, every fault has one", () => {
    expect(graphDiagnostics(diamond().finish("g", new Map()))).toEqual([]);
    const graph = diamond().finish("g", new Map());
    const reversed = { ...graph, nodes: graph.nodes.toReversed() };
    expect(graphDiagnostics(reversed)).toHaveLength(2);
  });

  test("two inputs of one name are a fault, a weight of an input's name is its default", () => {
    const graph = diamond().finish("g", new Map());
    const twice = { ...graph, inputs: [...graph.inputs, ...graph.inputs] };
    expect(graphDiagnostics(twice).map((one) => one.id)).toEqual(["graph/duplicate-value"]);
    const initializers = new Map([["x", float32([2], [1, 2])]]);
    expect(graphDiagnostics({ ...graph, initializers })).toEqual([]);
  });

  test("a body that hides a name is warned of, bodies side by side may share names", () => {
    const body = (output: string) => {
      const inner = new GraphBuilder();
      inner.emit("Relu", ["x"], { outputs: [output] });
      inner.output({ name: output, dtype: "float32", shape: [2] });
      return { kind: "graph" as const, value: inner.finish("body", new Map()) };
    };
    const outer = (output: string) => {
      const b = new GraphBuilder();
      b.input("x", "float32", [2]);
      b.input("c", "bool", []);
      b.emit("Neg", ["x"], { outputs: ["before"] });
      const attributes = { then_branch: body(output), else_branch: body(output) };
      b.emit("If", ["c"], { attributes, outputs: ["y"] });
      return graphDiagnostics(b.finish("outer", new Map()));
    };
    expect(outer("inside")).toEqual([]);
    expect(outer("before").map((one) => [one.severity, one.id])).toEqual([
      ["warning", "graph/shadowed-value"],
      ["warning", "graph/shadowed-value"],
    ]);
  });
});

test("an int64 tensor holds the ends of its range, which no number is", () => {
  const ends = int64([3], [2 ** 63, -(2 ** 63), 7]);
  expect([...int64Values(ends)]).toEqual([2n ** 63n - 1n, -(2n ** 63n), 7n]);
});
