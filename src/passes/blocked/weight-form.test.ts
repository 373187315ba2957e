import fc from "fast-check";
import { expect, test } from "vitest";
import { fromBlocks, toBlocks } from "./weight-form.ts";

const weights = fc.record({
  block: fc.constantFrom(2, 4),
  outputs: fc.integer({ min: 1, max: 3 }),
  inputs: fc.integer({ min: 1, max: 3 }),
  kernel: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 2, maxLength: 2 }),
  form: fc.constantFrom("blocks" as const, "outputs" as const),
});

test("into blocks and out again is the weight, and no element is lost", () => {
  fc.assert(
    fc.property(weights, ({ block, outputs, inputs, kernel, form }) => {
      const shape = [outputs * block, form === "blocks" ? inputs * block : inputs, ...kernel];
      const plain = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => i);
      const blocked = toBlocks(plain, { shape, form, block });
      expect(blocked.toSorted()).toEqual(plain);
      expect(fromBlocks(blocked, { shape, form, block })).toEqual(plain);
    }),
  );
});

test("outputs lie innermost, then inputs, then taps", () => {
  // [2 outputs, 2 inputs, 1, 2 taps] in one block: element (o, i, tap) is 4·o + 2·i + tap.
  const plain = Float32Array.from({ length: 8 }, (_, i) => i);
  const shape = [2, 2, 1, 2];
  expect([...toBlocks(plain, { shape, form: "blocks", block: 2 })]).toEqual([
    0, 4, 2, 6, 1, 5, 3, 7,
  ]);
  expect([...toBlocks(plain, { shape, form: "outputs", block: 2 })]).toEqual([
    0, 4, 1, 5, 2, 6, 3, 7,
  ]);
});
