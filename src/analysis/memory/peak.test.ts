import { describe, expect, test } from "vitest";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import type { Graph } from "../../graph/graph.ts";
import { indexOf } from "../../graph/query.ts";
import { graph as textGraph } from "../../graph/text.test-helper.ts";
import { zoo } from "../../nn/models/index.ts";
import { buildNet } from "../../nn/net.ts";
import { census } from "../census.ts";
import { bindBatch, memoryOf } from "../memory.ts";
import type { Skip } from "../skips/skip.ts";
import { lifetimesOf } from "./liveness.ts";
import { memoryReport } from "./report.ts";

const NETWORKS = Object.entries(zoo).flatMap(([name, { small }]) =>
  small === undefined ? [] : [[name, small] as const],
);

/** From the definition, at each node that ties for the peak: the source for the skip alone, or what its shortcut made. */
function stands(run: Graph, { nodes, aliveOnlyForSkip: alone }: Skip): boolean {
  const { timeline, peakBytes } = memoryOf(run, { batch: 1, sizes: {} });
  const { producers } = indexOf(run);
  const at = (name: string): number => run.nodes.findIndex((node) => node.name === name);
  const made = lifetimesOf(run).lifetimes.filter(({ value }) => {
    return nodes.shortcut.includes(producers.get(value)?.name ?? "");
  });
  return timeline.some(({ bytes }, place) => {
    if (bytes !== peakBytes) return false;
    const kept = alone !== undefined && at(alone.from) < place && place <= at(alone.until);
    return kept || made.some(({ from, until }) => from <= place && place <= until);
  });
}

test.each(NETWORKS)(
  "%s: skips at the peak are those of the definition, in every report",
  (_, small) => {
    const graph = inferShapes(
      buildNet(small.build(), { input: small.input, output: "y", seed: 1 }),
      new Map([["S", 4]]),
    );
    const { skips } = census(graph);
    const run = bindBatch(graph, 1);
    const expected = skips.filter((skip) => stands(run, skip)).map(({ id }) => id);
    expect(skips.filter(({ atPeak }) => atPeak).map(({ id }) => id)).toEqual(expected);
    const report = memoryReport(graph);
    expect(report.withoutTies.skips).toEqual(expected);
    const ids = new Set(skips.map(({ id }) => id));
    const named = report.atPeak.map(({ because }) => because).filter((because) => ids.has(because));
    expect(expected).toEqual(expect.arrayContaining(named));
  },
);

describe("what a projection makes stands at the peak", () => {
  const graph = inferShapes(textGraph`
    g (float[1,1,8,8] x) => (float[1,4,8,8] y)
    <float[4,1,1,1] p = {${new Array(4).fill(1).join()}}, float[4,4,1,1] w = {${new Array(16).fill(1).join()}}> {
      ["projection"] s = Conv (x, p)
      ["up"] a = Conv (x, p)
      ["mid"] b = Conv (a, w)
      ["merge"] y = Add (b, s)
    }`);

  test("though its source is alive for another reason", () => {
    const [skip] = census(graph).skips;
    expect([skip?.kind, skip?.aliveOnlyForSkip, skip?.atPeak]).toEqual([
      "projection",
      undefined,
      true,
    ]);
    expect(memoryReport(graph).withoutTies.skips).toEqual(["s1"]);
  });
});

test("a skip in the body of a loop stands at the peak inside", () => {
  const graph = inferShapes(textGraph`
    g (float[1,4] x) => (float[1,4] y) <int64 trips = {3}, bool go = {1}, int64[1] zero = {0}, float[4,4] w = {${new Array(16).fill(1).join()}}> {
      y = Loop (trips, go, x) <
        body = step (int64 i, bool on, float[1,4] h) => (bool on2, float[1,4] next) {
          on2 = Identity (on)
          ["first"] a = MatMul (h, w)
          b = Concat <axis = 0> (a, a)
          c = ReduceMax <keepdims = 1> (b, zero)
          d = MatMul (c, w)
          ["merge"] next = Add (h, d)
        }>
    }`);
  const { skips } = census(graph);
  expect(skips).toMatchObject([
    { kind: "recurrent", atPeak: true, aliveOnlyForSkip: { from: "first", until: "merge" } },
  ]);
  const report = memoryReport(graph);
  expect(report.withoutTies).toEqual({ skips: ["s1"], peakBytes: report.peakBytes - 16 });
  expect(report.atPeak).toContainEqual({ value: "h", bytes: 16, body: "Loop_0", because: "s1" });
});
