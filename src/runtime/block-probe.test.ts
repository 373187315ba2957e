import { expect, test } from "vitest";
import { blockOf, blockSize } from "./block-probe.ts";

/** 64 channels of 3 pixels in blocks, as a ramp over [C, pixels] would lie. */
function ramp(block: number): Float32Array {
  const values = new Float32Array(192);
  for (let i = 0; i < 192; i++) {
    const [c, p] = [Math.floor(i / 3), i % 3];
    values[(Math.floor(c / block) * 3 + p) * block + (c % block)] = i;
  }
  return values;
}

test("a block is read from the order of a ramp", () => {
  expect([4, 8, 16].map((block) => blockOf(ramp(block)))).toEqual([4, 8, 16]);
});

test("any other order is no blocked layout", () => {
  const plain = Float32Array.from({ length: 192 }, (_, i) => i);
  const wrong = ramp(16);
  [wrong[100], wrong[101]] = [wrong[101] ?? 0, wrong[100] ?? 0];
  expect([plain, wrong, ramp(16).subarray(1), new Float32Array(192)].map(blockOf)).toEqual(
    Array.from({ length: 4 }, () => undefined),
  );
});

test("this runtime has blocks that are known, or none", async () => {
  expect([undefined, 8, 16]).toContain(await blockSize());
});
