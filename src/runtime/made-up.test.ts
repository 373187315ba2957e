import { expect, test } from "vitest";
import { limits } from "../base/limits.ts";
import type { DType } from "../graph/dtype.ts";
import type { ValueType } from "../graph/graph.ts";
import { checkFeeds } from "./feeds.ts";
import { madeUpInputs } from "./made-up.ts";

const types = (...list: [DType, ValueType["shape"]][]): ReadonlyMap<string, ValueType> =>
  new Map(list.map(([dtype, shape], i) => [`x${i}`, { dtype, shape }]));

test.each<DType>([
  ...(["float32", "float64", "float16", "bfloat16", "bool"] as const),
  ...(["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"] as const),
])("inputs of %s fit the types that they are made for", (dtype) => {
  const wanted = types([dtype, ["N", 3, "H", "W"]], [dtype, ["N"]], [dtype, []], [dtype, ["?", 2]]);
  const inputs = madeUpInputs(wanted, () => 0.75, { rows: 5, size: 7 });
  expect(checkFeeds(wanted, inputs ?? new Map())).toEqual([]);
  expect([...(inputs ?? [])].map(([, { shape }]) => shape)).toEqual([
    [5, 3, 7, 7],
    [5],
    [],
    [5, 2],
  ]);
  expect(inputs?.get("x1")?.data.bytes.some((byte) => byte !== 0)).toBe(true);
});

test("none where there is no tensor, no rank, one symbol in two places, or too much", () => {
  const value = (): number => 0;
  expect(madeUpInputs(types(["float32", undefined]), value)).toBeUndefined();
  expect(madeUpInputs(types(["float32", ["N", "N"]]), value)).toBeUndefined();
  expect(madeUpInputs(types(["float32", ["N", "N"]]), value, { rows: 64 })).toBeDefined();
  const huge = types(["float32", [limits.requestBytesMax]]);
  expect(madeUpInputs(huge, value)).toBeUndefined();
});
