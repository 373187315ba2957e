import { expect, test } from "vitest";
import { Patience } from "./patience.ts";

test("a step may take as long as the settings say, and later ten times what it took", () => {
  const patience = new Patience(600_000);
  expect(patience.limitMs("load")).toBe(600_000);
  patience.took("load", 5000);
  patience.took("load", 3000);
  expect(patience.limitMs("load")).toBe(50_000);
  expect(patience.limitMs("warmed")).toBe(600_000);
  // A quick one has time all the same, a slow one no more than the settings give.
  patience.took("warmed", 3);
  expect(patience.limitMs("warmed")).toBe(20_000);
  patience.took("warmed", 100_000);
  expect(patience.limitMs("warmed")).toBe(600_000);
});
