import { describe, expect, test } from "vitest";
import { Random } from "../../base/random.ts";
import { bytesOf, float32, numbersOf, type Tensor, tensor } from "../../graph/tensor.ts";
import { statisticsOf } from "./statistics.ts";

/** The same, number by number. */
function slowly(ref: Tensor) {
  const all = numbersOf(ref) ?? [];
  const finite = all.filter(Number.isFinite);
  return {
    hasNaN: all.some(Number.isNaN),
    hasInfinity: all.some((one) => Math.abs(one) === Number.POSITIVE_INFINITY),
    largest: finite.reduce((most, one) => Math.max(most, Math.abs(one)), 0),
    least: finite.reduce((least, one) => Math.min(least, one), Number.POSITIVE_INFINITY),
    most: finite.reduce((most, one) => Math.max(most, one), Number.NEGATIVE_INFINITY),
    elements: all.length,
  };
}

describe("statistics of a weight", () => {
  test.each(["float16", "bfloat16"] as const)("of %s, every pattern of bits", (dtype) => {
    // Subnormal halves count as the least normal one: neither zero nor large.
    const isTiny = (bits: number): boolean =>
      dtype === "float16" && (bits & 0x7c00) === 0 && (bits & 0x3ff) !== 0;
    const patterns = Array.from({ length: 65_536 }, (_, bits) => bits).filter((b) => !isTiny(b));
    for (let start = 0; start < patterns.length; start += 256) {
      const bits = Uint16Array.from(patterns.slice(start, start + 256));
      const ref = tensor(dtype, [bits.length], bytesOf(bits));
      expect(statisticsOf(ref)).toEqual(slowly(ref));
    }
  });

  test("of float32, also where bytes are not aligned", () => {
    const random = new Random(1);
    for (let round = 0; round < 50; round++) {
      const ref = float32(
        [7],
        Array.from({ length: 7 }, () => random.normal() * 10 ** round),
      );
      const shifted = new Uint8Array(29);
      shifted.set(ref.data.bytes, 1);
      expect(statisticsOf(tensor("float32", [7], shifted.subarray(1)))).toEqual(slowly(ref));
    }
  });

  test("a tiny half is not zero", () => {
    const ref = tensor("float16", [1], bytesOf(Uint16Array.of(1)));
    expect(statisticsOf(ref)?.largest).toBeGreaterThan(0);
  });

  test("of what is not here, or no such float, nothing is known", () => {
    expect(statisticsOf(undefined)).toBeUndefined();
    expect(
      statisticsOf({ dtype: "float32", shape: [2], data: { kind: "absent" } }),
    ).toBeUndefined();
    expect(statisticsOf(tensor("int8", [2], Uint8Array.of(1, 2)))).toBeUndefined();
  });
});
