// Memory of inference: which activations are alive when, in the order of the file. Weights are counted apart.

import { canonicalize } from "../canonical/canonical.ts";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { dtypeBytes } from "../graph/dtype.ts";
import { type Graph, subgraphs, type ValueName } from "../graph/graph.ts";
import { typeOf } from "../graph/query.ts";
import { UNKNOWN_DIM } from "../graph/shape.ts";
import { valueBytes } from "../ops/rules.ts";
import { aliveAt, constants, lifetimesOf } from "./memory/liveness.ts";

/** The sizes for which a graph is looked at. */
export interface SizeOptions {
  /** Of the batch, the first symbolic dim of the inputs. Default: what `sizes` says of it, or 1. */
  readonly batch?: number;
  /** Of symbolic dims, by name, such as a length `S`. */
  readonly sizes?: Readonly<Record<string, number>>;
}

/** The sizes for which a graph was looked at. */
export interface Sizes {
  readonly batch: number;
  /** Of other symbolic dims. */
  readonly sizes: Readonly<Record<string, number>>;
}

/** Liveness of a graph for one batch size. */
export interface InferenceMemory extends Sizes {
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
  /** Values whose size is not known for these sizes; they count as nothing. */
  readonly unknown: number;
}

/**
 * The graph as it is run, with the first symbolic dim of its inputs set to the batch, and others by name. Idioms
 * stay apart: the values inside a norm that is written out take memory.
 */
export function bindBatch(
  graph: Graph,
  batch: number,
  sizes: Readonly<Record<string, number>> = {},
): Graph {
  const symbol = batchSymbol(graph);
  const bound = new Map(Object.entries(sizes));
  if (symbol !== undefined) bound.set(symbol, batch);
  return inferShapes(canonicalize(graph, { idioms: false }), bound);
}

/** All sizes, with what is left out of them filled in. */
export function sizesFor(graph: Graph, { batch, sizes = {} }: SizeOptions): Sizes {
  const symbol = batchSymbol(graph);
  const { [symbol ?? ""]: named, ...others } = sizes;
  return symbol === undefined
    ? { batch: batch ?? 1, sizes }
    : { batch: batch ?? named ?? 1, sizes: others };
}

/** The symbolic dims of a graph: those of its inputs first, then of its outputs and of what lies between. */
export function symbolsOf(graph: Graph): ReadonlySet<string> {
  const inputs = graph.inputs.filter(({ name }) => !graph.initializers.has(name));
  const values = [...inputs, ...graph.outputs, ...graph.values.values()];
  const dims = values.flatMap(({ shape }) => shape ?? []);
  return new Set(
    dims.filter((dim): dim is string => typeof dim === "string" && dim !== UNKNOWN_DIM),
  );
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
export function inferenceMemory(graph: Graph, options: SizeOptions = {}): InferenceMemory {
  const { batch, sizes } = sizesFor(graph, options);
  return memoryOf(bindBatch(graph, batch, sizes), { batch, sizes });
}

/** The same for a graph that is bound to these sizes. Bound again it would not be the one that runs. */
export function memoryOf(bound: Graph, { batch, sizes }: Sizes): InferenceMemory {
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
    sizes,
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
