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
