import { expect, test } from "vitest";
import type { ValueType } from "../../graph/graph.ts";
import { batchAxisOf, rowsOf, withRows } from "./batch-axis.ts";

const types = (...shapes: ValueType["shape"][]): ReadonlyMap<string, ValueType> =>
  new Map(shapes.map((shape, i) => [`v${i}`, { dtype: "float32", shape }]));

test.each([
  [[["N", 3]], [["N"]], true],
  [[["?", 3], ["N"]], [["?", 2]], true],
  [[["N", 3]], [["M", 3]], false],
  [[["N", 3], ["M"]], [["N"]], false],
  [[["N", 3]], [[1, 3]], false],
  [[["N", 3]], [[]], false],
  [[["N", 3], []], [["N"]], false],
  [[undefined], [["N"]], false],
  [[], [["N"]], false],
] as const)("inputs %j with outputs %j: %s", (inputs, outputs, batchable) => {
  expect(batchAxisOf(types(...inputs), types(...outputs)).batchable).toBe(batchable);
});

test("rows are axis 0 of every input", () => {
  const shapes = withRows(
    new Map([
      ["a", [2, 3]],
      ["b", [2]],
    ]),
    7,
  );
  expect([...shapes.values()]).toEqual([[7, 3], [7]]);
  expect(rowsOf(shapes)).toBe(7);
});
