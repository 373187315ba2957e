// A batch size that is written into the file becomes a symbol: in the inputs, and where the targets of
// Reshape and Expand repeat it.

import { mergeDiagnostics } from "../../analysis/merges.ts";
import { canonicalize } from "../../canonical/canonical.ts";
import { tensorOfConstant } from "../../canonical/constant-node.ts";
import { FreshNames } from "../../canonical/fresh-names.ts";
import { Inference, inferShapes } from "../../canonical/infer-shapes.ts";
import type { Graph, Node, Value, ValueName } from "../../graph/graph.ts";
import { intAttribute, intsAttribute } from "../../graph/graph.ts";
import { typeOf } from "../../graph/query.ts";
import { type Dim, elementCount, normalizeAxis, type Shape } from "../../graph/shape.ts";
import { int64, numbersOf, type TensorRef } from "../../graph/tensor.ts";
import { verify } from "../../ops/verify.ts";
import type { Outcome } from "./outcome.ts";

const ID = "batch/fixed-size";

/** A batch that no dim of a network is likely to have by chance: what scales with it, is the batch. */
const OTHER_BATCH = 3;

/**
 * Makes the first axis of the inputs a symbol. Done only where it can be shown: with the old size inference
 * gives the old shapes of the outputs, and with another size the same shapes but for their first axes.
 */
export function repairBatch(graph: Graph): Outcome {
  const fixed = graph.inputs.find(
    (value) => !graph.initializers.has(value.name) && batchOf(value) !== undefined,
  );
  const batch = fixed === undefined ? undefined : batchOf(fixed);
  if (fixed === undefined || batch === undefined) return { graph, fixed: [], unfixed: [] };
  const where = `input ${fixed.name}`;
  const symbol = freeSymbol(graph);
  const freed = new Freeing(graph, { batch, symbol }).run();
  const reason = freed.reason ?? whyUnproven(graph, freed.graph, { batch, symbol });
  if (reason !== undefined) return { graph, fixed: [], unfixed: [{ id: ID, where, reason }] };
  const targets =
    freed.targets === 0 ? "" : ` in the inputs and ${freed.targets} targets of Reshape and Expand`;
  const text = `The batch size ${batch} is the symbol ${symbol} now${targets}.`;
  return { graph: freed.graph, fixed: [{ id: ID, where, text }], unfixed: [] };
}

function batchOf({ shape }: Value): number | undefined {
  const [first] = shape ?? [];
  return shape !== undefined && shape.length > 1 && typeof first === "number" ? first : undefined;
}

/** `N`, or what comes after it where a dim has that name. */
function freeSymbol(graph: Graph): string {
  const all = [...graph.inputs, ...graph.outputs, ...graph.values.values()];
  const taken = new Set(all.flatMap(({ shape }) => shape ?? []));
  let symbol = "N";
  while (taken.has(symbol)) symbol = `${symbol}N`;
  return symbol;
}

interface Sizes {
  readonly batch: number;
  readonly symbol: string;
}

class Freeing {
  readonly #graph: Graph;
  /** With the old batch size. */
  readonly #before: Graph;
  readonly #sizes: Sizes;
  readonly #names: FreshNames;
  readonly #initializers: Map<ValueName, TensorRef>;
  readonly #constants = new Map<ValueName, TensorRef>();
  #targets = 0;

  constructor(graph: Graph, sizes: Sizes) {
    this.#graph = graph;
    this.#before = inferShapes(graph);
    this.#sizes = sizes;
    this.#names = new FreshNames(graph);
    this.#initializers = new Map(graph.initializers);
  }

  run(): { graph: Graph; targets: number; reason?: string } {
    const base = undeclared(this.#graph, this.#sizes);
    const inference = new Inference(base);
    const nodes: Node[] = [];
    for (const node of base.nodes) {
      const shape = inference.typeOf(node.inputs[0] ?? "")?.shape;
      const changed = this.#freed(node, shape);
      for (const name of changed.inputs) {
        const ref = this.#initializers.get(name);
        if (ref !== undefined && !base.initializers.has(name)) inference.addInitializer(name, ref);
      }
      inference.visit(changed);
      nodes.push(changed);
      const constant = tensorOfConstant(node);
      if (constant !== undefined) this.#constants.set(node.outputs[0] ?? "", constant);
    }
    const graph = { ...base, nodes, initializers: this.#initializers };
    const inferred = unfolded(graph);
    const outputs = graph.outputs.map(
      (value): Value => ({ ...value, shape: typeOf(inferred, value.name)?.shape }),
    );
    return { graph: { ...graph, outputs }, targets: this.#targets };
  }

  /** A Reshape or Expand with a target that has room for any batch. */
  #freed(node: Node, shape: Shape | undefined): Node {
    if (node.domain !== "" || (node.op !== "Reshape" && node.op !== "Expand")) return node;
    const name = node.inputs[1] ?? "";
    const ref = this.#graph.initializers.get(name) ?? this.#constants.get(name);
    const target = ref === undefined || ref.shape.length !== 1 ? undefined : numbersOf(ref);
    if (
      target === undefined ||
      shape === undefined ||
      shape.every((dim) => typeof dim === "number")
    )
      return node;
    const free =
      node.op === "Expand" ? this.#expanded(target, shape) : this.#reshaped(node, target, shape);
    if (free === undefined || free.every((dim, i) => dim === target[i])) return node;
    const given = this.#names.value(`${node.name}.shape`);
    this.#initializers.set(given, int64([free.length], free));
    this.#targets++;
    return { ...node, inputs: node.inputs.with(1, given) };
  }

  /** Where the input has the batch, 1 leaves it as it is. */
  #expanded(target: readonly number[], shape: Shape): readonly number[] {
    const offset = target.length - shape.length;
    return target.map((dim, i) => (shape[i - offset] === this.#sizes.symbol ? 1 : dim));
  }

  /** 0 copies the batch; where it is one with other axes, -1 takes it up, and what was -1 is written out. */
  #reshaped(node: Node, target: readonly number[], shape: Shape): readonly number[] | undefined {
    const { batch, symbol } = this.#sizes;
    const copies = intAttribute(node, "allowzero", 0) === 0;
    const same = (i: number): boolean =>
      i < target.length &&
      ((target[i] === 0 && copies) || (typeof shape[i] === "number" && shape[i] === target[i]));
    let at = 0;
    while (same(at)) at++;
    if (at >= target.length || target[at] === -1) return undefined;
    if (copies && shape[at] === symbol && target[at] === batch) return target.with(at, 0);
    const free = target.indexOf(-1);
    if (free < 0) return target.with(at, -1);
    const known = typeOf(this.#before, node.outputs[0] ?? "")?.shape?.[free];
    return typeof known === "number" ? target.with(free, known).with(at, -1) : undefined;
  }
}

/** The graph with symbolic inputs, and nothing said of the values that are computed. */
function undeclared(graph: Graph, { batch, symbol }: Sizes): Graph {
  const inputs = graph.inputs.map((value) =>
    !graph.initializers.has(value.name) && batchOf(value) === batch
      ? { ...value, shape: [symbol, ...(value.shape?.slice(1) ?? [])] }
      : value,
  );
  const outputs = graph.outputs.map((value) => ({ ...value, shape: undefined }));
  return { ...graph, inputs, outputs, values: new Map() };
}

/** With the functions of the file unfolded: shapes are followed through them. */
function unfolded(graph: Graph, sizes?: ReadonlyMap<string, number>): Graph {
  return inferShapes(canonicalize(graph, { idioms: false }), sizes);
}

/** Why the freed graph may not do for every batch what the old one did for its own. */
function whyUnproven(before: Graph, after: Graph, { batch, symbol }: Sizes): string | undefined {
  const old = unfolded(before);
  const same = unfolded(after, new Map([[symbol, batch]]));
  const other = unfolded(after, new Map([[symbol, OTHER_BATCH]]));
  for (const { name } of before.outputs) {
    const [was, is, scaled] = [old, same, other].map((graph) => typeOf(graph, name)?.shape);
    if (was === undefined || !known(is) || !known(scaled))
      return `the shape of output ${name} cannot be followed`;
    if (
      !was.every((dim, axis) => dim === is[axis] || typeof dim === "string") ||
      was.length !== is.length
    )
      return `output ${name} would have another shape`;
    const free = is.map((dim, axis): Dim => (axis === 0 && dim === batch ? OTHER_BATCH : dim));
    if (free.some((dim, axis) => dim !== scaled[axis]) || is[0] !== batch)
      return `the first axis of output ${name} is not the batch`;
  }
  const [contradiction] = [
    ...mergeDiagnostics(other),
    ...verify(other).filter(({ severity }) => severity === "error"),
  ];
  if (contradiction !== undefined) {
    return `with batch ${OTHER_BATCH}, ${contradiction.where}: ${contradiction.text}`;
  }
  const stuck = other.nodes.find((node) => refuses(other, node));
  return stuck === undefined
    ? undefined
    : `node ${stuck.name} (${stuck.op}) has room for one batch size alone`;
}

function known(shape: Shape | undefined): shape is readonly number[] {
  return elementCount(shape) !== undefined;
}

/** What shape rules let pass, and the runtime does not. */
function refuses(graph: Graph, node: Node): boolean {
  const [x, y] = [node.inputs[0], node.outputs[0]].map((name) => typeOf(graph, name ?? "")?.shape);
  if (node.domain !== "") return false;
  switch (node.op) {
    case "Reshape":
      return elementCount(x) !== elementCount(y);
    case "Squeeze": {
      const given = intsAttribute(node, "axes") ?? constantAxes(graph, node);
      return given?.some((axis) => x?.[normalizeAxis(axis, x.length) ?? 0] !== 1) ?? false;
    }
    case "Conv":
    case "ConvTranspose":
      // A weight that the caller feeds is no example.
      return graph.inputs.some(
        ({ name, shape }) => name === node.inputs[1] && shape?.[0] === OTHER_BATCH,
      );
    case "RNN":
    case "LSTM":
    case "GRU":
      return node.inputs.slice(5, 7).some((name) => graph.initializers.has(name));
    default:
      return false;
  }
}

function constantAxes(graph: Graph, node: Node): number[] | undefined {
  const ref = graph.initializers.get(node.inputs[1] ?? "");
  return ref === undefined ? undefined : numbersOf(ref);
}
