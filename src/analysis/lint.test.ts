// Every page of docs/reference/lint/ tells the truth: its first example is told, its second is not.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseGraph } from "../graph/parse.ts";
import { RULES } from "./hazards/index.ts";
import { lint } from "./lint.ts";

const FOLDER = "docs/reference/lint";

interface Page {
  readonly file: string;
  readonly id: string;
  readonly title: string;
  readonly examples: readonly string[];
}

const PAGES: readonly Page[] = readdirSync(FOLDER)
  .filter((file) => file !== "README.md")
  .map((file) => {
    const text = readFileSync(join(FOLDER, file), "utf8");
    const [, id = "", title = ""] = /^# `([^`]+)`: (.+)$/m.exec(text) ?? [];
    const examples = [...text.matchAll(/```onnx\n([\s\S]*?)```/g)].map(([, code = ""]) => code);
    return { file, id, title, examples };
  });

/** Ids that other parts of `lint` tell. */
const OTHERS = ["shape/mismatch"];

test("every rule has a page of its id and title, and every page its rule", () => {
  expect(PAGES.map(({ id }) => id).toSorted()).toEqual(
    [...OTHERS, ...RULES.map(({ id }) => id)].toSorted(),
  );
  for (const rule of RULES) expect(PAGES.find(({ id }) => id === rule.id)?.title).toBe(rule.title);
  for (const { file, id } of PAGES) expect(file).toBe(`${id.replace("/", "-")}.md`);
});

test("the index names every page with its title", () => {
  const index = readFileSync(join(FOLDER, "README.md"), "utf8");
  for (const { id, file, title } of PAGES) {
    expect(index).toContain(`| [\`${id}\`](${file}) | ${title} |`);
  }
});

describe.each(PAGES)("$id", ({ id, examples }) => {
  const ids = (text: string): string[] => lint(parseGraph(text)).map((one) => one.id);

  test("has two examples: the first is told, the second is not", () => {
    expect(examples).toHaveLength(2);
    const [fires = "", nearMiss = ""] = examples;
    expect(ids(fires)).toContain(id);
    expect(ids(nearMiss)).not.toContain(id);
  });
});

test("what repeats with the same words is told once, with its places", () => {
  const block = (i: number): string => `n${i} = LayerNormalization (x${i}, scale)
    h${i} = MatMul (x${i}, w)  r${i} = Relu (h${i})  [sum${i}] x${i + 1} = Add (r${i}, n${i})`;
  const graph = parseGraph(`<ir_version: 10, opset_import: ["" : 20]>
    g (float[N,2] x0) => (float[N,2] x3)
    <float[2] scale = {1,1}, float[2,2] w = {1,0,0,1}>
    { ${[0, 1, 2].map(block).join(" ")} }`);
  const found = lint(graph).filter(({ id }) => id === "skip/norm-on-shortcut");
  expect(found).toMatchObject([
    { where: "node sum0", notes: ["In 3 places, also at node sum1, node sum2."] },
  ]);
});

test("what is found in a function is told once, however often it is called", () => {
  const calls = Array.from(
    { length: 14 },
    (_, i) => `[call${i}] x${i + 1} = own.Block (x${i}, scale, w)`,
  );
  const graph = parseGraph(`<ir_version: 10, opset_import: ["" : 20, "own" : 1]>
    g (float[N,2] x0) => (float[N,2] x14) <float[2] scale = {1,1}, float[2,2] w = {1,0,0,1}>
    { ${calls.join(" ")} }
    <opset_import: ["" : 20], domain: "own"> Block (x, s, w) => (y)
    { n = LayerNormalization (x, s) h = MatMul (x, w) t = Tanh (h) p = Relu (n)
      ["odd/sum"] y = Add (t, n) }`);
  const [first, ...others] = lint(graph).filter(({ id }) => id === "skip/norm-on-shortcut");
  expect(others).toEqual([]);
  expect(first?.where).toBe("node call0/odd/sum");
  expect(first?.notes.at(-1)).toMatch(
    /^In 14 calls of function own\/Block, also at node call1\/odd\/sum, .* and 1 more\.$/,
  );
});

test("what is found in a body stands where its node does, with the way to it", () => {
  const graph = parseGraph(`<ir_version: 10, opset_import: ["" : 20]>
    g (float[N,3] x) => (float[2,N,3] z) <float[2] b = {1,2}, int64 two = {2}>
    { [before] s = RandomUniform <shape = [1, 3]> ()
      [loop] z = Loop <body = inner (int64 i, bool go) => (bool go, float[N,3] y) { [sum] y = Add (x, b) }> (two)
      [after] t = RandomUniform <shape = [1, 3]> () }`);
  const ids = ["shape/mismatch", "random/unseeded"];
  expect(
    lint(graph)
      .filter(({ id }) => ids.includes(id))
      .map(({ where }) => where),
  ).toEqual(["node loop/sum (Add)", "node before"]);
});

test("findings stand in the order of the nodes, the inputs' before", () => {
  const graph = parseGraph(`<ir_version: 10, opset_import: ["" : 20]>
    g (float[1,2] x) => (float[1,2] y) <float[3] b = {1,2,3}>
    { [first] a = Add (x, b)  [between] z = RandomUniform <shape = [1, 2]> ()
      [last] y = Add (z, b) }`);
  const ids = ["shape/mismatch", "batch/fixed-size", "random/unseeded"];
  const found = lint(graph).filter(({ id }) => ids.includes(id));
  expect(found.map(({ severity, where }) => [severity, where])).toEqual([
    ["error", "node first (Add)"],
    ["error", "node last (Add)"],
    ["warning", "input x"],
    ["warning", "node between"],
  ]);
});
