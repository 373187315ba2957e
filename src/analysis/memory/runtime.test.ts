import { describe, expect, test } from "vitest";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import type { Graph } from "../../graph/graph.ts";
import { parseGraph } from "../../graph/parse.ts";
import { graph as textGraph } from "../../graph/text.test-helper.ts";
import { runtimeMemory, runtimeOrder } from "./runtime.ts";

/** A graph over `x`, 1,024 floats, or 4 KiB. */
function graphOf(body: string, output = "y"): Graph {
  const head = `<ir_version: 10, opset_import: ["": 20, "com.microsoft": 1]>`;
  const text = `net (float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] ${output})\n{\n${body}\n}`;
  return inferShapes(parseGraph(`${head}\n${text}`));
}

const SIZE = 4096;

test("the order is depth first from the end, and what stands last in the file goes first", () => {
  const graph = graphOf(
    `["a"] a = Neg(x)\n["b"] b = Abs(x)\n["c"] c = Neg(b)\n["d"] y = Add(a, c)`,
  );
  expect(runtimeOrder(graph).map(({ name }) => name)).toEqual(["b", "c", "a", "d"]);
});

test("the inputs are held to the end, outputs have buffers of their own and are copied", () => {
  expect(runtimeMemory(graphOf("y = Relu(x)")).peakBytes).toBe(3 * SIZE);
  // The one buffer between is handed on in place.
  const chain = graphOf("a = Neg(x)\nb = Relu(a)\nc = Tanh(b)\ny = Neg(c)");
  expect(runtimeMemory(chain).peakBytes).toBe(3 * SIZE);
});

test("a buffer that a later value of its shape takes over is held until then", () => {
  const graph = graphOf(
    `a = Neg(x)
    wide = Concat <axis = 1> (a, a)
    ["top"] wider = Neg(wide)
    left, right = Split <axis = 1, num_outputs = 2> (wider)
    y = Add(left, right)`,
  );
  // Liveness: the input and both wide values. The buffer of `a`, unused here, is that of `left` later.
  expect(runtimeMemory(graph)).toEqual({ peakBytes: (1 + 2 + 2 + 1) * SIZE, peakNode: "top" });
});

test("an operand that is read again later is not written over", () => {
  const graph = graphOf("a = Neg(x)\nb = Relu(a)\ny = Add(a, b)");
  expect(runtimeMemory(graph).peakBytes).toBe(4 * SIZE);
});

test("a view of an input takes nothing", () => {
  const graph = graphOf("a = Flatten(x)\nb = Neg(a)\ns = Shape(x)\ny = Reshape(b, s)");
  // The output is a copy: it has a buffer of its own.
  expect(runtimeMemory(graph).peakBytes).toBe(3 * SIZE + 32);
});

describe("bodies, as measured with values of 16 MiB", () => {
  const F = "float[4096]";
  const UNIT = 16384;
  const unitsOf = (head: string, body: string): number =>
    runtimeMemory(inferShapes(textGraph`g ${head} { ${body} }`)).peakBytes / UNIT;

  test("the result of a branch is made in it", () => {
    const found = unitsOf(
      `(${F} x) => (${F} y) <float zero = {0}>`,
      `s = ReduceMax <keepdims = 0> (x)
       c = Greater (s, zero)
       z = If (c) <
         then_branch = long () => (${F} p) {
           a = Neg (x)
           b = Abs (a)
           d = Add (a, b)
           p = Neg (d)
         },
         else_branch = short () => (${F} q) { q = Abs (x) }>
       y = Neg (z)`,
    );
    expect(found).toBeCloseTo(4, 2);
  });

  test("an iteration of a Loop has what it got and what it gives; rows are kept, and copied at the end", () => {
    const inner = unitsOf(
      `(${F} x) => (${F} y) <int64 trips = {4}, bool go = {1}>`,
      `y = Loop (trips, go, x) <
         body = step (int64 i, bool on, ${F} h) => (bool on2, ${F} next) {
           on2 = Identity (on)
           a = Concat <axis = 0> (h, h, h)
           r, s, t = Split <axis = 0, num_outputs = 3> (a)
           u = Add (r, s)
           next = Add (u, t)
         }>`,
    );
    expect(inner).toBeCloseTo(8, 2);
    const stacked = unitsOf(
      `(${F} x) => (${F} y, float[8,1024] all) <int64 trips = {8}, bool go = {1}, int64[2] four = {4, 1024}, int64[1] first = {0}>`,
      `y, all = Loop (trips, go, x) <
         body = step (int64 i, bool on, ${F} h) => (bool on2, ${F} next, float[1024] row) {
           on2 = Identity (on)
           next = Neg (h)
           m = Reshape (next, four)
           row = ReduceMax <keepdims = 0> (m, first)
         }>`,
    );
    expect(stacked).toBeCloseTo(8, 2);
  });

  test("a Scan has two buffers for a state, and cuts and stacks in place", () => {
    const scan = (steps: number): number =>
      unitsOf(
        `(${F} x, float[${steps},4096] rows) => (${F} y)`,
        `y = Scan (x, rows) <
           num_scan_inputs = 1,
           body = step (${F} h, ${F} row) => (${F} next) {
             a = Neg (row)
             b = Abs (a)
             out = Mul (h, b)
             next = Add (h, out)
           }>`,
      );
    expect([2, 4, 16].map(scan)).toEqual([6, 9, 21]);
  });
});
