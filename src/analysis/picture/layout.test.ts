import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { blocksOf, stagesOf } from "./blocks.ts";
import { foldedAtFirst, layoutPicture, placeAt, xOf } from "./layout.ts";
import { fakePicture } from "./picture.test-helper.ts";
import { RangeMax } from "./range-max.ts";

/** Networks of up to 40 nodes with skips anywhere. */
const pictures = fc.integer({ min: 1, max: 40 }).chain((count) =>
  fc
    .array(
      fc
        .tuple(fc.integer({ min: -1, max: count - 1 }), fc.integer({ min: 0, max: count - 1 }))
        .map(([a, b]): [number, number] => [Math.min(a, b), Math.max(a, b)]),
      { maxLength: 25 },
    )
    .map((spans) => fakePicture(count, spans)),
);

/** A picture and some of its blocks. */
const folded = pictures.chain((picture) =>
  fc.subarray(picture.blocks.map(({ id }) => id)).map((ids) => ({ picture, folded: new Set(ids) })),
);

describe("the layout", () => {
  test("of two arcs that overlap the longer stands higher: none lies upon another", () => {
    fc.assert(
      fc.property(folded, ({ picture, folded }) => {
        const { skips } = layoutPicture(picture, { width: 1000, folded });
        for (const [i, a] of skips.entries()) {
          for (const b of skips.slice(i + 1)) {
            const apart = a.skip.to <= b.skip.from || b.skip.to <= a.skip.from;
            if (apart && a.skip.from !== b.skip.from) continue;
            const [la, lb] = [a.skip.to - a.skip.from, b.skip.to - b.skip.from];
            if (la > lb) expect(a.height).toBeGreaterThan(b.height);
            else if (lb > la) expect(b.height).toBeGreaterThan(a.height);
            else expect(a.height).not.toBe(b.height);
          }
        }
      }),
      { seed: 11, numRuns: 200 },
    );
  });

  test("every skip is drawn, whatever is folded, and runs from left to right", () => {
    fc.assert(
      fc.property(folded, ({ picture, folded }) => {
        const layout = layoutPicture(picture, { width: 1000, folded });
        expect(layout.skips.map(({ skip }) => skip.id)).toEqual(picture.skips.map(({ id }) => id));
        for (const { skip, x1, x2 } of layout.skips) {
          if (skip.to > skip.from) expect(x2).toBeGreaterThan(x1);
        }
      }),
      { seed: 12, numRuns: 100 },
    );
  });

  test("places stand in order, each found again by its middle", () => {
    fc.assert(
      fc.property(folded, ({ picture, folded }) => {
        const { edges } = layoutPicture(picture, { width: 1000, folded });
        for (let place = -1; place < picture.nodes.length; place++) {
          expect(edges[place + 2] ?? 0).toBeGreaterThan(edges[place + 1] ?? 0);
          expect(placeAt(edges, xOf(edges, place))).toBe(place);
        }
      }),
      { seed: 13, numRuns: 100 },
    );
  });

  test("a deep network opens folded and fits, a shallow one opens whole", () => {
    const spans = Array.from({ length: 100 }, (_, i): [number, number] => [i * 6, i * 6 + 6]);
    const deep = fakePicture(602, spans);
    const folds = foldedAtFirst(deep, 1180);
    expect(folds.size).toBeGreaterThan(0);
    expect(layoutPicture(deep, { width: 1180, folded: folds }).width).toBeLessThan(1300);
    expect(foldedAtFirst(fakePicture(60, spans.slice(0, 9)), 1180).size).toBe(0);
  });
});

describe("ranges", () => {
  test("answer as a plain list does", () => {
    const range = fc.tuple(fc.nat(30), fc.nat(30), fc.integer({ min: 1, max: 99 }));
    fc.assert(
      fc.property(fc.array(range, { maxLength: 40 }), (steps) => {
        const [tree, list] = [new RangeMax(31), new Array<number>(31).fill(0)];
        for (const [a, b, to] of steps) {
          const [first, last] = [Math.min(a, b), Math.max(a, b)];
          expect(tree.max(first, last)).toBe(Math.max(...list.slice(first, last + 1)));
          tree.raise(first, last, to);
          for (let i = first; i <= last; i++) list[i] = Math.max(list[i] ?? 0, to);
        }
      }),
      { seed: 14 },
    );
  });
});

describe("blocks", () => {
  const residual = (blocks: number): [number, number][] =>
    Array.from({ length: blocks }, (_, i) => [i * 4, i * 4 + 3]);

  test("equal blocks in a row are a run, with the tail that follows each", () => {
    const picture = fakePicture(22, residual(5), ["Conv", "Relu", "Conv", "Add"]);
    const [run, ...each] = picture.blocks;
    expect(run).toMatchObject({ repeats: 5, skips: 5, from: 1 });
    expect(each.map(({ from, to, skips }) => [from, to, skips])).toEqual(
      [0, 1, 2, 3, 4].map((i) => [1 + 4 * i, i === 4 ? 19 : 4 + 4 * i, 1]),
    );
  });

  test("a pattern of two, as attention and MLP, is one block of the run", () => {
    const ops = ["Norm", "Attention", "Add", "Norm", "MatMul", "Gelu", "MatMul", "Add"];
    const spans = Array.from({ length: 6 }, (_, i): [number, number][] => [
      [8 * i - 1, 8 * i + 2],
      [8 * i + 2, 8 * i + 7],
    ]).flat();
    const [run] = fakePicture(48, spans, ops).blocks;
    expect(run).toMatchObject({ repeats: 6, skips: 12, from: 0, to: 47 });
  });

  test("a block that differs ends the run", () => {
    const nodes = Array.from({ length: 40 }, (_, i) => ({
      name: `n${i}`,
      op: i === 17 ? "Sigmoid" : (["Relu", "Conv", "Add", "Relu"][i % 4] ?? ""),
      role: "other" as const,
    }));
    const blocks = blocksOf(nodes, fakePicture(40, residual(10)).skips);
    expect(blocks.filter(({ repeats }) => repeats > 1).map(({ repeats }) => repeats)).toEqual([
      4, 5,
    ]);
  });

  test("are labelled by what their nodes share in their names, or by their ops", () => {
    const named = (names: readonly string[]) =>
      names.map((name) => ({ name, op: "Conv", role: "other" as const }));
    const names = ["x", "/s/s.1/a/Conv", "/s/s.1/b/Add", "/s/s.2/a/Conv", "/s/s.2/b/Add", "y"];
    const { skips } = fakePicture(6, [
      [0, 2],
      [2, 4],
    ]);
    expect(blocksOf(named(names), skips).map(({ label }) => label)).toEqual([
      "s.s.1 – s.2",
      "s.s.1",
      "s.s.2",
    ]);
    const numbers = named(["0", "1", "2", "3", "4", "5"]);
    expect(blocksOf(numbers, skips)[0]?.label).toBe("Conv");
  });
});

test("stages are the beginnings of names; where each node has its own there are none", () => {
  const nodes = (names: readonly string[]) =>
    names.map((name) => ({ name, op: "Conv", role: "other" as const }));
  const found = stagesOf(nodes(["stem.a", "stem.b", "deep.a", "deep.b", "head.a", "head.b"]));
  expect(found.map(({ label }) => label)).toEqual(["stem", "deep", "head"]);
  expect(stagesOf(nodes(Array.from({ length: 50 }, (_, i) => `n${i}`)))).toEqual([]);
});
