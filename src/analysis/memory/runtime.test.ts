import { expect, test } from "vitest";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import type { Graph } from "../../graph/graph.ts";
import { parseGraph } from "../../graph/parse.ts";
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

test("the inputs are held to the end, outputs have buffers of their own", () => {
  expect(runtimeMemory(graphOf("y = Relu(x)")).peakBytes).toBe(2 * SIZE);
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
