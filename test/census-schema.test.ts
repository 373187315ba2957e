import { readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, test } from "vitest";
import { census } from "../src/analysis/census.ts";
import { type CensusDiff, censusDiff } from "../src/analysis/diff/census-diff.ts";
import type { Census, Skip, SkipCounts, SkipKind } from "../src/analysis/skips/skip.ts";
import { inferShapes } from "../src/canonical/infer-shapes.ts";
import { censusDocument } from "../src/cli/commands/census.ts";
import type { Graph } from "../src/graph/graph.ts";
import { parseGraph } from "../src/graph/parse.ts";
import { zoo } from "../src/nn/models/index.ts";
import { buildNet } from "../src/nn/net.ts";

// The published schemas are what the program prints, and name every field that it has.

interface Schema {
  readonly properties: Readonly<Record<string, unknown>>;
  readonly $defs: Readonly<
    Record<string, { properties: Readonly<Record<string, { enum?: readonly unknown[] }>> }>
  >;
}

function schemaOf(name: string): Schema {
  return JSON.parse(readFileSync(`docs/reference/${name}.schema.json`, "utf8"));
}

/** As the schema judges a document after its way through JSON; null is sound. */
function faultsOf(name: string, document: unknown): unknown {
  const judge = new Ajv2020({ allErrors: true, allowUnionTypes: true });
  const validate = judge.compile(schemaOf(name));
  return validate(JSON.parse(JSON.stringify(document))) ? null : validate.errors;
}

/** A skip in a loop, with every field of it. */
const LOOP = graphOf(`
  g (float[N,8] x) => (float[N,8] y) < int64 m = {6}, float[8,8] w = {} > {
    y = Loop (m, , x) <body = b (int64 i, bool go, float[N,8] h) => (bool go2, float[N,8] h2)
      { f = MatMul (h, w) r = Relu (f) h2 = Add (h, r) go2 = Identity (go) }>
  }`);

function graphOf(text: string): Graph {
  return inferShapes(parseGraph(text, { opsets: new Map([["", 20]]) }));
}

const graphs = new Map<string, Graph>([
  ["a loop", LOOP],
  ...Object.entries(zoo).flatMap(([name, { small }]): [string, Graph][] =>
    small === undefined
      ? []
      : [
          [
            name,
            inferShapes(buildNet(small.build(), { input: small.input, output: "y", seed: 1 })),
          ],
        ],
  ),
]);

test.each([...graphs])("%s: the census is as its schema says", (_, graph) => {
  const document = censusDocument(graph, census(graph), null);
  expect(faultsOf("census", document)).toBeNull();
  expect(Object.keys(schemaOf("census").properties)).toEqual(
    expect.arrayContaining(Object.keys(document)),
  );
});

test("so is the difference of two", () => {
  const [one, other] = [graphs.get("resnet18"), graphs.get("densenet121")];
  if (one === undefined || other === undefined) throw new Error("the zoo has both");
  const file = { path: "model.onnx", digest: null };
  const diff = censusDiff(one, other);
  const document = {
    schema: "skipway.census-diff/1",
    batch: 1,
    sizes: { S: 4 },
    ...diff,
    before: { ...file, ...diff.before },
    after: { ...file, ...diff.after },
  };
  expect(faultsOf("census-diff", document)).toBeNull();
  expect(faultsOf("census-diff", { ...document, same: "no" })).not.toBeNull();
});

describe("the schemas name every field of the types", () => {
  // A field or kind that is added to a type fails the compiler here, and then the test.
  const skip: Record<keyof Skip, true> = {
    ...{ id: true, kind: true, encoderDecoder: true, source: true, merge: true, operand: true },
    ...{ span: true, distance: true, bytes: true, block: true, activation: true, norm: true },
    ...{ sign: true, scaled: true, gamma: true, projection: true, recurrence: true },
    ...{ aliveOnlyForSkip: true, atPeak: true, inPlaceBlocked: true, hazards: true },
    ...{ weightGroup: true, nodes: true },
  };
  const counts: Record<keyof SkipCounts, true> = {
    ...{ total: true, additiveIdentity: true, additiveProjection: true, concat: true },
    ...{ gated: true, encoderDecoder: true, conditional: true, recurrent: true },
    multiStream: true,
  };
  const kinds: Record<SkipKind, true> = {
    ...{ identity: true, pooled: true, padded: true, resampled: true, projection: true },
    ...{ concat: true, gated: true, conditional: true, recurrent: true, "multi-stream": true },
  };
  const whole: Record<keyof Census | "schema" | "model", true> = {
    ...{ schema: true, model: true, batch: true, sizes: true, skips: true, counts: true },
    ...{ denseLinks: true, notSkips: true, hazards: true },
  };
  const diff: Record<keyof CensusDiff | "schema" | "batch" | "sizes", true> = {
    ...{
      schema: true,
      batch: true,
      sizes: true,
      same: true,
      unchanged: true,
      before: true,
      after: true,
    },
    ...{ removed: true, added: true, changed: true },
  };

  test.each(["census", "census-diff"])("%s", (name) => {
    const { properties, $defs } = schemaOf(name);
    const sorted = (fields: object): string[] => Object.keys(fields).toSorted();
    expect(sorted(properties)).toEqual(sorted(name === "census" ? whole : diff));
    expect(sorted($defs["skip"]?.properties ?? {})).toEqual(sorted(skip));
    expect(sorted($defs["counts"]?.properties ?? {})).toEqual(sorted(counts));
    expect($defs["skip"]?.properties["kind"]?.enum?.toSorted()).toEqual(sorted(kinds));
  });
});
