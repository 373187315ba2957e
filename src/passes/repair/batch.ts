// A batch size that is written into the file becomes a symbol, where it can be shown that nothing but the batch changes.

// A batch size that is written into the file becomes a symbol: in the inputs, and where the targets of
// Reshape and Expand repeat it.

import { mergeDiagnostics } from "../../analysis/merges.ts";
import { everyNode, placeOf, type Standing } from "../../analysis/standing.ts";
import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import { intAttribute, intsAttribute } from "../../graph/graph.ts";
import { typeOf } from "../../graph/query.ts";
import { type Dim, elementCount, normalizeAxis, type Shape } from "../../graph/shape.ts";
import { numbersOf } from "../../graph/tensor.ts";
import { verify } from "../../ops/verify.ts";
import type { Sizes } from "./examples.ts";
import { batchOf, Freeing, unfolded } from "./freeing.ts";
import { type Attempt, IN_FUNCTION } from "./outcome.ts";

const ID = "batch/fixed-size";

/** Batches that no dim of a network is likely to have by chance: what scales with it, is the batch. */
const OTHER_BATCHES = [1009, 1013];

/**
 * Makes the first axis of the inputs a symbol. Done only where it can be shown: with the old size inference
 * gives the old shapes of the outputs, and with another size the same shapes but for their first axes.
 */
export function repairBatch(graph: Graph): Attempt {
  const fixed = graph.inputs.find(
    (value) => !graph.initializers.has(value.name) && batchOf(value) !== undefined,
  );
  const batch = fixed === undefined ? undefined : batchOf(fixed);
  if (fixed === undefined || batch === undefined)
    return { graph, fixed: [], unfixed: [], inside: new Set() };
  const where = `input ${fixed.name}`;
  const symbol = freeSymbol(graph);
  const { freed, inside, targets, constants } = new Freeing(graph, { batch, symbol }).run();
  const reason = inside.size > 0 ? IN_FUNCTION : whyUnproven(graph, freed, { batch, symbol });
  if (reason !== undefined)
    return { graph, fixed: [], unfixed: [{ id: ID, where, reason }], inside };
  const also = [
    targets === 0 ? [] : `${targets} targets of Reshape, Expand and Resize`,
    constants === 0 ? [] : `${constants} constants with a row for each example`,
  ].flat();
  const places = also.length === 0 ? "" : ` in the inputs, ${also.join(" and ")}`;
  const text = `The batch size ${batch} is the symbol ${symbol} now${places}.`;
  return { graph: freed, fixed: [{ id: ID, where, text }], unfixed: [], inside };
}

/** `N`, or what comes after it where a dim has that name. */
function freeSymbol(graph: Graph): string {
  const all = [...graph.inputs, ...graph.outputs, ...graph.values.values()];
  const taken = new Set(all.flatMap(({ shape }) => shape ?? []));
  let symbol = "N";
  while (taken.has(symbol)) symbol = `${symbol}N`;
  return symbol;
}

/** Why the freed graph may not do for every batch what the old one did for its own. */
function whyUnproven(before: Graph, after: Graph, { batch, symbol }: Sizes): string | undefined {
  const old = unfolded(before);
  const otherBatch = OTHER_BATCHES.find((one) => one !== batch) ?? 0;
  const same = unfolded(after, new Map([[symbol, batch]]));
  const other = unfolded(after, new Map([[symbol, otherBatch]]));
  const [contradiction] = [
    ...mergeDiagnostics(other),
    ...verify(other).filter(({ severity }) => severity === "error"),
  ];
  if (contradiction !== undefined) {
    return `with batch ${otherBatch}, ${contradiction.where}: ${contradiction.text}`;
  }
  for (const { name } of before.outputs) {
    const [was, is, scaled] = [old, same, other].map((graph) => typeOf(graph, name)?.shape);
    if (was === undefined || !known(is) || !known(scaled))
      return `the shape of output ${name} cannot be followed`;
    if (
      !was.every((dim, axis) => dim === is[axis] || typeof dim === "string") ||
      was.length !== is.length
    )
      return `output ${name} would have another shape`;
    const free = is.map((dim, axis): Dim => (axis === 0 && dim === batch ? otherBatch : dim));
    if (free.some((dim, axis) => dim !== scaled[axis]) || is[0] !== batch)
      return `the first axis of output ${name} is not the batch`;
  }
  for (const at of everyNode(other)) {
    const where = `${placeOf(at)} (${at.node.op})`;
    if (refuses(at, otherBatch)) return `${where} has room for one batch size alone`;
    if (losesBatch(at, otherBatch))
      return `${where} takes some examples of the batch, or mixes them`;
  }
  return undefined;
}

/** They tell of the batch and carry none of it. */
const SIZES = new Set(["Shape", "Size"]);

/**
 * Whether what a node gives is not made of as many parts as there are examples, though what it is given is: with
 * the old batch of 1, the first example was all there are.
 */
function losesBatch({ graph, node }: Standing, otherBatch: number): boolean {
  if (SIZES.has(node.op)) return false;
  const isBatch = (name: ValueName): boolean => {
    const count = elementCount(typeOf(graph, name)?.shape);
    return count !== undefined && count > 0 && count % otherBatch === 0;
  };
  const given = node.inputs.some((name) => !graph.initializers.has(name) && isBatch(name));
  return given && !node.outputs.some((name) => name !== "" && isBatch(name));
}

function known(shape: Shape | undefined): shape is readonly number[] {
  return elementCount(shape) !== undefined;
}

/** What shape rules let pass, and the runtime does not. */
function refuses({ graph, node }: Standing, otherBatch: number): boolean {
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
        ({ name, shape }) => name === node.inputs[1] && shape?.[0] === otherBatch,
      );
    case "RNN":
    case "LSTM":
    case "GRU":
      return node.inputs
        .slice(5, 7)
        .some((name) => !statesFit(node, x, typeOf(graph, name)?.shape));
    case "Gemm":
      return !stretchesTo(typeOf(graph, node.inputs[2] ?? "")?.shape, y);
    default:
      return false;
  }
}

/** Initial states of a recurrent layer have the batch on the axis before the last. */
function statesFit(node: Node, x: Shape | undefined, states: Shape | undefined): boolean {
  const axis = intAttribute(node, "layout", 0) === 0 ? 1 : 0;
  return states === undefined || x === undefined || states[axis] === x[axis];
}

function stretchesTo(small: Shape | undefined, large: Shape | undefined): boolean {
  if (small === undefined || large === undefined) return true;
  return small.every((dim, i) => {
    const other = large[i + large.length - small.length];
    return dim === 1 || typeof dim !== "number" || typeof other !== "number" || dim === other;
  });
}

function constantAxes(graph: Graph, node: Node): number[] | undefined {
  const ref = graph.initializers.get(node.inputs[1] ?? "");
  return ref === undefined ? undefined : numbersOf(ref);
}
