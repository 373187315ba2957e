import { expect, test } from "vitest";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import { withBodies } from "../../canonical/inline.ts";
import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import { indexOf } from "../../graph/query.ts";
import { graph as textGraph } from "../../graph/text.test-helper.ts";
import { zoo } from "../../nn/models/index.ts";
import { buildNet } from "../../nn/net.ts";
import { census } from "../census.ts";
import { bindBatch } from "../memory.ts";
import type { Skip } from "../skips/skip.ts";
import { lifetimesOf } from "./liveness.ts";
import { WithoutSkips } from "./without.ts";

/** The graph written out anew: merges do not read the shortcuts, and nothing computes what nobody reads then. */
function rebuilt(graph: Graph, skips: readonly Skip[]): Graph {
  const { producers, outputs } = indexOf(graph);
  const cut = graph.nodes.map((node): Node => {
    const here = skips.filter(({ merge }) => merge === node.name);
    const shortcut = (name: ValueName): boolean =>
      here.some(({ source, nodes }) => {
        return name === source || nodes.shortcut.includes(producers.get(name)?.name ?? "");
      });
    const inside = withBodies(node, (body) => rebuilt(body, skips));
    return { ...inside, inputs: node.inputs.map((name) => (shortcut(name) ? "" : name)) };
  });
  const { uses } = indexOf({ ...graph, nodes: cut });
  const kept = new Set<Node>();
  for (const node of cut.toReversed()) {
    const read = (name: ValueName): boolean =>
      outputs.has(name) || (uses.get(name) ?? []).some((use) => kept.has(use.node));
    if (node.outputs.some(read)) kept.add(node);
  }
  return { ...graph, nodes: cut.filter((node) => kept.has(node)) };
}

function peakOf(graph: Graph): number {
  const { lifetimes } = lifetimesOf(graph);
  const alive = graph.nodes.map((_, at) =>
    lifetimes.reduce((sum, { bytes, from, until }) => {
      return from <= at && at <= until ? sum + bytes : sum;
    }, 0),
  );
  return Math.max(0, ...alive);
}

const NETWORKS = Object.entries(zoo).filter(([, { small }]) => small !== undefined);

test.each(NETWORKS)("%s: single skips, pairs and all, as in a graph without them", (_, model) => {
  const { build, input } = model.small ?? model;
  const graph = inferShapes(
    buildNet(build(), { input, output: "y", seed: 1 }),
    new Map([["S", 4]]),
  );
  const bound = bindBatch(graph, 2);
  const { skips } = census(graph, { batch: 2 });
  const asked = new WithoutSkips(bound);
  const some = skips.filter((_skip, i) => i % 4 === 0);
  for (const set of [[], skips, some, ...some.slice(0, 5).map((skip) => [skip])]) {
    expect(asked.peakBytes(set)).toBe(peakOf(rebuilt(bound, set)));
  }
});

test("skips in branches, a projection of a value that only it captures among them", () => {
  const floats = (count: number): string => new Array(count).fill(1).join();
  const graph = inferShapes(textGraph`
    net (float[2,4,8,8] x, bool c) => (float[2,4,8,8] y)
    <float[4,4,1,1] p = {${floats(16)}}, float[4,4,3,3] w = {${floats(144)}}> {
      ["wide"] v = Concat <axis = 1> (x, x, x)
      ["narrow"] u, rest = Split <axis = 1, split = [4, 8]> (v)
      y = If (c) <
        then_branch = long () => (float[] a4) {
          ["c1"] a1 = Conv <pads = [1, 1, 1, 1]> (u, w)
          ["c2"] a2 = Conv <pads = [1, 1, 1, 1]> (a1, w)
          ["s1"] s = Conv (u, p)
          ["add"] a3 = Add (a2, s)
          ["c3"] b1 = Conv <pads = [1, 1, 1, 1]> (a3, w)
          ["c4"] b2 = Conv <pads = [1, 1, 1, 1]> (b1, w)
          ["add2"] a4 = Add (a3, b2)
        },
        else_branch = short () => (float[] n) { n = Exp (x) }>
    }`);
  const run = bindBatch(graph, 1);
  const { skips } = census(graph);
  expect(skips.map(({ kind, merge }) => [kind, merge])).toEqual([
    ["projection", "add"],
    ["identity", "add2"],
  ]);
  const asked = new WithoutSkips(run);
  const peaks = [[], skips, ...skips.map((one) => [one])].map((set) => {
    expect(asked.peakBytes(set)).toBe(peakOf(rebuilt(run, set)));
    return asked.peakBytes(set);
  });
  expect(Math.min(...peaks)).toBeLessThan(peaks[0] ?? 0);
});
