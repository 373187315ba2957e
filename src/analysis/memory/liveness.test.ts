import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import { GraphBuilder } from "../../graph/build.ts";
import { type Graph, type Node, subgraphs } from "../../graph/graph.ts";
import { typeOf } from "../../graph/query.ts";
import { graph as textGraph } from "../../graph/text.test-helper.ts";
import { valueBytes } from "../../ops/rules.ts";
import { inferenceMemory } from "../memory.ts";
import { planArena } from "./arena.ts";
import { momentsOf } from "./liveness.ts";
import { bestOrder } from "./order.ts";
import { memoryReport, orderProblem } from "./report.ts";

const OPSETS = new Map([["", 20]]);
/** Floats in the smallest value: 64 bytes, as arenas align. */
const UNIT = 16;

/** A node that reads two values, or an If whose branches are such nodes; numbers pick among what is there. */
interface Drawn {
  readonly a: number;
  readonly b: number;
  readonly size: number;
  readonly branches?: readonly (readonly Drawn[])[];
}

const leaf = fc.record({ a: fc.nat(), b: fc.nat(), size: fc.integer({ min: 1, max: 9 }) });
const branch = (inner: fc.Arbitrary<Drawn>): fc.Arbitrary<readonly Drawn[]> =>
  fc.array(inner, { maxLength: 3 });
const choice = (inner: fc.Arbitrary<Drawn>): fc.Arbitrary<Drawn> =>
  fc.record({
    ...{ a: fc.nat(), b: fc.nat(), size: fc.integer({ min: 1, max: 9 }) },
    branches: fc.tuple(branch(inner), branch(inner)),
  });
const drawnNodes = (maxLength: number): fc.Arbitrary<Drawn[]> =>
  fc.array(fc.oneof(leaf, choice(fc.oneof(leaf, choice(leaf)))), { minLength: 1, maxLength });

/** Adds what was drawn, reading what is there, and gives the values that there are then. */
function add(b: GraphBuilder, drawn: readonly Drawn[], there: readonly string[]): string[] {
  const values = [...there];
  for (const { a, b: second, size, branches } of drawn) {
    const pick = (i: number): string => values[i % values.length] ?? "x";
    const type = { dtype: "float32", shape: [size * UNIT] } as const;
    if (branches === undefined) {
      const [y = ""] = b.emit("Mystery", [pick(a), pick(second)], {
        domain: "test",
        outputs: [fresh()],
      }).outputs;
      b.setType(y, type);
      values.push(y);
      continue;
    }
    const [then_branch, else_branch] = branches.map((inner) => {
      const body = new GraphBuilder();
      const last = { a, b: second, size };
      const y = add(body, [...inner, last], values).at(-1) ?? "";
      body.output({ name: y, ...type });
      return { kind: "graph", value: body.finish("branch", OPSETS) } as const;
    });
    if (then_branch === undefined || else_branch === undefined) throw new Error("two are drawn");
    const attributes = { then_branch, else_branch };
    const [y = ""] = b.emit("If", ["c"], { attributes, outputs: [fresh()] }).outputs;
    b.setType(y, type);
    values.push(y);
  }
  return values;
}

let made = 0;
const fresh = (): string => `v${made++}`;

function built(drawn: readonly Drawn[]): Graph {
  const b = new GraphBuilder();
  b.input("x", "float32", [5 * UNIT]);
  b.input("c", "bool", []);
  add(b, drawn, ["x"]);
  const draft = b.finish("g", OPSETS);
  const read = new Set(draft.nodes.flatMap(readsOf));
  const outputs = [...draft.values.values()].filter(({ name }) => name !== "c" && !read.has(name));
  return inferShapes({ ...draft, outputs });
}

/** All names that a node reads, in its bodies too: names are unique over all graphs here. */
function readsOf(node: Node): string[] {
  const inner = subgraphs(node).flatMap((body) => [
    ...body.nodes.flatMap(readsOf),
    ...body.outputs.map(({ name }) => name),
  ]);
  return [...node.inputs, ...inner];
}

/** From the definition: what is made by now and read now or later, and the largest moment of a branch. */
function counted(graph: Graph, elsewhere: ReadonlySet<string> = new Set()): number[] {
  const made = graph.nodes.flatMap((node) => node.outputs);
  const outputs = new Set(graph.outputs.map((v) => v.name));
  const read = new Set([...graph.nodes.flatMap(readsOf), ...outputs]);
  const values = [...graph.inputs.map((v) => v.name), ...made.filter((name) => read.has(name))];
  return graph.nodes.map((node, at) => {
    let total = 0;
    for (const name of values) {
      const from = Math.max(
        0,
        graph.nodes.findIndex((one) => one.outputs.includes(name)),
      );
      const later = graph.nodes.some((one, i) => i >= at && readsOf(one).includes(name));
      const alive = from === at || (from <= at && (later || outputs.has(name)));
      if (alive && !elsewhere.has(name)) total += valueBytes(typeOf(graph, name)) ?? 0;
    }
    // The result of a branch lies where that of the If does, if anybody takes it.
    const branches = subgraphs(node).map((body) => {
      const results = body.outputs.filter((_, i) => read.has(node.outputs[i] ?? ""));
      return Math.max(0, ...counted(body, new Set(results.map(({ name }) => name))));
    });
    return total + Math.max(0, ...branches);
  });
}

function* ordersOf(graph: Graph, done: readonly Node[] = []): Generator<readonly Node[]> {
  if (done.length === graph.nodes.length) yield done;
  const there = new Set(done.flatMap(({ outputs }) => outputs));
  const names = new Set(graph.nodes.flatMap(({ outputs }) => outputs));
  for (const node of graph.nodes) {
    const ready = readsOf(node).every((name) => !names.has(name) || there.has(name));
    if (!done.includes(node) && ready) yield* ordersOf(graph, [...done, node]);
  }
}

describe("the branches of an If", () => {
  test("are counted as the definition says, on random graphs, two deep", () => {
    fc.assert(
      fc.property(drawnNodes(6), (drawn) => {
        const graph = built(drawn);
        const expected = counted(graph);
        const found = inferenceMemory(graph);
        expect(found.timeline.map(({ bytes }) => bytes)).toEqual(expected);
        expect(found.unknown).toBe(0);
        const standing = found.atPeak.reduce((sum, { bytes }) => sum + bytes, 0);
        expect(standing).toBe(Math.max(...expected));
        // The condition is one byte, and an arena aligns it.
        const moments = momentsOf(graph).lifetimes.filter(({ value }) => value !== "c");
        const apart = inferenceMemory({ ...graph, inputs: graph.inputs.slice(0, 1) });
        expect(planArena(moments).lowerBoundBytes).toBe(apart.peakBytes);
      }),
      { numRuns: 300 },
    );
  });

  test("count in the best order, as over all orders", () => {
    fc.assert(
      fc.property(drawnNodes(5), (drawn) => {
        const graph = built(drawn);
        const peaks = [...ordersOf(graph)].map((nodes) =>
          Math.max(...counted({ ...graph, nodes })),
        );
        expect(bestOrder(orderProblem(graph)).peakBytes).toBe(Math.min(...peaks));
      }),
      { numRuns: 200 },
    );
  });

  test("whose results differ in size are counted inside: the size of the If's is not known", () => {
    const graph = textGraph`
      g (float[4] x, bool c) => (float[] y) {
        y = If (c) <
          then_branch = long () => (float[] p) { p = Concat <axis = 0> (x, x, x) },
          else_branch = short () => (float[] r) { r = Relu (x) }>
      }`;
    const { peakBytes, unknown } = inferenceMemory(inferShapes(graph));
    expect([peakBytes, unknown]).toEqual([16 + 1 + 48, 1]);
  });
});

test("a function in a branch is the nodes that it stands for", () => {
  const made = (call: string): Graph => textGraph`
    <opset_import: ["" : 20, "pkg" : 1]>
    g (float[4] x, bool c) => (float[4] y) {
      y = If (c) <
        then_branch = long () => (float[4] p) { ${call} },
        else_branch = short () => (float[4] r) { r = Relu (x) }>
    }
    <domain: "pkg", opset_import: ["" : 20]>
    f (in) => (out) { a = Concat <axis = 0> (in, in)  out, rest = Split <axis = 0, num_outputs = 2> (a) }`;
  const called = inferenceMemory(inferShapes(made("p = pkg.f (x)")));
  const written = "a = Concat <axis = 0> (x, x)  p, rest = Split <axis = 0, num_outputs = 2> (a)";
  const plain = inferenceMemory(inferShapes(made(written)));
  expect(called.peakBytes).toBe(plain.peakBytes);
  expect(called.peakBytes).toBe(16 + 1 + 32 + 16);
});

describe("loops hold one iteration", () => {
  test("of a Loop: what comes in, what lives inside, what is not stacked yet", () => {
    const graph = textGraph`
      g (float[4] x) => (float[4] y, float[3,4] all) <int64 trips = {3}, bool go = {1}> {
        y, all = Loop (trips, go, x) <
          body = step (int64 i, bool on, float[4] h) => (bool on2, float[4] next, float[4] row) {
            on2 = Identity (on)
            wide = Concat <axis = 0> (h, h)
            row, rest = Split <axis = 0, num_outputs = 2> (wide)
            next = Add (h, row)
          }>
      }`;
    // Both ends and all rows, 16 + 16 + 48; then `on`, `h`, `wide` and `row`. What is carried out lies in `y`.
    const { timeline, atPeak, unknown } = inferenceMemory(inferShapes(graph));
    expect(timeline.map(({ bytes }) => bytes)).toEqual([80 + 1 + 16 + 32 + 16]);
    expect(atPeak.filter(({ body }) => body !== undefined).map(({ value }) => value)).toEqual(
      expect.arrayContaining(["h", "wide", "row", "on"]),
    );
    expect(unknown).toBe(0);
  });

  test("of a Scan: a slice lies in what is cut, and a row in what is stacked", () => {
    const graph = textGraph`
      g (float[4] x, float[3,4] rows) => (float[4] y, float[3,4] all) {
        y, all = Scan (x, rows) <
          num_scan_inputs = 1,
          body = step (float[4] h, float[4] row) => (float[4] next, float[4] out) {
            a = Neg (row)
            out = Mul (h, a)
            next = Add (h, out)
          }>
      }`;
    const { timeline } = inferenceMemory(inferShapes(graph));
    expect(timeline.map(({ bytes }) => bytes)).toEqual([2 * (16 + 48) + 16 + 16]);
  });

  test("a value that is handed through was there before", () => {
    const graph = textGraph`
      g (float[4] x) => (float[4] y) <int64 trips = {3}, bool go = {1}> {
        y = Loop (trips, go, x) <
          body = step (int64 i, bool on, float[4] h) => (bool on, float[4] h) { }>
      }`;
    expect(inferenceMemory(inferShapes(graph)).peakBytes).toBe(16 + 16 + 8 + 1 + 16);
  });

  test("without the skip in it, what only the skip keeps is gone", () => {
    const graph = inferShapes(textGraph`
      g (float[1,4] x) => (float[1,4] y) <int64 trips = {3}, bool go = {1}, float[4,4] w = {${new Array(16).fill(1).join()}}> {
        y = Loop (trips, go, x) <
          body = step (int64 i, bool on, float[1,4] h) => (bool on2, float[1,4] next) {
            on2 = Identity (on)
            a = MatMul (h, w)
            b = Relu (a)
            c = Concat <axis = 0> (b, b)
            d = ReduceMax <keepdims = 0> (c)
            e = MatMul (d, w)
            next = Add (h, e)
          }>
      }`);
    const { peakBytes, withoutSkipsPeakBytes } = memoryReport(graph);
    // `x`, `y` and `on`; then `h` beside `b` and `c`, or only these.
    expect([peakBytes, withoutSkipsPeakBytes]).toEqual([33 + 16 + 16 + 32, 33 + 16 + 32]);
  });
});
