import fc from "fast-check";
import { expect, test } from "vitest";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import { parseGraph } from "../../graph/parse.ts";
import { fusedForRuntime } from "./fused.ts";
import { patternBytes } from "./pattern.ts";
import { runtimeMemory } from "./runtime.ts";

const buffers = fc.array(
  fc.record({ bytes: fc.integer({ min: 1, max: 5000 }), from: fc.nat(20), lasts: fc.nat(8) }),
  { maxLength: 25 },
);

test("a block holds what is alive at once, and no more than all", () => {
  fc.assert(
    fc.property(buffers, (made) => {
      const held = made.map(({ bytes, from, lasts }) => ({ bytes, from, until: from + lasts }));
      const need = (bytes: number): number => 256 * Math.ceil(bytes / 256);
      const size = patternBytes(held);
      for (let step = 0; step <= 28; step++) {
        const alive = held.filter(({ from, until }) => from <= step && step <= until);
        expect(size).toBeGreaterThanOrEqual(alive.reduce((sum, one) => sum + need(one.bytes), 0));
      }
      expect(size).toBeLessThanOrEqual(held.reduce((sum, one) => sum + need(one.bytes), 0));
    }),
  );
});

test("a gap that fits is taken, the tightest first", () => {
  // Two gaps, of 512 and of 256 bytes, once the first and the third are gone.
  const held = [
    { bytes: 512, from: 0, until: 1 },
    { bytes: 256, from: 0, until: 9 },
    { bytes: 256, from: 0, until: 1 },
    { bytes: 256, from: 0, until: 9 },
    { bytes: 256, from: 2, until: 9 },
    { bytes: 512, from: 3, until: 9 },
  ];
  expect(patternBytes(held)).toBe(512 + 256 + 256 + 256);
});

const OPSETS = new Map([["", 20]]);
const NORMED = (after: string): string => `
  g (float[2,8,16,16] x, float[8] m, float[8,8,3,3] w) => (float[2,8,16,16] y)
  <float[8] one = {1, 1, 1, 1, 1, 1, 1, 1}> {
    c = Conv <pads = [1, 1, 1, 1]> (x, w)
    n = BatchNormalization (c, ${after})
    y = Add (n, x)
  }`;

test("a norm is folded into the convolution before it, where its numbers are known", () => {
  const graph = (text: string) => parseGraph(text, { opsets: OPSETS });
  const folded = fusedForRuntime(inferShapes(graph(NORMED("one, one, one, one"))));
  expect(folded.nodes.map(({ op }) => op)).toEqual(["Conv", "Add"]);
  expect(folded.nodes[0]?.outputs).toEqual(["n"]);
  const computed = inferShapes(graph(NORMED("one, one, m, one")));
  expect(fusedForRuntime(computed)).toBe(computed);
});

test("with a pattern a run takes no less than without", () => {
  const text = `g (float[64,64] x) => (float[64,64] y) { a = Exp (x)  b = Neg (a)  c = Mul (a, b)  y = Add (c, x) }`;
  const graph = inferShapes(parseGraph(text, { opsets: OPSETS }));
  const [first, later] = [runtimeMemory(graph), runtimeMemory(graph, { pattern: true })];
  // x, a, b and c at once, then y beside the block of a, b and c.
  expect(first.peakBytes).toBe(4 * 16_384);
  expect(later.peakBytes).toBe(5 * 16_384);
});
