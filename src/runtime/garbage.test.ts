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

test("what is large is freed at once, however V8 stands; memory that is used again is left", () => {
  const garbage = new Garbage();
  const freed = (bytes: number): readonly boolean[] => {
    const [given, made] = [new Uint8Array(bytes), new Uint8Array(bytes)];
    garbage.add(new Map([["x", tensor("uint8", [bytes], given)]]), [made]);
    return [given, made].map(({ byteLength }) => byteLength === 0);
  };
  expect(freed(KEPT_BYTES / 4)).toEqual([false, false]);
  expect(freed(KEPT_BYTES + 1)).toEqual([true, true]);
  expect(garbage.collect()).toBe(false);
});
