// Nodes that hold a graph to one batch size: shapes to which values are brought, and constants with a row for
// each example. Each rule gives the node as it is for any batch.

import { int, intAttribute, type Node, type ValueName } from "../../graph/graph.ts";
import { type Dim, normalizeAxis, type Shape } from "../../graph/shape.ts";
import { numbersOf } from "../../graph/tensor.ts";
import type { Copies, Lookup } from "./copies.ts";
import type { Mending } from "./mending.ts";
import { type ExampleOrder, fits } from "./order.ts";

/** The batch as it is in the file, and what comes in its place. */
export interface Sizes {
  readonly batch: number;
  readonly symbol: string;
  /** Another batch, of which no other size of the network is a multiple: so it is known where it went. */
  readonly other: number;
}

/** What is known around a node. */
export interface Around extends Sizes {
  /** With the other batch. */
  readonly known: Lookup;
  readonly copies: Copies;
  readonly order: ExampleOrder;
  /** What a node of the file gives with the old batch. */
  readonly before: (name: ValueName) => Shape | undefined;
  readonly opset: number;
  /** Told why a node stays as it is, though it holds the graph to the old batch. */
  readonly refuse: (reason: string) => void;
}

/** The node for any batch, with what goes before it in `mending`; undefined where there is nothing to do. */
export function freedTarget(node: Node, around: Around, mending: Mending): Node | undefined {
  if (node.domain !== "") return undefined;
  const shape = shapeOf(node.inputs[0], around);
  const at = node.op === "Resize" ? 3 : 1;
  const ref = around.known.constantOf(node.inputs[at] ?? "");
  const target = ref === undefined || ref.shape.length !== 1 ? undefined : numbersOf(ref);
  if (target === undefined || shape === undefined) return undefined;
  const isBatch = (dim: Dim): boolean => holdsBatch(dim, around);
  // A target with the batch in it is computed from the batch at hand.
  if (!shape.some(isBatch) || target.some(isBatch)) return undefined;
  if (node.op === "Resize") return freedResize(node, target, { shape, around, mending });
  if (node.op !== "Reshape" && node.op !== "Expand") return undefined;
  const free =
    node.op === "Expand"
      ? expanded(target, shape, around)
      : reshaped(node, target, { shape, around });
  if (free === undefined || free.every((dim, i) => dim === target[i])) return undefined;
  return { ...node, inputs: node.inputs.with(1, mending.integers("shape", free)) };
}

/** Whether the batch is among what an axis holds. */
function holdsBatch(dim: Dim | undefined, { other }: Sizes): boolean {
  return typeof dim === "number" && dim > 0 && dim % other === 0;
}

interface Given {
  readonly shape: Shape;
  readonly around: Around;
}

function shapeOf(name: ValueName | undefined, { known }: Around): Shape | undefined {
  return name === undefined || name === "" ? undefined : known.typeOf(name)?.shape;
}

/** Where the input has the batch, 1 leaves it as it is. */
function expanded(target: readonly number[], shape: Shape, sizes: Sizes): readonly number[] {
  const offset = target.length - shape.length;
  return target.map((dim, i) => (holdsBatch(shape[i - offset], sizes) ? 1 : dim));
}

/** 0 copies the batch; where it is one with other axes, -1 takes it up, and what was -1 is written out. */
function reshaped(
  node: Node,
  target: readonly number[],
  { shape, around }: Given,
): readonly number[] | undefined {
  const { batch, other } = around;
  const copies = intAttribute(node, "allowzero", 0) === 0;
  const same = (i: number): boolean =>
    i < target.length && ((target[i] === 0 && copies) || shape[i] === target[i]);
  let first = 0;
  while (same(first)) first++;
  if (first >= target.length || target[first] === -1) return undefined;
  if (copies && shape[first] === other && target[first] === batch) return target.with(first, 0);
  // With the old batch, all entries are sizes.
  const old = around.before(node.outputs[0] ?? "");
  const sizes = target.map((size, i) => (size > 0 ? size : Number(old?.[i])));
  const outer = around.order.outer(node.inputs[0] ?? "", (name) => shapeOf(name, around));
  const at = axisOfBatch(sizes, first, { outer, batch });
  const free = target.indexOf(-1);
  if (at === undefined || at === free) return undefined;
  return free < 0 ? target.with(at, -1) : target.with(free, sizes[free] ?? 0).with(at, -1);
}

/**
 * Which entry of a target takes the batch up, so that as much comes before an example as in the input: one that is
 * the batch and nothing else if there is such, else one behind those that stay (`first` is the first that does not),
 * but rather not the last, for what is there meets weights.
 */
function axisOfBatch(
  target: readonly number[],
  first: number,
  { outer, batch }: { outer: number | undefined; batch: number },
): number | undefined {
  let front = 1;
  const found = target.flatMap((size, axis) => {
    const before = (outer ?? Number.NaN) / front;
    front *= size;
    return fits(before, size / batch) ? [axis] : [];
  });
  const choices = [
    found.find((axis) => target[axis] === batch),
    found.find((axis) => axis >= first && axis < target.length - 1),
    found.find((axis) => axis < target.length - 1),
    found[0],
  ];
  return choices.find((axis) => axis !== undefined);
}

/** Sizes whose first is the batch: it is read from the input. */
function freedResize(
  node: Node,
  sizes: readonly number[],
  { shape, around, mending }: Given & { mending: Mending },
): Node | undefined {
  const { batch, other } = around;
  if (node.attributes.has("axes") || sizes.length !== shape.length) return undefined;
  if (shape[0] !== other || sizes[0] !== batch) return undefined;
  const first = mending.dimOf(node.inputs[0] ?? "", 0);
  const rest = mending.integers("sizes", sizes.slice(1));
  const given = mending.emit("Concat", [first, rest], { axis: int(0) });
  return { ...node, inputs: node.inputs.with(3, given) };
}

/** Ops that stretch what has one row. */
const BROADCASTS = new Set([
  ...["Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Mean", "Sum", "Where", "PRelu"],
  ...["Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "And", "Or", "Xor", "MatMul"],
]);

const RECURRENT = new Set(["RNN", "LSTM", "GRU"]);

/** Expand came with this operator set. */
const EXPAND_SINCE = 8;

/** The node with one row, or as many as there are examples, of each constant that has a row for each. */
export function freedConstants(node: Node, around: Around, mending: Mending): Node | undefined {
  if (node.domain !== "") return undefined;
  const inputs = node.inputs.map((name, i) => {
    const place = placeOfBatch(node, i, around);
    if (place === undefined || shapeOf(name, around)?.[place.axis] !== around.batch) return name;
    const reason = whyNotOneRow(name, place, around);
    if (reason !== undefined) {
      around.refuse(`${node.op} ${node.name} reads ${reason}`);
      return name;
    }
    const along = [{ axis: place.axis, from: 0, to: 1 }];
    const row = around.batch === 1 ? name : mending.slice(name, along);
    return place.like === undefined
      ? row
      : mending.expandAlong(row, { rank: place.rank, axis: place.axis, like: place.like });
  });
  return inputs.every((name, i) => name === node.inputs[i]) ? undefined : { ...node, inputs };
}

/** Why a value of the old batch cannot be one of any batch. */
function whyNotOneRow(name: ValueName, place: Place, around: Around): string | undefined {
  const { copies, known, opset } = around;
  if (!copies.areAlike(name, place.axis, known)) {
    if (known.constantOf(name)?.data.kind === "external")
      return `weight ${name}, whose rows lie in a file of their own and were not compared`;
    const what = copies.isFed(name) ? "which is computed for one batch size" : "whose rows differ";
    return `${name} with a row for each example, ${what}`;
  }
  if (place.like === undefined || opset >= EXPAND_SINCE) return undefined;
  return `${name}, which only Expand could bring to another batch: operator set ${opset} has none`;
}

/** Where an operand should have the batch. */
interface Place {
  readonly axis: number;
  readonly rank: number;
  /** The value, and its axis, from which the size is to be taken; left out where the op broadcasts. */
  readonly like?: readonly [ValueName, number];
}

function placeOfBatch(node: Node, i: number, around: Around): Place | undefined {
  const rank = shapeOf(node.inputs[i], around)?.length;
  if (rank === undefined) return undefined;
  if (BROADCASTS.has(node.op) || (node.op === "Gemm" && i === 2)) {
    return broadcastPlace(node, { rank, around });
  }
  if (node.op === "Concat") {
    const found = withBatch(node.inputs, around).find(({ shape }) => shape.length === rank);
    const joined = normalizeAxis(intAttribute(node, "axis", 0), rank);
    if (found === undefined || found.axis === joined) return undefined;
    return { axis: found.axis, rank, like: [found.name, found.axis] };
  }
  if (RECURRENT.has(node.op) && (i === 5 || i === 6)) {
    const axis = intAttribute(node, "layout", 0) === 0 ? 1 : 0;
    const x = node.inputs[0] ?? "";
    if (shapeOf(x, around)?.[axis] === around.other) return { axis, rank, like: [x, axis] };
  }
  return undefined;
}

/** Axes are counted from the end. */
function broadcastPlace(
  node: Node,
  { rank, around }: { rank: number; around: Around },
): Place | undefined {
  // Of the bias of a Gemm, the rows are those of the first operand, which are no axis of the second.
  const operands = node.op === "Gemm" ? node.inputs.slice(0, 1) : node.inputs;
  const [found] = withBatch(operands, around);
  if (found === undefined || around.batch === 1) return undefined;
  const fromEnd = found.shape.length - found.axis;
  if (node.op === "Gemm" && fromEnd !== (intAttribute(node, "transA", 0) === 0 ? 2 : 1))
    return undefined;
  if (node.op === "Gemm") return rank === 2 ? { axis: 0, rank } : undefined;
  if (fromEnd > rank || (node.op === "MatMul" && fromEnd <= 2)) return undefined;
  return { axis: rank - fromEnd, rank };
}

function withBatch(
  names: readonly ValueName[],
  around: Around,
): { name: ValueName; shape: Shape; axis: number }[] {
  return names.flatMap((name) => {
    const shape = shapeOf(name, around);
    const axis = shape?.indexOf(around.other) ?? -1;
    return shape === undefined || axis < 0 ? [] : [{ name, shape, axis }];
  });
}
