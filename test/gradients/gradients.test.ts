import { describe, expect, test } from "vitest";
import { checkOp, covered, faultsOf, forwardOnly, uncovered } from "./suite.ts";

// A sample of the gradient suite; all of it: npm run test:gradients.

const SAMPLE = 2;

describe("gradient rules against float64 central differences, and float32 against float64", () => {
  test.each(covered())("%s", async (op) => {
    expect(faultsOf(await checkOp(op, 0, SAMPLE))).toEqual([]);
  });

  test.each(forwardOnly())("the oracle of %s agrees with the runtime", async (op) => {
    expect(faultsOf(await checkOp(op, 0, SAMPLE))).toEqual([]);
  });

  test("every op with a gradient rule has cases", () => {
    expect(uncovered()).toEqual([]);
  });
});
