// The table of mistakes is whole, and every rule has its place in it.

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { RULES } from "./index.ts";

const TABLE = readFileSync("docs/design/mistakes.md", "utf8");
const rows = [...TABLE.matchAll(/^\| (F?\d+) +\|/gm)].map(([, row]) => row);

test("has all seven failure modes and all twenty-five mistakes", () => {
  const numbers = Array.from({ length: 25 }, (_, i) => String(i + 1));
  const modes = numbers.slice(0, 7).map((n) => `F${n}`);
  expect([...new Set(rows)]).toEqual([...modes, ...numbers]);
});

test("names every rule, each with its page", () => {
  const links = [
    ...TABLE.matchAll(/\[`([\w-]+\/[\w-]+)`\]\(\.\.\/reference\/lint\/([\w-]+)\.md\)/g),
  ];
  for (const [, id = "", page] of links) expect(page).toBe(id.replace("/", "-"));
  const named = new Set(links.map(([, id]) => id));
  expect(RULES.map(({ id }) => id).filter((id) => !named.has(id))).toEqual([]);
});
