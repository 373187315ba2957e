import fc from "fast-check";
import { expect, test } from "vitest";
import { innerProductFaults } from "./inner-product.ts";

test("⟨Jv, u⟩ = ⟨v, Jᵀu⟩ on random graphs of 5 to 40 nodes", () => {
  fc.assert(
    fc.property(fc.nat(), fc.integer({ min: 5, max: 40 }), (seed, nodes) => {
      expect(innerProductFaults(seed, nodes)).toEqual([]);
    }),
    { numRuns: 50, seed: 7 },
  );
});
