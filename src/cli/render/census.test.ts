import { stripVTControlCharacters } from "node:util";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { census } from "../../analysis/census.ts";
import type { Census, Skip } from "../../analysis/skips/skip.ts";
import { diagnostic } from "../../base/diagnostic.ts";
import { zoo } from "../../nn/models/index.ts";
import { buildNet } from "../../nn/net.ts";
import { censusTable, hazardLines, notSkipLines } from "./census.ts";
import { foldIds, foldSkips } from "./census-fold.ts";

const WIDE = { width: Number.POSITIVE_INFINITY };

function censusOf(name: string): Census {
  const network = zoo[name]?.small;
  if (network === undefined) throw new Error(`no model ${name}`);
  return census(buildNet(network.build(), { input: network.input, output: "y", seed: 1 }));
}

function skipOf(id: string, fields: Partial<Skip> = {}): Skip {
  return {
    id,
    kind: "identity",
    encoderDecoder: false,
    source: `${id}.from`,
    merge: `${id}.to`,
    operand: 0,
    span: 2,
    distance: 4,
    bytes: 1024,
    block: "additive",
    activation: "post",
    norm: "none",
    sign: 1,
    scaled: false,
    gamma: [],
    projection: [],
    recurrence: undefined,
    aliveOnlyForSkip: undefined,
    atPeak: false,
    inPlaceBlocked: false,
    weightGroup: undefined,
    hazards: [],
    nodes: { shortcut: [], main: [], merge: `${id}.to` },
    ...fields,
  };
}

/** The ids that a cell names, ranges written out. */
function idsIn(cell: string, step: number): string[] {
  const numbers = [...cell.matchAll(/s(\d+)/g)].map((found) => Number(found[1]));
  const [first = 0] = numbers;
  const last = numbers.at(-1) ?? first;
  return Array.from({ length: (last - first) / step + 1 }, (_, i) => `s${first + i * step}`);
}

describe("folding", () => {
  test("a row for each part of a block that comes again and again", () => {
    const blocks = Array.from({ length: 4 }, (_, i) => [
      skipOf(`s${2 * i + 1}`, { block: "attention" }),
      skipOf(`s${2 * i + 2}`, { block: "mlp" }),
    ]).flat();
    expect(foldSkips(blocks).map(foldIds)).toEqual(["s1, s3 … s7", "s2, s4 … s8"]);
    expect(foldSkips(blocks.slice(0, 6)).map(foldIds)).toEqual(["s1, s3, s5", "s2, s4, s6"]);
    expect(foldSkips(blocks.slice(0, 4)).map(foldIds)).toEqual(["s1", "s2", "s3", "s4"]);
  });

  test("a new row where the bytes no longer grow evenly", () => {
    const sizes = [10, 20, 30, 5, 15, 25];
    const dense = sizes.map((bytes, i) => skipOf(`s${i + 1}`, { bytes }));
    expect(foldSkips(dense).map(foldIds)).toEqual(["s1…s3", "s4…s6"]);
  });

  test("no skip is hidden, and no two different ones share a row", () => {
    const any = fc.record({
      kind: fc.constantFrom<Skip["kind"]>("identity", "projection"),
      bytes: fc.constantFrom(1, 2, undefined),
      span: fc.constantFrom(1, 2),
    });
    fc.assert(
      fc.property(fc.array(any, { maxLength: 40 }), (rows) => {
        const skips = rows.map((fields, i) => skipOf(`s${i + 1}`, fields));
        const folds = foldSkips(skips);
        const told = folds.flatMap((fold) => idsIn(foldIds(fold), fold.step));
        expect(told.toSorted()).toEqual(skips.map((skip) => skip.id).toSorted());
        for (const { skips: group } of folds) {
          expect(new Set(group.map(({ kind, span }) => `${kind} ${span}`)).size).toBe(1);
        }
      }),
    );
  });
});

describe("the table", () => {
  test("of a network with repeated blocks", () => {
    const skips = [
      skipOf("s1", { kind: "projection" }),
      skipOf("s2"),
      skipOf("s3", { atPeak: true }),
    ];
    expect(censusTable({ ...censusOf("starter"), skips }, WIDE)).toEqual([
      "skip   ×  kind        block     activation  from               to             span    bytes  at peak",
      "─────  ─  ──────────  ────────  ──────────  ─────────────────  ─────────────  ────  ───────  ───────",
      "s1     1  projection  additive  post        s1.from            s1.to             2  1.0 KiB",
      "s2…s3  2  identity    additive  post        s2.from … s3.from  s2.to … s3.to     2  1.0 KiB  s3",
    ]);
  });

  test.each(["starter", "resnet50", "densenet121"])("%s: --all has a row for each skip", (name) => {
    const found = censusOf(name);
    const rows = censusTable(found, { ...WIDE, all: true }).slice(2);
    expect(rows.map((row) => row.split(" ")[0])).toEqual(found.skips.map((skip) => skip.id));
    expect(censusTable(found, WIDE).length).toBeLessThanOrEqual(rows.length + 2);
  });

  test("colour changes nothing of what is read", () => {
    const found = censusOf("resnet50");
    const colored = censusTable(found, { width: 100, color: true });
    expect(colored.join("\n")).toContain("\u001b[");
    const plain = colored.map(stripVTControlCharacters);
    expect(plain).toEqual(censusTable(found, { width: 100 }));
    for (const line of plain) expect(line.length).toBeLessThanOrEqual(100);
  });
});

test("what is no skip is counted by its reason, and named with --all", () => {
  const notSkips = ["a", "b", "c"].map((node, i) => ({
    node,
    reason: i < 2 ? "a gate" : "a bias",
  }));
  const found = { ...censusOf("starter"), notSkips };
  expect(notSkipLines(found, WIDE)).toEqual([
    "no skips, though they look like some: 3 (--all names them)",
    "  2  a gate",
    "  1  a bias",
  ]);
  expect(notSkipLines(found, { ...WIDE, all: true })).toHaveLength(5);
  expect(notSkipLines({ ...found, notSkips: [] }, WIDE)).toEqual([]);
});

test("hazards that say the same are told once, with their places", () => {
  const hazards = Array.from({ length: 6 }, (_, i) =>
    diagnostic({
      id: "a/b",
      severity: "warning",
      where: `node ${i}`,
      text: "it is so",
      fix: "Mend.",
    }),
  );
  expect(hazardLines(hazards, WIDE)).toEqual([
    "warning a/b  node 0, node 1, node 2, node 3, 2 more",
    "  it is so",
    "  fix: Mend.",
  ]);
  expect(hazardLines(hazards, { ...WIDE, all: true })).toHaveLength(18);
});
