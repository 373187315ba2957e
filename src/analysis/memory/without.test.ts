import { expect, test } from "vitest";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import { indexOf } from "../../graph/query.ts";
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
    return { ...node, inputs: node.inputs.map((name) => (shortcut(name) ? "" : name)) };
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
