// What a network is made of, layer by layer: output shapes, parameters, multiply-accumulates, and where skips
// arrive.

import { canonicalize } from "../canonical/canonical.ts";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { isFloat } from "../graph/dtype.ts";
import type { Graph, Node, ValueName, ValueType } from "../graph/graph.ts";
import { subgraphs } from "../graph/graph.ts";
import { originalName, ownOriginals } from "../graph/original.ts";
import { captures, typeOf } from "../graph/query.ts";
import type { Shape } from "../graph/shape.ts";
import { numbersOf, type TensorRef } from "../graph/tensor.ts";
import { opOf } from "../ops/index.ts";
import { census } from "./census.ts";
import { batchSymbol } from "./memory.ts";
import type { Skip, SkipCounts } from "./skips/skip.ts";

/** One layer, or one node that stands between layers. */
export interface SummaryRow {
  /** Path of the layer, as its weights have it, or name of the node. */
  readonly name: string;
  /** The ops that it is made of, each once. */
  readonly ops: readonly string[];
  /** Of its last output. */
  readonly shape: Shape | undefined;
  /** Elements of weights that are read here first: a shared one counts once. */
  readonly parameters: number;
  /** Multiply-accumulates; undefined where a size is not known. */
  readonly macs: number | undefined;
  /** Skips that arrive here. */
  readonly skips: readonly Skip[];
}

/** A network in numbers. */
export interface Summary {
  readonly name: string;
  /** Examples for which shapes and multiply-accumulates are given. */
  readonly batch: number;
  readonly rows: readonly SummaryRow[];
  /** Elements of all weights. Running statistics are apart; numbers alone, as an epsilon, are none. */
  readonly parameters: number;
  /** Elements of running means and variances. */
  readonly statistics: number;
  /** Multiply-accumulates of all rows in which they are known. */
  readonly macs: number;
  /** Names of rows in which they are not. */
  readonly uncounted: readonly string[];
  readonly skips: SkipCounts;
}

/** What a summary is asked for. */
export interface SummaryOptions {
  /** Default 1. */
  readonly batch?: number;
  /** Sizes of other symbolic dims, such as a length `S`. */
  readonly sizes?: Readonly<Record<string, number>>;
  /** Layers inside layers down to this depth are told apart. Default: all. */
  readonly depth?: number;
}

/** Ops whose arithmetic is multiply-accumulates alone, as the op table counts them. */
const PRODUCTS = new Set(["Conv", "ConvTranspose", "DeformConv", "Gemm", "MatMul", "FusedConv"]);

/** Ops that multiply matrices inside, of which the op table has estimates only. */
const OPAQUE = new Set([
  ...[
    "Attention",
    "MultiHeadAttention",
    "GroupQueryAttention",
    "Einsum",
    "LSTM",
    "GRU",
    "RNN",
    "DynamicQuantizeLSTM",
  ],
  ...["ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "QGemm", "MatMulNBits"],
]);

/**
 * Counts a network. Multiply-accumulates are those of convolutions and products of matrices, as published
 * counts have them; of an `If` its dearest branch counts, of a `Loop` its body as often as it is known to run.
 */
export function summarize(graph: Graph, options: SummaryOptions = {}): Summary {
  const { batch = 1, depth = Number.POSITIVE_INFINITY } = options;
  const symbol = batchSymbol(graph);
  const sizes = new Map(Object.entries(options.sizes ?? {}));
  if (symbol !== undefined) sizes.set(symbol, batch);
  const bound = inferShapes(canonicalize(inferShapes(graph, sizes), { idioms: false }), sizes);
  const found = census(bound, { batch });
  const arriving = (name: string): Skip[] => found.skips.filter((skip) => skip.merge === name);
  const counter = new Counter(bound);
  const rows = rowsOf(bound.nodes, depth).map(({ name, nodes }): SummaryRow => {
    const last = nodes.at(-1)?.outputs.find((output) => output !== "") ?? "";
    const macs = nodes.map((node) => counter.macs(node));
    const names = new Set(nodes.flatMap(namesOf));
    return {
      name,
      ops: [...new Set(nodes.map((node) => node.op))],
      shape: typeOf(bound, last)?.shape,
      parameters: nodes.reduce((total, node) => total + counter.parameters(node), 0),
      macs: macs.includes(undefined) ? undefined : macs.reduce((a = 0, b = 0) => a + b, 0),
      skips: [...names].flatMap(arriving),
    };
  });
  return {
    name: graph.name,
    batch,
    rows,
    parameters: rows.reduce((total, row) => total + row.parameters, 0),
    statistics: counter.statistics,
    macs: rows.reduce((total, row) => total + (row.macs ?? 0), 0),
    uncounted: rows.filter((row) => row.macs === undefined).map((row) => row.name),
    skips: found.counts,
  };
}

/** As the file names it, and as the bound graph does. */
function namesOf(node: Node): string[] {
  return [...new Set([node.name, ...ownOriginals(node).map(originalName)])];
}

/** Neighbouring nodes of one layer together. Copies say nothing, and are left out. */
function rowsOf(nodes: readonly Node[], depth: number): { name: string; nodes: Node[] }[] {
  const told = nodes.filter((node) => node.op !== "Identity" && node.op !== "Constant");
  const paths = told.map((node) => pathOf(node.name));
  // Layers that have layers inside: their own nodes, a merge say, stand for themselves.
  const outer = new Set(paths.flatMap(({ parts, joint }) => prefixes(parts.slice(0, -1), joint)));
  const rows: { name: string; nodes: Node[] }[] = [];
  for (const [i, node] of told.entries()) {
    const { parts = [], joint = "." } = paths[i] ?? {};
    const layer = parts.slice(0, -1);
    const own = layer.length === 0 || outer.has(layer.join(joint)) ? parts : layer;
    const name = own.slice(0, depth).join(joint);
    const current = rows.at(-1);
    if (current?.name === name) current.nodes.push(node);
    else rows.push({ name, nodes: [node] });
  }
  return rows;
}

/** `stage.block.conv` of our networks, `/stage/block/Conv` of exported ones. */
function pathOf(name: string): { parts: readonly string[]; joint: string } {
  const joint = name.includes("/") ? "/" : ".";
  return { parts: name.split(joint).filter((part) => part !== ""), joint };
}

/** The layers around a layer. */
function prefixes(layer: readonly string[], joint: string): string[] {
  return layer.slice(1).map((_, i) => layer.slice(0, i + 1).join(joint));
}

/** Where a name is looked up: in a body, then in the graphs around it. */
type Lookup = (name: ValueName) => ValueType | undefined;

class Counter {
  readonly #graph: Graph;
  readonly #seen = new Set<ValueName>();
  readonly #running: ReadonlySet<ValueName>;
  readonly statistics: number;

  constructor(graph: Graph) {
    this.#graph = graph;
    this.#running = new Set(runningOf(graph));
    let total = 0;
    for (const name of this.#running) total += elements(graph.initializers.get(name)?.shape);
    this.statistics = total;
  }

  /** Elements of the weights that a node reads, its bodies included, and that no node read before. */
  parameters(node: Node): number {
    let total = 0;
    const open = [...node.inputs, ...subgraphs(node).flatMap((body) => [...captures(body)])];
    for (let name = open.pop(); name !== undefined; name = open.pop()) {
      if (this.#seen.has(name) || this.#running.has(name)) continue;
      this.#seen.add(name);
      const ref = this.#graph.initializers.get(name);
      const maker = this.#graph.folded?.get(name);
      // What was computed from weights is none; they are. What the file has as a Constant is none either.
      if (maker !== undefined) open.push(...maker.inputs);
      else if (ref !== undefined && isWeight(ref)) total += elements(ref.shape);
    }
    return subgraphs(node).reduce((sum, body) => sum + ownWeights(body), total);
  }

  macs(node: Node): number | undefined {
    return macsOf(node, (name) => typeOf(this.#graph, name), this.#graph);
  }
}

/** Running statistics of a graph and its bodies. */
function runningOf(graph: Graph): ValueName[] {
  return graph.nodes.flatMap((node) => [
    ...(node.op === "BatchNormalization" && node.domain === "" ? node.inputs.slice(3, 5) : []),
    ...subgraphs(node).flatMap(runningOf),
  ]);
}

function elements(shape: readonly number[] | undefined): number {
  return shape?.reduce((a, b) => a * b, 1) ?? 0;
}

/** Numbers alone, as an epsilon, are constants. */
function isWeight({ dtype, shape }: TensorRef): boolean {
  return isFloat(dtype) && shape.length > 0;
}

/** Weights that a body has itself. */
function ownWeights(body: Graph): number {
  let total = 0;
  const running = new Set(runningOf(body));
  for (const [name, ref] of body.initializers) {
    const made = running.has(name) || body.folded?.has(name) === true;
    if (isWeight(ref) && !made) total += elements(ref.shape);
  }
  const inner = body.nodes.flatMap(subgraphs);
  return inner.reduce((sum, graph) => sum + ownWeights(graph), total);
}

function macsOf(node: Node, lookup: Lookup, graph: Graph): number | undefined {
  const bodies = subgraphs(node);
  if (bodies.length > 0) return bodyMacs(node, bodies, { lookup, graph });
  const op = opOf(node);
  if (op === undefined || OPAQUE.has(node.op)) return undefined;
  if (!PRODUCTS.has(node.op)) return 0;
  const types = (names: readonly ValueName[]) => names.map(lookup);
  const cost = op.cost(node, types(node.inputs), types(node.outputs));
  // One multiply-accumulate is two operations.
  return cost === undefined ? undefined : cost.flops / 2;
}

function bodyMacs(
  node: Node,
  bodies: readonly Graph[],
  around: { lookup: Lookup; graph: Graph },
): number | undefined {
  const totals = bodies.map((body) => {
    const lookup: Lookup = (name) => typeOf(body, name) ?? around.lookup(name);
    return body.nodes.reduce((total: number | undefined, inner) => {
      const macs = macsOf(inner, lookup, body);
      return total === undefined || macs === undefined ? undefined : total + macs;
    }, 0);
  });
  if (totals.includes(undefined)) return undefined;
  const dearest = Math.max(...totals.map((total = 0) => total));
  if (node.op === "If" || dearest === 0) return dearest;
  const trips = around.graph.initializers.get(node.inputs[0] ?? "");
  const times = node.op === "Loop" && trips !== undefined ? numbersOf(trips)?.[0] : undefined;
  return times === undefined ? undefined : times * dearest;
}
