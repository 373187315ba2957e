import fc from "fast-check";
import { expect, test } from "vitest";
import { planArena } from "./arena.ts";

test("no two storages that live at the same time overlap, and none lies outside", () => {
  const lifetime = fc.record({ bytes: fc.nat(2000), from: fc.nat(20), length: fc.nat(8) });
  fc.assert(
    fc.property(fc.array(lifetime, { maxLength: 25 }), (drawn) => {
      const lifetimes = drawn.map(({ bytes, from, length }, i) => {
        return { value: `v${i}`, bytes, from, until: from + length };
      });
      const { offsets, bytes, lowerBoundBytes } = planArena(lifetimes);
      expect(bytes).toBeGreaterThanOrEqual(lowerBoundBytes);
      lifetimes.forEach((a, i) => {
        const start = offsets[i] ?? 0;
        expect(start + a.bytes).toBeLessThanOrEqual(bytes);
        lifetimes.slice(i + 1).forEach((b, j) => {
          const other = offsets[i + 1 + j] ?? 0;
          const together = a.from <= b.until && b.from <= a.until && a.bytes > 0 && b.bytes > 0;
          const apart = start + a.bytes <= other || other + b.bytes <= start;
          expect(!together || apart).toBe(true);
        });
      });
    }),
    { numRuns: 200 },
  );
});

test("20,000 storages that all live at once lie one upon the other, without a comparison of each pair", () => {
  const lifetimes = Array.from({ length: 20_000 }, (_, i) => {
    return { value: `v${i}`, bytes: 64 + 64 * (i % 7), from: 0, until: 20_000 };
  });
  const { bytes, lowerBoundBytes } = planArena(lifetimes);
  expect(bytes).toBe(lowerBoundBytes);
});
