import { sep } from "node:path";
import { describe, expect, test } from "vitest";
import { assert, present, unreachable } from "./assert.ts";
import { diagnostic } from "./diagnostic.ts";
import { builtEntry } from "./entry.ts";
import { messageOf, SkipwayError } from "./errors.ts";
import { fitWidth, formatBytes, formatCount, formatSeconds } from "./format.ts";
import { mix32, Random } from "./random.ts";

describe("random", () => {
  test("depends on seed and stream alone", () => {
    const take = (seed: number, stream?: number): number[] => {
      const random = new Random(seed, stream);
      return Array.from({ length: 5 }, () => random.uniform());
    };
    expect(take(1)).toEqual(take(1));
    expect(take(1)).not.toEqual(take(2));
    expect(take(1, 1)).not.toEqual(take(1, 2));
    expect(mix32(1, 2)).toBe(mix32(1, 2));
  });

  test("uniform and normal have the moments that they should", () => {
    const random = new Random(7);
    const count = 50_000;
    const uniforms = Array.from({ length: count }, () => random.uniform());
    const normals = Array.from({ length: count }, () => random.normal());
    const mean = (list: number[]): number => list.reduce((a, b) => a + b, 0) / list.length;
    // Five standard errors.
    expect(Math.abs(mean(uniforms) - 0.5)).toBeLessThan(5 * Math.sqrt(1 / 12 / count));
    expect(Math.abs(mean(normals))).toBeLessThan(5 / Math.sqrt(count));
    expect(Math.abs(mean(normals.map((v) => v * v)) - 1)).toBeLessThan(5 * Math.sqrt(2 / count));
    expect(uniforms.every((v) => v >= 0 && v < 1)).toBe(true);
  });

  /** Φ by the series of erf, and its asymptotic form far out. */
  const normalDistribution = (x: number): number => {
    if (x < -4) {
      const density = Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
      return (density / -x) * (1 - 1 / x ** 2 + 3 / x ** 4 - 15 / x ** 6);
    }
    if (x > 4) return 1 - normalDistribution(-x);
    const z = x / Math.SQRT2;
    let [term, total] = [z, z];
    for (let k = 1; k < 60; k++) {
      term *= (-z * z) / k;
      total += term / (2 * k + 1);
    }
    return 0.5 + total / Math.sqrt(Math.PI);
  };
  /** √n times the largest gap between the distribution found and the one wanted (Kolmogorov, Smirnov). */
  const gap = (values: Float32Array, wanted: (x: number) => number): number => {
    const sorted = values.toSorted();
    let largest = 0;
    for (const [i, x] of sorted.entries()) {
      const p = wanted(x);
      largest = Math.max(largest, p - i / sorted.length, (i + 1) / sorted.length - p);
    }
    return largest * Math.sqrt(sorted.length);
  };
  /** Exceeded once in a hundred thousand times. */
  const GAP_MAX = 2.47;

  test("filled lists have the distribution and the moments that they should", () => {
    const values = new Float32Array(200_000);
    for (const seed of [1, 2]) {
      new Random(seed).fillNormal(values, 2);
      expect(gap(values, (x) => normalDistribution(x / 2))).toBeLessThan(GAP_MAX);
      const { length } = values;
      const moment = (power: number): number =>
        values.reduce((total, v) => total + (v / 2) ** power, 0) / length;
      // 0, 1, 0, 3, with variances 1, 2, 15, 96.
      expect(Math.abs(moment(1))).toBeLessThan(5 * Math.sqrt(1 / length));
      expect(Math.abs(moment(2) - 1)).toBeLessThan(5 * Math.sqrt(2 / length));
      expect(Math.abs(moment(3))).toBeLessThan(5 * Math.sqrt(15 / length));
      expect(Math.abs(moment(4) - 3)).toBeLessThan(5 * Math.sqrt(96 / length));
      new Random(seed).fillUniform(values, 3);
      expect(gap(values, (x) => (x + 3) / 6)).toBeLessThan(GAP_MAX);
    }
  });

  test("sixteen million numbers: no layer of 256 is missing, and the tail is as heavy as it should be", () => {
    const random = new Random(5);
    const chunk = new Float32Array(2_000_000);
    const count = 8 * chunk.length;
    const bins = new Float64Array(4096);
    const tail: number[] = [];
    for (let round = 0; round < 8; round++) {
      random.fillNormal(chunk, 1);
      for (const v of chunk) {
        const bin = Math.min(Math.max(Math.floor((v + 6) * (4096 / 12)), 0), 4095);
        bins[bin] = (bins[bin] ?? 0) + 1;
        if (Math.abs(v) > 3.7) tail.push(Math.abs(v));
      }
    }
    let [below, largest] = [0, 0];
    for (const [i, inside] of bins.entries()) {
      below += inside / count;
      const wanted = i === 4095 ? 1 : normalDistribution(((i + 1) * 12) / 4096 - 6);
      largest = Math.max(largest, Math.abs(below - wanted));
    }
    expect(largest * Math.sqrt(count)).toBeLessThan(GAP_MAX);
    const expected = 2 * normalDistribution(-3.7) * count;
    expect(Math.abs(tail.length / expected - 1)).toBeLessThan(5 / Math.sqrt(expected));
    const within = (x: number): number => 1 - normalDistribution(-x) / normalDistribution(-3.7);
    expect(gap(Float32Array.from(tail), within)).toBeLessThan(GAP_MAX);
  });

  test("neighbours, and the streams of neighbouring seeds, have nothing to do with each other", () => {
    const count = 100_000;
    const streams = [1, 2].map((seed) => {
      const values = new Float32Array(count);
      new Random(seed).fillNormal(values, 1);
      return values;
    });
    const [a = new Float32Array(), b = new Float32Array()] = streams;
    const together = (x: Float32Array, y: Float32Array, lag: number): number =>
      x.subarray(lag).reduce((total, v, i) => total + v * (y[i] ?? 0), 0) / Math.sqrt(count);
    for (const lag of [1, 2, 16, 256]) expect(Math.abs(together(a, a, lag))).toBeLessThan(5);
    for (const lag of [0, 1]) expect(Math.abs(together(a, b, lag))).toBeLessThan(5);
  });

  test("what is cut off is drawn again, and a stream goes on where it was", () => {
    const values = new Float32Array(50_000);
    const random = new Random(9);
    random.fillNormal(values, 3, 2);
    expect(values.every((v) => Math.abs(v) <= 6)).toBe(true);
    const inside = 1 - 2 * normalDistribution(-2);
    const wanted = (x: number): number =>
      (normalDistribution(x / 3) - normalDistribution(-2)) / inside;
    expect(gap(values, wanted)).toBeLessThan(GAP_MAX);
    const next = random.uniform();
    const other = new Random(9);
    other.fillNormal(values, 3, 2);
    expect(other.uniform()).toBe(next);
  });

  test("permutations hold every number once, each place about as often", () => {
    const places = new Array<number>(8).fill(0);
    for (let seed = 0; seed < 4000; seed++) {
      const order = new Random(seed).permutation(8);
      expect([...order].sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
      const place = order.indexOf(0);
      places[place] = (places[place] ?? 0) + 1;
    }
    for (const count of places) expect(Math.abs(count - 500)).toBeLessThan(5 * Math.sqrt(500));
  });
});

describe("format", () => {
  test.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1536, "1.5 KiB"],
    [200 * 1024, "200 KiB"],
    [3 * 2 ** 30, "3.0 GiB"],
  ])("%d bytes", (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  test.each([
    [0.0042, "4.2 ms"],
    [0.25, "250 ms"],
    [75, "75.0 s"],
    [200, "3 min 20 s"],
    [179.7, "3 min 0 s"],
  ])("%d seconds", (seconds, text) => expect(formatSeconds(seconds)).toBe(text));

  test("widths and counts", () => {
    expect(fitWidth("abc", 5)).toBe("abc  ");
    expect(fitWidth("abcdef", 4)).toBe("abc…");
    expect(formatCount(1234567)).toBe("1,234,567");
  });
});

describe("errors", () => {
  test("assertions are ours, diagnostics the user's", () => {
    expect(() => assert(false, "nothing")).toThrow(/skipway defect: nothing/);
    expect(present(0, "zero is a value")).toBe(0);
    expect(() => present(undefined, "gone")).toThrow(/gone/);
    expect(() => unreachable("x" as never)).toThrow(/unexpected/);
    const found = diagnostic({ id: "a/b", severity: "error", where: "here", text: "is wrong" });
    expect(found.notes).toEqual([]);
    const error = SkipwayError.fromDiagnostics("input", [found]);
    expect(error.message).toBe("here: is wrong");
    expect(error.code).toBe("input");
    expect(messageOf(error)).toBe("here: is wrong");
    expect(messageOf("text")).toBe("text");
  });
});

test("the entry point of a child process is the built file, also from the sources", () => {
  const built = builtEntry("file:///a/src/b/src/runtime/x.ts", "./y-main.js");
  expect(built.split(sep).join("/")).toBe("/a/src/b/dist/runtime/y-main.js");
  expect(builtEntry("file:///a/dist/runtime/x.js", "./y.js").split(sep).join("/")).toBe(
    "/a/dist/runtime/y.js",
  );
});
