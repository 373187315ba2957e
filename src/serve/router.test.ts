import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { float32, int64, tensor } from "../graph/tensor.ts";
import { chooseRoute, placeOf, splitFaults, type TrafficSplit } from "./router.ts";
import { diffTensors, near } from "./tensor-diff.ts";

describe("the split", () => {
  const split: TrafficSplit = { stable: 1, candidate: 2, share: 0.25, shadow: 3 };
  const all = () => true;

  test("shares hold to the last request, for chance and for keys", () => {
    let candidates = 0;
    for (let i = 0; i < 10_000; i++) {
      if (chooseRoute(split, { uniform: i / 10_000 }, all).version === 2) candidates++;
    }
    expect(candidates).toBe(2500);
    const keyed = Array.from({ length: 20_000 }, (_, i) =>
      chooseRoute(split, { key: `user-${i}`, uniform: 0 }, all),
    );
    // Five standard deviations of a binomial of 20,000.
    const share = keyed.filter(({ role }) => role === "candidate").length / keyed.length;
    expect(Math.abs(share - 0.25)).toBeLessThan(5 * Math.sqrt((0.25 * 0.75) / 20_000));
  });

  test("a key stays, and only moves towards a candidate whose share grows", () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.nat(),
        fc.option(fc.nat({ max: 2 ** 32 - 1 }), { nil: undefined }),
        (key, share, n, salt) => {
          const uniform = (n % 100) / 100;
          const salted = { ...split, ...(salt !== undefined && { salt }) };
          const at = (s: number) =>
            chooseRoute({ ...salted, share: s }, { key, uniform }, all).role;
          expect(at(share)).toBe(at(share));
          if (at(share) === "candidate") expect(at(Math.min(1, share + 0.1))).toBe("candidate");
          expect(placeOf(key, salt)).toBeGreaterThanOrEqual(0);
          expect(placeOf(key, salt)).toBeLessThan(1);
          expect(at(0)).toBe("stable");
          expect(at(1)).toBe("candidate");
        },
      ),
    );
  });

  test("with another salt it is other keys that the candidate gets", () => {
    const keys = Array.from({ length: 20_000 }, (_, i) => `user-${i}`);
    const candidates = [7, 8, 4_000_000_000].map((salt) =>
      keys.map((key) => chooseRoute({ ...split, salt }, { key, uniform: 0 }, all).version === 2),
    );
    for (const [i, ours] of candidates.entries()) {
      expect(ours.filter(Boolean).length / keys.length).toBeCloseTo(0.25, 1);
      for (const theirs of candidates.slice(i + 1)) {
        const both = ours.filter((one, n) => one && theirs[n]).length / keys.length;
        // Five standard deviations of a binomial of 20,000 with a chance of 1/16.
        expect(Math.abs(both - 1 / 16)).toBeLessThan(0.0086);
      }
    }
  });

  test("never to a candidate or shadow that is not ready", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.constantFrom(1, 2, 3)),
        fc.option(fc.string(), { nil: undefined }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        fc.option(fc.constantFrom(1, 2, 3, 9), { nil: undefined }),
        (ready, key, uniform, version) => {
          const route = chooseRoute(split, { key, uniform, version }, (v) =>
            ready.some((one) => one === v),
          );
          if (version !== undefined) expect(route).toMatchObject({ version, shadow: undefined });
          else if (route.version !== 1) expect(ready).toContain(route.version);
          if (route.shadow !== undefined) expect(ready).toContain(route.shadow);
        },
      ),
    );
  });

  test("everything that is wrong with one is said", () => {
    const versions = new Map([
      [1, { ready: true }],
      [2, { ready: false }],
      [3, { ready: true }],
    ]);
    expect(splitFaults({ stable: 1, candidate: 3, share: 0.5 }, versions)).toEqual([]);
    expect(splitFaults({ stable: 1, share: 0 }, versions)).toEqual([]);
    expect(splitFaults({ stable: 9, candidate: 2, share: 2, shadow: 9 }, versions)).toEqual([
      "stable 9 is not loaded; loaded are 1, 2, 3",
      "candidate 2 is not ready",
      "shadow 9 is not loaded; loaded are 1, 2, 3",
      "share is a number from 0 to 1",
      "shadow is the stable version itself",
    ]);
    expect(splitFaults({ stable: 1, share: Number.NaN }, versions)).toHaveLength(1);
    expect(splitFaults({ stable: 1, candidate: 1, share: 0 }, versions)).toHaveLength(1);
    expect(splitFaults({ stable: 1, share: 0.1 }, versions)).toHaveLength(1);
  });
});

describe("the distance of two answers", () => {
  test("numbers against a plain reading of the definitions", () => {
    const value = fc.oneof(fc.double({ min: -10, max: 10, noNaN: true }), fc.constant(Number.NaN));
    fc.assert(
      fc.property(fc.array(fc.tuple(value, value), { minLength: 4, maxLength: 4 }), (pairs) => {
        const a = Float32Array.from(pairs, ([x]) => x);
        const b = Float32Array.from(pairs, ([, y]) => y);
        const diff = diffTensors(float32([2, 2], a), float32([2, 2], b));
        const both = [...a].flatMap((x, i) => {
          const y = b[i] ?? 0;
          return Number.isNaN(x) || Number.isNaN(y) ? [] : [[x, y] as const];
        });
        expect(diff.maxAbs).toBe(Math.max(0, ...both.map(([x, y]) => Math.abs(x - y))));
        expect(diff.nanMismatches).toBe(
          [...a].filter((x, i) => Number.isNaN(x) !== Number.isNaN(b[i])).length,
        );
        expect(diff.count).toBe(4);
        const relative = both.flatMap(([x, y]) => {
          const size = Math.max(Math.abs(x), Math.abs(y));
          return size > 1e-12 ? [Math.abs(x - y) / size] : [];
        });
        expect(diff.maxRel).toBeCloseTo(Math.max(0, ...relative), 10);
        expect(diff.cosine).toBeLessThanOrEqual(1 + 1e-9);
      }),
    );
  });

  test("flips, shapes, types, infinities, NaN", () => {
    const a = float32([2, 3], [1, 2, 3, 3, 2, 1]);
    expect(diffTensors(a, float32([2, 3], [1, 2, 3, 1, 2, 3]))).toMatchObject({
      top1Flips: 1,
      rows: 2,
      maxAbs: 2,
    });
    expect(diffTensors(a, a)).toMatchObject({ maxAbs: 0, top1Flips: 0, comparable: true });
    expect(diffTensors(a, a).cosine).toBeCloseTo(1);
    expect(diffTensors(a, float32([3, 2], [1, 2, 3, 3, 2, 1])).comparable).toBe(false);
    expect(diffTensors(a, undefined).comparable).toBe(false);
    expect(diffTensors(int64([2], [1, 5]), int64([2], [1, 2]))).toMatchObject({ maxAbs: 3 });
    const infinite = float32([1], [Number.POSITIVE_INFINITY]);
    expect(diffTensors(infinite, infinite).maxAbs).toBe(0);
    expect(near(infinite, infinite, 0)).toBe(true);
    const none = float32([1], [Number.NaN]);
    expect(near(none, none, 0)).toBe(true);
    expect(near(none, float32([1], [0]), 1)).toBe(false);
    expect(near(float32([1], [1]), float32([1], [1.001]), 1e-3)).toBe(true);
    expect(near(float32([1], [1]), float32([1], [1.01]), 1e-3)).toBe(false);
    const text = (byte: number) => tensor("uint64", [1], Uint8Array.of(byte, 0, 0, 0, 0, 0, 0, 0));
    expect(near(text(1), text(1), 0)).toBe(true);
    expect(near(text(1), text(2), 0)).toBe(false);
  });
});
