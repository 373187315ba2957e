// Memory of inference: which activations are alive when, in the order of the file. Values that are
// views of another share its storage. Weights are counted apart.

import { canonicalize } from "../canonical/canonical.ts";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { dtypeBytes } from "../graph/dtype.ts";
import type { Graph, Node, ValueName } from "../graph/graph.ts";
import { indexOf, typeOf } from "../graph/query.ts";
import { UNKNOWN_DIM } from "../graph/shape.ts";
import { valueBytes } from "../ops/rules.ts";

/** Liveness of a graph for one batch size. */
export interface InferenceMemory {
  readonly batch: number;
  readonly weightsBytes: number;
  /** Most activation bytes alive at once. */
  readonly peakBytes: number;
  readonly peakNode: string;
  /** Activation bytes alive while each node runs, in file order. */
  readonly timeline: readonly { readonly node: string; readonly bytes: number }[];
  /** What is alive at the peak, largest first. */
  readonly atPeak: readonly { readonly value: ValueName; readonly bytes: number }[];
  /** Values whose size is not known for this batch; they count as nothing. */
  readonly unknown: number;
}

/** When the storage of a value is taken and given back, as positions of nodes. */
export interface Lifetime {
  readonly value: ValueName;
  readonly bytes: number;
  readonly from: number;
  readonly until: number;
}

const VIEWS = new Set(["Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"]);

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
  const bound = bindBatch(graph, batch);
  const { lifetimes, unknown } = lifetimesOf(bound);
  const change = new Float64Array(bound.nodes.length + 1);
  for (const { bytes, from, until } of lifetimes) {
    change[from] = (change[from] ?? 0) + bytes;
    change[until + 1] = (change[until + 1] ?? 0) - bytes;
  }
  let alive = 0;
  let peak = 0;
  let peakAt = 0;
  const timeline = bound.nodes.map((node, position) => {
    alive += change[position] ?? 0;
    if (alive > peak) [peak, peakAt] = [alive, position];
    return { node: node.name, bytes: alive };
  });
  const atPeak = lifetimes
    .filter(({ from, until, bytes }) => bytes > 0 && from <= peakAt && until >= peakAt)
    .map(({ value, bytes }) => ({ value, bytes }))
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

/** Lifetimes of all storages of a graph whose batch is bound. */
export function lifetimesOf(graph: Graph): {
  lifetimes: Lifetime[];
  unknown: number;
  /** The storage in which a value lies: its own name, or that of the value of which it is a view. */
  storageOf(name: ValueName): ValueName;
} {
  const index = indexOf(graph);
  const last = graph.nodes.length - 1;
  const owner = new Map<ValueName, ValueName>();
  const ends = new Map<ValueName, number>();
  const storages = new Map<ValueName, { bytes: number; from: number }>();
  let unknown = 0;
  const take = (name: ValueName, from: number): void => {
    const bytes = valueBytes(typeOf(graph, name));
    if (bytes === undefined) unknown++;
    storages.set(name, { bytes: bytes ?? 0, from });
    ends.set(name, from);
  };
  const ownerOf = (name: ValueName): ValueName => owner.get(name) ?? name;
  for (const value of graph.inputs) if (!graph.initializers.has(value.name)) take(value.name, 0);
  graph.nodes.forEach((node, position) => {
    for (const [i, name] of node.outputs.entries()) {
      if (name === "") continue;
      const viewed = i === 0 ? viewOf(graph, node) : undefined;
      if (viewed !== undefined) owner.set(name, ownerOf(viewed));
      else if ((index.uses.get(name)?.length ?? 0) > 0 || index.outputs.has(name)) {
        take(name, position);
      }
    }
  });
  const touch = (name: ValueName, position: number): void => {
    const storage = ownerOf(name);
    const before = ends.get(storage);
    if (before !== undefined) ends.set(storage, Math.max(before, position));
  };
  for (const [name, uses] of index.uses) {
    for (const use of uses) touch(name, index.positions.get(use.node) ?? 0);
  }
  for (const name of index.outputs) touch(name, last);
  return {
    unknown,
    storageOf: ownerOf,
    lifetimes: [...storages].map(([value, { bytes, from }]) => ({
      value,
      bytes,
      from,
      until: ends.get(value) ?? from,
    })),
  };
}

/** The value that a node's output is a view of; views of weights take no activation memory. */
function viewOf(graph: Graph, node: Node): ValueName | undefined {
  const [input = ""] = node.inputs;
  return VIEWS.has(node.op) && input !== "" && !graph.initializers.has(input) ? input : undefined;
}

/** Bytes of all weights, absent ones included. */
export function weightsBytes(graph: Graph): number {
  let total = 0;
  for (const ref of graph.initializers.values()) {
    total += dtypeBytes(
      ref.dtype,
      ref.shape.reduce((a, b) => a * b, 1),
    );
  }
  return total;
}
