// What is told of a graph is told of the same nodes in a function, in the body of a Loop and in a branch, too.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Graph } from "../graph/graph.ts";
import { parseGraph } from "../graph/parse.ts";
import { asBody, asBranch, asFunction } from "./inner.test-helper.ts";
import { lint } from "./lint.ts";

const FOLDER = "docs/reference/lint";

/** Rules about the file as a whole, or about what is alive: bodies have no part in either. */
const OF_THE_FILE = new Set([
  ...["artifact/debug-remarks", "artifact/old-opset", "memory/inner-output", "memory/long-skip"],
]);

const EXAMPLES = readdirSync(FOLDER)
  .filter((file) => file !== "README.md")
  .map((file) => {
    const text = readFileSync(join(FOLDER, file), "utf8");
    const [, id = ""] = /^# `([^`]+)`/m.exec(text) ?? [];
    const [told = "", near = ""] = [...text.matchAll(/```onnx\n([\s\S]*?)```/g)].map(
      ([, code = ""]) => code,
    );
    return { id, graph: parseGraph(told), near: parseGraph(near) };
  })
  .filter(({ id }) => !OF_THE_FILE.has(id));

/** What a Loop gathers has the iterations on its first axis: that the symbol is the batch is then not known. */
const NOT_IN_LOOPS = new Set(["batch/mixed-requests"]);

describe.each(EXAMPLES)("$id", ({ id, graph, near }) => {
  const loops: [string, Graph][] = [
    ["a Loop with its weights", asBody(graph, "inside")],
    ["a Loop that captures them", asBody(graph, "outside")],
  ];
  test.each<[string, Graph]>([
    ["a function", asFunction(graph, 2)],
    ["a branch", asBranch(graph)],
    ...(NOT_IN_LOOPS.has(id) ? [] : loops),
  ])("is told in %s", (_, inner) => {
    expect(lint(inner).map((one) => one.id)).toContain(id);
  });

  test.each<[string, Graph]>([
    ["a function", asFunction(near, 1)],
    ["a Loop", asBody(near, "outside")],
    ["a branch", asBranch(near)],
  ])("the near miss is not told in %s", (_, inner) => {
    expect(lint(inner).map((one) => one.id)).not.toContain(id);
  });
});
