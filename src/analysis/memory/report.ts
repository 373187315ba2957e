// All that `skipway memory` tells: the peak, why each value is alive there, the best order, the arena, and
// the peak of the same network without its skips.

import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import { indexOf } from "../../graph/query.ts";
import { census } from "../census.ts";
import {
  bindBatch,
  type InferenceMemory,
  memoryOf,
  type SizeOptions,
  sizesFor,
} from "../memory.ts";
import type { Census, Skip } from "../skips/skip.ts";
import { planArena } from "./arena.ts";
import { lifetimesOf, momentsOf } from "./liveness.ts";
import { type BestOrder, bestOrder, type OrderNode, type OrderProblem } from "./order.ts";
import { Peak } from "./peak.ts";
import { runtimeMemory } from "./runtime.ts";
import { WithoutSkips } from "./without.ts";

/** The memory of inference, with what skips have to do with it. */
export interface MemoryReport extends Omit<InferenceMemory, "atPeak"> {
  readonly atPeak: readonly {
    readonly value: ValueName;
    readonly bytes: number;
    /** The node in whose body it lives, if it does. */
    readonly body?: string;
    /** `input`, `output`, `body`, `main path`, or the id of the skip that alone keeps it alive or makes it. */
    readonly because: string;
  }[];
  readonly best: BestOrder;
  /** Inputs, buffers and workspace as ONNX Runtime's planner hands them out, for the graph as it stands. */
  readonly runtimePeakBytes: number;
  readonly arenaBytes: number;
  readonly arenaLowerBoundBytes: number;
  /** Peak of the same order without each skip alone. */
  readonly withoutSkip: readonly { readonly skip: string; readonly peakBytes: number }[];
  /** The skips that stand at the peak, at any of the moments that tie for it, and the peak without all of these. */
  readonly withoutTies: { readonly skips: readonly string[]; readonly peakBytes: number };
  readonly withoutSkipsPeakBytes: number;
  /** Share of the peak that is there for skips, 0..1. */
  readonly skipTax: number;
}

/** Re-runs of liveness for single skips; in a network with more, they are told only for skips at the peak. */
const SINGLE_MAX = 200;

/**
 * Takes the memory of a graph apart.
 *
 * @param found the census for the same sizes, where it is there already
 */
export function memoryReport(
  graph: Graph,
  options: SizeOptions = {},
  found: Census = census(graph, options),
): MemoryReport {
  const sizes = sizesFor(graph, options);
  const bound = bindBatch(graph, sizes.batch, sizes.sizes);
  const memory = memoryOf(bound, sizes);
  const { skips } = found;
  const arena = planArena(momentsOf(bound).lifetimes);
  const withoutSkips = new WithoutSkips(bound);
  const without = withoutSkips.peakBytes(skips);
  const ties = skips.filter((skip) => skip.atPeak);
  const single = ties.slice(0, SINGLE_MAX);
  const because = reasons(bound, skips);
  return {
    ...memory,
    atPeak: memory.atPeak.map((one) => ({ ...one, because: because(one) })),
    best: bestOrder(orderProblem(bound)),
    runtimePeakBytes: runtimeMemory(bound).peakBytes,
    arenaBytes: arena.bytes,
    arenaLowerBoundBytes: arena.lowerBoundBytes,
    withoutSkip: single.map((skip) => ({
      skip: skip.id,
      peakBytes: withoutSkips.peakBytes([skip]),
    })),
    withoutTies: { skips: ties.map(({ id }) => id), peakBytes: withoutSkips.peakBytes(ties) },
    withoutSkipsPeakBytes: without,
    skipTax: memory.peakBytes > 0 ? 1 - without / memory.peakBytes : 0,
  };
}

/** The question of the best order for a graph whose batch is bound. */
export function orderProblem(graph: Graph): OrderProblem {
  const index = indexOf(graph);
  const { lifetimes, storageOf } = lifetimesOf(graph);
  const numbers = new Map<ValueName, number>();
  const byName = new Map(graph.nodes.map((node, i) => [node.name, i]));
  const nodes = graph.nodes.map(() => ({
    after: new Set<number>(),
    reads: new Set<number>(),
    makes: new Set<number>(),
  }));
  const positionOf = (node: Node | undefined): number | undefined =>
    node === undefined ? undefined : index.positions.get(node);
  const inputs: number[] = [];
  lifetimes.forEach(({ value, body }, storage) => {
    if (body === undefined) numbers.set(value, storage);
    const maker = body === undefined ? positionOf(index.producers.get(value)) : byName.get(body);
    if (maker === undefined) inputs.push(storage);
    else nodes[maker]?.makes.add(storage);
  });
  for (const [name, uses] of index.uses) {
    const maker = positionOf(index.producers.get(name));
    const storage = numbers.get(storageOf(name));
    for (const { node } of uses) {
      const reader = nodes[index.positions.get(node) ?? -1];
      if (storage !== undefined) reader?.reads.add(storage);
      if (maker !== undefined) reader?.after.add(maker);
    }
  }
  const outputs = [...index.outputs].flatMap((name) => numbers.get(storageOf(name)) ?? []);
  return {
    nodes: nodes.map(({ after, reads, makes }): OrderNode => {
      return { after: [...after], reads: [...reads], makes: [...makes] };
    }),
    bytes: lifetimes.map(({ bytes }) => bytes),
    inputs,
    outputs: [...new Set(outputs)],
  };
}

/** Why a value is alive at the peak. */
function reasons(graph: Graph, skips: readonly Skip[]): (one: AtPeak) => string {
  const index = indexOf(graph);
  const { storageOf } = lifetimesOf(graph);
  const peak = new Peak(graph);
  const keepers = new Map<ValueName, string>();
  const makers = new Map<string, string>();
  for (const { id, source, nodes, aliveOnlyForSkip: alone } of skips) {
    for (const name of nodes.shortcut) makers.set(name, id);
    const from = peak.last(alone?.from ?? "") ?? Number.POSITIVE_INFINITY;
    const until = peak.last(alone?.until ?? "") ?? -1;
    if (from < peak.at && peak.at <= until) keepers.set(storageOf(source), id);
  }
  return ({ value, body }) => {
    const skip = keepers.get(value) ?? makers.get(index.producers.get(value)?.name ?? "");
    if (skip !== undefined) return skip;
    if (body !== undefined) return "body";
    if (index.outputs.has(value)) return "output";
    return index.inputs.has(value) ? "input" : "main path";
  };
}

type AtPeak = InferenceMemory["atPeak"][number];
