import { describe, expect, test } from "vitest";
import { MODELS } from "./model-cases.ts";
import { checkTwice } from "./models.ts";
import { checkSecondOf, covered } from "./suite.ts";

// Gradients are graphs of the same ops, and have gradients in turn. More cases: npm run test:gradients.

/** Ops that are linear in each piece: the second derivative of all their cases is zero. */
const LINEAR = /^(Add|Sub|Sum|Mean|Neg|Identity|Transpose|Reshape|Concat|Slice|Gather|ReduceSum)$/;

describe("the gradients of gradients against central differences", () => {
  test("of every op", () => {
    const found = covered().map((op) => [op, checkSecondOf(op, 0, 1)] as const);
    const bad = found.filter(([, [one]]) => one?.kind === "wrong" || one?.kind === "refused");
    expect(bad).toEqual([]);
    const zero = found.filter(([, [one]]) => one?.kind === "zero").map(([op]) => op);
    expect(zero).toEqual(expect.arrayContaining(covered().filter((op) => LINEAR.test(op))));
    expect(zero).not.toContain("Conv");
    expect(zero.length).toBeLessThan(covered().length / 2);
  });

  const networks = MODELS.filter(({ name }) => /resnet|encoder|loop|conditional, open/.test(name));
  test.each(networks.map((one) => [one.name, one] as const))("of a network: %s", (_, one) => {
    expect(checkTwice(one).faults).toEqual([]);
  });
});
