// The JSON documents of `lint` and `memory`, and those of the census for every form of a network, are as their
// published schemas say, which name every field.

import { readFileSync } from "node:fs";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { describe, expect, test } from "vitest";
import { census } from "../src/analysis/census.ts";
import { lint } from "../src/analysis/lint.ts";
import { type MemoryReport, memoryReport } from "../src/analysis/memory/report.ts";
import type { Diagnostic } from "../src/base/diagnostic.ts";
import { inferShapes } from "../src/canonical/infer-shapes.ts";
import { censusDocument } from "../src/cli/commands/census.ts";
import { lintDocument } from "../src/cli/commands/lint.ts";
import { memoryDocument } from "../src/cli/commands/memory.ts";
import type { Graph } from "../src/graph/graph.ts";
import { graph as textGraph } from "../src/graph/text.test-helper.ts";
import { zoo } from "../src/nn/models/index.ts";
import { buildNet } from "../src/nn/net.ts";
import { repair } from "../src/passes/repair/repair.ts";
import { type ExportOptions, exportModel } from "../src/runtime/export.ts";
import { sampleOf } from "./sample.ts";

interface Schema {
  readonly properties: Readonly<Record<string, unknown>>;
}

const NAMES = ["census", "lint", "memory"] as const;
const schemas = new Map<string, Schema>();
const judges = new Map<string, ValidateFunction>();
for (const name of NAMES) {
  const schema = JSON.parse(readFileSync(`docs/reference/${name}.schema.json`, "utf8"));
  schemas.set(name, schema);
  judges.set(name, new Ajv2020({ allErrors: true, allowUnionTypes: true }).compile(schema));
}

/** What the schema has against a document after its way through JSON, and fields that it does not name. */
function faultsOf(name: (typeof NAMES)[number], document: Record<string, unknown>): unknown {
  const judge = judges.get(name);
  if (judge === undefined) throw new Error("each has a judge");
  const named = new Set(Object.keys(schemas.get(name)?.properties ?? {}));
  const sound = judge(JSON.parse(JSON.stringify(document)));
  const unnamed = Object.keys(document).filter((field) => !named.has(field));
  return sound && unnamed.length === 0 ? null : [judge.errors, unnamed];
}

function judgeAll(graph: Graph): void {
  const sizes = { batch: 2, sizes: { S: 6 } };
  const found = census(graph, sizes);
  expect(faultsOf("census", censusDocument(graph, found, null))).toBeNull();
  expect(faultsOf("lint", lintDocument(lint(graph, sizes)))).toBeNull();
  expect(faultsOf("memory", memoryDocument(memoryReport(graph, sizes, found)))).toBeNull();
}

const networks = Object.entries(zoo).flatMap(([name, { small }]) => {
  if (small === undefined) return [];
  return [[name, buildNet(small.build(), { input: small.input, output: "y", seed: 1 })] as const];
});

test.each(networks)("%s", (_, graph) => judgeAll(inferShapes(graph)));

/** Sums, projections, concatenations, splits, gates, an encoder with its decoder, attention. */
const KINDS = ["starter", "resnet18", "densenet121", "shufflenet-v2", "unet-attention", "gpt-2"];
const kinds = networks.filter(([name]) => KINDS.includes(name));

test.each(kinds)("%s in all forms", async (_, graph) => {
  const forms: ExportOptions[] = [
    { form: "functions" },
    { form: "optimized" },
    { form: "quantized", sample: sampleOf(graph) },
    { form: "plain", batch: 3 },
  ];
  for (const options of forms) judgeAll(inferShapes((await exportModel(graph, options)).graph));
});

describe("what few models have", () => {
  test("bodies, unknown sizes, no nodes at all", () => {
    judgeAll(
      inferShapes(textGraph`
        g (float[N,T] x, bool c) => (float[N,T] y) {
          y = If (c) <
            then_branch = long () => (float[N,T] p) { a = Neg (x) p = Add (a, x) },
            else_branch = short () => (float[N,T] r) { r = Relu (x) }>
        }`),
    );
    judgeAll(textGraph`g (float[N] x) => (float[N] x) { }`);
  });

  test("a model that is mended, and one that cannot be", () => {
    const graph = textGraph`
      g (float[1,4,8,8] x) => (float[1,4,8,8] y) <float[4,4,3,3] w = {${new Array(144).fill(1).join()}}> {
        a = Conv (x, w)
        y = Add (a, x)
      }`;
    const mended = repair(graph, { wanted: () => true });
    expect(mended.fixed.length + mended.unfixed.length).toBeGreaterThan(0);
    const unfixed = [{ id: "shape/mismatch", where: "node y", reason: "no way" }];
    for (const outcome of [mended, { fixed: [], unfixed }]) {
      expect(faultsOf("lint", lintDocument(lint(graph), outcome))).toBeNull();
    }
  });
});

describe("a schema refuses", () => {
  const report = memoryReport(textGraph`g (float[4] x) => (float[4] y) { y = Neg (x) }`);
  const finding: Diagnostic = { id: "a/b", severity: "info", where: "x", text: "y", notes: [] };

  test("a field that is gone or of another type", () => {
    const document = memoryDocument(report);
    expect(faultsOf("memory", document)).toBeNull();
    for (const field of Object.keys(document)) {
      const { [field]: _, ...rest } = document;
      expect(faultsOf("memory", rest), field).not.toBeNull();
    }
    expect(faultsOf("memory", { ...document, skipTax: 1.5 })).not.toBeNull();
    expect(faultsOf("memory", { ...document, peakBytes: "8 B" })).not.toBeNull();
    expect(faultsOf("memory", { ...document, atPeak: [{ value: "x" }] })).not.toBeNull();
  });

  test("a severity that there is not, and a summary without one", () => {
    const document = lintDocument([finding]);
    expect(faultsOf("lint", document)).toBeNull();
    const odd = { ...finding, severity: "fatal" };
    expect(faultsOf("lint", { ...document, diagnostics: [odd] })).not.toBeNull();
    expect(faultsOf("lint", { ...document, summary: { error: 0 } })).not.toBeNull();
  });
});

test("a field that is added to a type is to be added here, and to the schema", () => {
  // The best order is told as four fields.
  const fields: Record<keyof Omit<MemoryReport, "best">, true> = {
    ...{ batch: true, sizes: true, weightsBytes: true, peakBytes: true, peakNode: true },
    ...{ timeline: true, atPeak: true, unknown: true, runtimePeakBytes: true, arenaBytes: true },
    ...{ arenaLowerBoundBytes: true, withoutSkip: true, withoutTies: true },
    ...{ withoutSkipsPeakBytes: true, skipTax: true },
  };
  const more = ["schema", "mode", "lowerBoundBytes", "orderOptimal", "bestOrderPeakBytes"];
  const named = Object.keys(schemas.get("memory")?.properties ?? {}).toSorted();
  expect(named).toEqual([...Object.keys(fields), ...more, "statesSearched"].toSorted());
});
