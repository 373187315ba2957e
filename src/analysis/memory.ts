// Memory of inference: which activations are alive when, in the order of the file. Weights are counted apart.

import { canonicalize } from "../canonical/canonical.ts";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { dtypeBytes } from "../graph/dtype.ts";
import { type Graph, subgraphs, type ValueName } from "../graph/graph.ts";
import { typeOf } from "../graph/query.ts";
import { UNKNOWN_DIM } from "../graph/shape.ts";
import { valueBytes } from "../ops/rules.ts";
import { aliveAt, constants, lifetimesOf } from "./memory/liveness.ts";

/** Liveness of a graph for one batch size. */
export interface InferenceMemory {
  readonly batch: number;
  readonly weightsBytes: number;
  /** Most activation bytes alive at once. */
  readonly peakBytes: number;
  readonly peakNode: string;
  /** Activation bytes alive while each node runs, in file order. */
  readonly timeline: readonly { readonly node: string; readonly bytes: number }[];
  /** What is alive at the peak, largest first; `body` is the node in whose body it lives, if it does. */
  readonly atPeak: readonly {
    readonly value: ValueName;
    readonly bytes: number;
    readonly body?: string;
  }[];
  /** Values whose size is not known for this batch; they count as nothing. */
  readonly unknown: number;
}

/**
 * The graph as it is run, with the first symbolic dim of its inputs set to the batch. Idioms stay apart: the
 * values inside a norm that is written out take memory.
 */
export function bindBatch(graph: Graph, batch: number): Graph {
  const symbol = batchSymbol(graph);
  const sizes = new Map(symbol === undefined ? [] : [[symbol, batch]]);
  return inferShapes(canonicalize(graph, { idioms: false }), sizes);
}

/** The symbol that stands for the batch: the first dim of an input, if it is one. */
export function batchSymbol(graph: Graph): string | undefined {
  return graph.inputs
    .filter((value) => !graph.initializers.has(value.name))
    .map((value) => value.shape?.[0])
    .find((dim) => typeof dim === "string" && dim !== UNKNOWN_DIM)
    ?.toString();
}

/** Peak memory and liveness of a graph, run in file order. */
export function inferenceMemory(graph: Graph, options: { batch?: number } = {}): InferenceMemory {
  const batch = options.batch ?? 1;
  return memoryOf(bindBatch(graph, batch), batch);
}

/** The same for a graph that is bound to this batch. Bound again it would not be the one that runs. */
export function memoryOf(bound: Graph, batch: number): InferenceMemory {
  const { lifetimes, unknown } = lifetimesOf(bound);
  let peak = 0;
  let peakAt = 0;
  const timeline = aliveAt(lifetimes, bound.nodes.length).map((bytes, position) => {
    if (bytes > peak) [peak, peakAt] = [bytes, position];
    return { node: bound.nodes[position]?.name ?? "", bytes };
  });
  const atPeak = lifetimes
    .filter(({ from, until, bytes }) => bytes > 0 && from <= peakAt && until >= peakAt)
    .map(({ value, bytes, body }) => ({ value, bytes, ...(body === undefined ? {} : { body }) }))
    .sort((a, b) => b.bytes - a.bytes);
  return {
    batch,
    weightsBytes: weightsBytes(bound),
    peakBytes: peak,
    peakNode: bound.nodes[peakAt]?.name ?? "",
    timeline,
    atPeak,
    unknown,
  };
}

/** Bytes of all weights, absent ones and those in bodies included. */
export function weightsBytes(graph: Graph): number {
  let total = 0;
  for (const ref of graph.initializers.values()) {
    total += dtypeBytes(
      ref.dtype,
      ref.shape.reduce((a, b) => a * b, 1),
    );
  }
  for (const body of graph.nodes.flatMap(subgraphs)) {
    total += weightsBytes(body);
    for (const name of constants(body)) total += valueBytes(typeOf(body, name)) ?? 0;
  }
  return total;
}
