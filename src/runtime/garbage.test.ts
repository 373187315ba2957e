import { expect, test } from "vitest";
import { tensor } from "../graph/tensor.ts";
import { KEPT_BYTES } from "./frame-channel.ts";
import { GARBAGE_BYTES, Garbage } from "./garbage.ts";

/** Answers of so many bytes that nobody refers to any more. */
function answered(garbage: Garbage, bytes: number): void {
  garbage.add(new Map(), [new Uint8Array(bytes)]);
}

test("bytes that are over are collected once they are many, and given back", async () => {
  const garbage = new Garbage();
  answered(garbage, GARBAGE_BYTES - 1);
  expect(garbage.collect()).toBe(false);
  for (let i = 0; i < 4; i++) answered(garbage, GARBAGE_BYTES);
  const before = process.memoryUsage().arrayBuffers;
  expect(garbage.collect()).toBe(true);
  expect(garbage.collect()).toBe(false);
  await expect
    .poll(() => before - process.memoryUsage().arrayBuffers)
    .toBeGreaterThan(3 * GARBAGE_BYTES);
});

test("inputs in memory that is used again are no garbage", () => {
  const garbage = new Garbage();
  const inputs = (bytes: number) =>
    new Map([["x", tensor("uint8", [bytes], new Uint8Array(bytes))]]);
  for (let i = 0; i < 3; i++) garbage.add(inputs(KEPT_BYTES), []);
  expect(garbage.collect()).toBe(false);
  garbage.add(inputs(KEPT_BYTES + 1), []);
  expect(garbage.collect()).toBe(true);
});
