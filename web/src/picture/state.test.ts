import { describe, expect, test } from "vitest";
import { fakePicture } from "../../../src/analysis/picture/picture.test-helper.ts";
import type { Picture } from "../../../src/analysis/picture/picture.ts";
import { aliveAt, type Focus, keyed, search, unfoldedFor, type View } from "./state.ts";

// What the viewer of pictures does with keys and searches; test/browser has the viewer itself.

const skip = (index: number): Focus => ({ kind: "skip", skip: index });
const moment = (place: number): Focus => ({ kind: "moment", place });

/** Where a series of keys leads. */
function pressed(picture: Picture, keys: readonly string[], folded: readonly string[] = []): View {
  const start: View = { folded: new Set(folded), zoom: 1, chosen: undefined };
  return keys.reduce((view, key) => keyed(picture, view, key) ?? view, start);
}

describe("keys", () => {
  // A long skip over two short ones, the later of which has another inside.
  const nest = fakePicture(20, [
    [0, 18],
    [9, 15],
    [1, 5],
    [10, 12],
  ]);

  test("right and left reach every skip, in the order in which they begin", () => {
    const order = [0, 2, 1, 3];
    for (const [n, index] of order.entries()) {
      const right = Array.from({ length: n + 1 }, () => "ArrowRight");
      expect(pressed(nest, right).chosen).toEqual(skip(index));
      const left = Array.from({ length: 4 - n }, () => "ArrowLeft");
      expect(pressed(nest, left).chosen).toEqual(skip(index));
    }
    const many = Array.from({ length: 9 }, () => "ArrowRight");
    expect(pressed(nest, many).chosen).toEqual(skip(3));
  });

  test("up goes to the skip around, down to the largest inside, and no further", () => {
    expect(pressed(nest, ["End", "ArrowUp"]).chosen).toEqual(skip(1));
    expect(pressed(nest, ["End", "ArrowUp", "ArrowUp"]).chosen).toEqual(skip(0));
    expect(pressed(nest, ["End", "ArrowUp", "ArrowUp", "ArrowUp"]).chosen).toEqual(skip(0));
    expect(pressed(nest, ["Home", "ArrowDown"]).chosen).toEqual(skip(1));
    expect(pressed(nest, ["Home", "ArrowDown", "ArrowDown", "ArrowDown"]).chosen).toEqual(skip(3));
  });

  test("m goes to the band, arrows move in it, s comes back", () => {
    expect(pressed(nest, ["m"]).chosen).toEqual(moment(0));
    expect(pressed(nest, ["Home", "m"]).chosen).toEqual(moment(18));
    expect(pressed(nest, ["m", "ArrowRight", "ArrowRight"]).chosen).toEqual(moment(2));
    expect(pressed(nest, ["m", "ArrowLeft"]).chosen).toEqual(moment(0));
    expect(pressed(nest, ["m", "End"]).chosen).toEqual(moment(19));
    expect(pressed(nest, ["m", "s"]).chosen).toEqual(skip(0));
  });

  test("Enter folds the run around a skip and opens it again", () => {
    const spans = [0, 4, 8].map((i): [number, number] => [i, i + 3]);
    const chain = fakePicture(13, spans, ["Conv", "Relu", "Conv", "Add"]);
    const run = chain.blocks.find(({ repeats }) => repeats > 1)?.id ?? "";
    expect([...pressed(chain, ["End", "Enter"]).folded]).toEqual([run]);
    expect([...pressed(chain, ["End", "Enter", "Enter"]).folded]).toEqual([]);
    expect([...pressed(nest, ["Enter"]).folded]).toEqual([]);
  });

  test("zoom stays within its bounds, Escape lets go, other keys mean nothing", () => {
    expect(pressed(nest, ["-"]).zoom).toBe(1);
    expect(pressed(nest, ["+", "+", "-"]).zoom).toBeCloseTo(1.5);
    expect(pressed(nest, ["+", "0"]).zoom).toBe(1);
    expect(pressed(nest, Array(99).fill("+")).zoom).toBe(40);
    expect(pressed(nest, ["Home", "Escape"]).chosen).toBeUndefined();
    const view: View = { folded: new Set(), zoom: 1, chosen: undefined };
    for (const key of ["a", "toString", "__proto__", "Tab"]) {
      expect(keyed(nest, view, key)).toBeUndefined();
    }
  });

  test("a picture without nodes or skips takes every key", () => {
    const none = fakePicture(0, []);
    const all = [
      "ArrowRight",
      "ArrowLeft",
      "ArrowUp",
      "ArrowDown",
      "Home",
      "End",
      "m",
      "s",
      "Enter",
    ];
    expect(pressed(none, all).chosen).toBeUndefined();
  });
});

test("a search finds nodes by name and op, skips by what they join; the skip asked for by id is first", () => {
  const spans = Array.from({ length: 60 }, (_, i): [number, number] => [i, i + 1]);
  const picture = fakePicture(61, spans);
  const byId = search(picture, "S6");
  expect(byId.hits[0]?.focus).toEqual(skip(5));
  expect(search(picture, "n42").hits.map((hit) => hit.focus)).toEqual([skip(41), moment(42)]);
  const all = search(picture, "conv");
  expect([all.count, all.hits.length]).toEqual([61, 40]);
  expect(search(picture, "  ").count).toBe(0);
  expect(search(picture, "nowhere").count).toBe(0);
});

test("what is chosen is not left in a folded block", () => {
  const spans = [0, 4, 8].map((i): [number, number] => [i, i + 3]);
  const picture = fakePicture(30, spans, ["Conv", "Relu", "Conv", "Add"]);
  const folded = new Set(picture.blocks.map(({ id }) => id));
  const left = unfoldedFor(picture, folded, moment(2));
  const hiding = picture.blocks.filter(({ from, to }) => from <= 2 && 2 <= to);
  expect(hiding.length).toBeGreaterThan(0);
  for (const { id } of hiding) expect(left.has(id)).toBe(false);
  expect(left.size).toBe(folded.size - hiding.length);
});

test("who is alive is told largest first, with the skips that alone hold it", () => {
  const fake = fakePicture(10, [[0, 8]]);
  const [first] = fake.skips;
  if (first === undefined) throw new Error("no skip");
  const storages = [
    { value: "small", bytes: 1, from: 0, until: 9, skips: [] },
    { value: "v0", bytes: 64, from: 0, until: 8, skips: [0] },
    { value: "gone", bytes: 99, from: 0, until: 2, skips: [] },
  ];
  const picture: Picture = {
    ...fake,
    skips: [{ ...first, alone: [3, 8] }],
    memory: { ...fake.memory, storages },
  };
  const told = (place: number) =>
    aliveAt(picture, place).map(({ value, skips }) => [value, skips.length]);
  expect(told(1)).toEqual([
    ["gone", 0],
    ["v0", 0],
    ["small", 0],
  ]);
  expect(told(5)).toEqual([
    ["v0", 1],
    ["small", 0],
  ]);
  expect(told(9)).toEqual([["small", 0]]);
});
