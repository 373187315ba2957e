import { expect, test } from "vitest";
import { limits } from "../../base/limits.ts";
import { budgetOf, whatWouldFit } from "./budget.ts";
import type { MemoryModel } from "./memory-model.ts";

const MIB = 1_048_576;

test("a budget is what the operator gives, within what the system allows", () => {
  const parentBytes = 80 * MIB;
  expect(budgetOf(1000 * MIB, { parentBytes }).budgetBytes).toBe(900 * MIB);
  expect(budgetOf(1000 * MIB, { parentBytes, givenBytes: 400 * MIB }).budgetBytes).toBe(400 * MIB);
  expect(budgetOf(1000 * MIB, { parentBytes, givenBytes: 4000 * MIB }).budgetBytes).toBe(900 * MIB);
});

test("bodies have a sixteenth, and never more than their limit", () => {
  const small = budgetOf(640 * MIB, { parentBytes: 80 * MIB, givenBytes: 512 * MIB });
  expect(small.bodiesBytesMax).toBe(32 * MIB);
  // Half as much again as it has, bodies in pieces and whole, and what is left of them.
  expect(small.reserveBytes).toBe((120 + 2 * 32 + 128) * MIB);
  const large = budgetOf(640_000 * MIB, { parentBytes: 80 * MIB });
  expect(large.bodiesBytesMax).toBe(limits.bodiesBytesMax);
});

/** 100 MiB, and 10 for each row. */
const model: MemoryModel = {
  basis: "planned",
  reason: "",
  residentBytes: 100 * MIB,
  prepare: () => undefined,
  estimate: (shapes) => {
    const bytes = (100 + 10 * (shapes.get("x")?.[0] ?? 0)) * MIB;
    return { likelyBytes: bytes, admittedBytes: bytes, firmBytes: bytes, endsBytes: 0 };
  },
  rowsWithin: (_, bytes) => Math.max(0, Math.floor((bytes / MIB - 100) / 10)),
  observed: () => undefined,
  stayed: () => undefined,
  fresh: () => model,
};

test("a refusal says how many rows would have fitted", () => {
  const said = (everBytes: number): string =>
    whatWouldFit(model, new Map([["x", [64, 8]]]), { nowBytes: 0, everBytes });
  expect(said(225 * MIB)).toContain("at most 12 rows of this shape fit");
  expect(said(111 * MIB)).toContain("at most 1 row of this shape fit");
  expect(said(105 * MIB)).toContain("no row of this shape fits");
});
