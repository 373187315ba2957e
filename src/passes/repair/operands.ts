// One merge whose operands do not fit: a chain of nodes before one of them that makes it fit.

import {
  type Excess,
  type MergeRepair,
  planRepair,
  repairText,
} from "../../analysis/merge-repair.ts";
import { ELEMENTWISE, operandsFit } from "../../analysis/merges.ts";
import type { Layout } from "../../analysis/ways.ts";
import { type DType, isFloat } from "../../graph/dtype.ts";
import { int, intAttribute, ints, type Node, type ValueName } from "../../graph/graph.ts";
import { normalizeAxis, type Shape } from "../../graph/shape.ts";
import type { Mending } from "./mending.ts";

/** One operand, as it is so far. */
export interface Operand {
  readonly name: ValueName;
  readonly dtype: DType;
  readonly shape: Shape;
  /** Nodes on the way to it. */
  readonly length: number;
  readonly layout: Layout | undefined;
  readonly constant: boolean;
}

/** Where new nodes and weights go. */
export interface Workshop {
  readonly mending: Mending;
  readonly seed: number;
  /** As many elements may new weights still have. */
  readonly elementsMax: number;
}

/** A merge with other inputs, and how that came about; or why it stays. */
export type Mended =
  | { readonly node: Node; readonly texts: readonly string[]; readonly elements: number }
  | { readonly reason: string };

/** Sums and the like: a projection is one more linear branch of them. */
const SUMS = new Set(["Add", "Sub", "Sum", "Mean", "Max", "Min"]);

/** Brings all operands of a merge to what the one with the longest way has. Shapes that result are not checked. */
export function mendOperands(node: Node, operands: readonly Operand[], shop: Workshop): Mended {
  const [first, ...others] = operands;
  if (first === undefined) return { reason: "it has no operands" };
  const main = others.reduce(
    (longest, one) => (one.length > longest.length ? one : longest),
    first,
  );
  const axis = node.op === "Concat" ? concatAxis(node, main.shape.length) : undefined;
  const names = new Map(operands.map(({ name }) => [name, name]));
  const texts: string[] = [];
  let attributes = node.attributes;
  let elements = 0;
  for (const operand of new Map(operands.map((one) => [one.name, one])).values()) {
    if (operandsFit(node, [operand.shape, main.shape])) continue;
    if (operand.constant || main.constant) return { reason: "a weight has the wrong shape" };
    const pair = [operand, main] as const;
    const plan = planRepair([operand.shape, main.shape], {
      layout: operand.layout ?? main.layout,
      concatAxis: axis,
    });
    const reason = whyNot(plan, node, { pair, elementsMax: shop.elementsMax - elements });
    if (reason !== undefined) return { reason };
    if (plan.kind === "axis") attributes = new Map([...attributes, ["axis", int(plan.axis)]]);
    elements += weightElements(plan);
    for (const side of [0, 1] as const) {
      const { name } = pair[side];
      names.set(
        name,
        carriedOut(plan, side, { ...pair[side], name: names.get(name) ?? name }, shop),
      );
    }
    texts.push(repairText(plan, { names: [operand.name, main.name] }));
  }
  const inputs = node.inputs.map((name) => names.get(name) ?? name);
  return { node: { ...node, inputs, attributes }, texts, elements };
}

/** Whether a node joins its operands. */
export function isMerge(node: Node): boolean {
  return node.domain === "" && (ELEMENTWISE.has(node.op) || node.op === "Concat");
}

function concatAxis(node: Node, rank: number): number | undefined {
  return normalizeAxis(intAttribute(node, "axis", 0), rank);
}

/** Why a repair is not one that can be made without asking. */
function whyNot(
  plan: MergeRepair,
  node: Node,
  { pair, elementsMax }: { pair: readonly [Operand, Operand]; elementsMax: number },
): string | undefined {
  switch (plan.kind) {
    case "batch":
      return "which of the two batches is meant is not known";
    case "resize":
    case "pool":
      return "how sizes are brought together is for the author of the network to choose";
    case "reshape":
      return "the axes of the operands have nothing in common";
    case "lengths":
      return "which of the two lengths is meant is not known";
    case "project":
    case "dense":
      if (!SUMS.has(node.op)) return `a projection is written before a sum, not before ${node.op}`;
      if (!isFloat(pair[plan.side].dtype))
        return `a projection of ${pair[plan.side].dtype} has no weights`;
      if (typeof plan.from !== "number" || typeof plan.to !== "number")
        return "the number of channels is not known";
      return plan.from * plan.to > elementsMax ? "the weights would be too large" : undefined;
    default:
      return undefined;
  }
}

function weightElements(plan: MergeRepair): number {
  return plan.kind === "project" || plan.kind === "dense" ? Number(plan.from) * Number(plan.to) : 0;
}

/** What takes the place of one operand; its own name where the repair is about the other. */
function carriedOut(plan: MergeRepair, side: 0 | 1, x: Operand, shop: Workshop): ValueName {
  const { mending, seed } = shop;
  if (plan.kind === "odd") return padded(plan.excess, side, x, mending);
  if (plan.kind === "crop") return cropped(plan.excess, side, x, mending);
  if (!("side" in plan) || plan.side !== side) return x.name;
  switch (plan.kind) {
    case "transpose":
      return mending.emit("Transpose", [x.name], { perm: ints(plan.perm) });
    case "unsqueeze":
      return mending.unsqueeze(x.name, plan.axes);
    case "flatten":
      return mending.emit("Flatten", [x.name], { axis: int(1) });
    case "tokens": {
      const rows = mending.emit("Reshape", [x.name, mending.integers("shape", [0, 0, -1])]);
      return mending.emit("Transpose", [rows], { perm: ints([0, 2, 1]) });
    }
    case "dense": {
      const [from, to] = [Number(plan.from), Number(plan.to)];
      const weight = mending.weight([from, to], { fanIn: from, seed, dtype: x.dtype });
      return mending.emit("MatMul", [x.name, weight]);
    }
    case "project": {
      const [from, to] = [Number(plan.from), Number(plan.to)];
      const kernel = plan.strides.map(() => 1);
      const weight = mending.weight([to, from, ...kernel], { fanIn: from, seed, dtype: x.dtype });
      const y = mending.emit("Conv", [x.name, weight], {
        kernel_shape: ints(kernel),
        strides: ints(plan.strides),
      });
      return cropped(plan.excess, side, { ...x, name: y }, mending);
    }
    case "pool":
      return x.name;
  }
}

/** Zeros at the end of the smaller operand: nothing of the larger one is lost. */
function padded(
  excess: readonly Excess[],
  side: 0 | 1,
  { name, shape }: Operand,
  mending: Mending,
): ValueName {
  const by = new Map(excess.filter((one) => one.side !== side).map((one) => [one.axis, one.by]));
  return by.size === 0 ? name : mending.padEnd(name, shape.length, by);
}

/** The middle, as convolutions without padding keep it (Ronneberger et al. 2015, section 2). */
function cropped(
  excess: readonly Excess[],
  side: 0 | 1,
  { name }: Operand,
  mending: Mending,
): ValueName {
  const along = excess
    .filter((one) => one.side === side)
    .map(({ axis, by }) => {
      const before = Math.floor(by / 2);
      return { axis, from: before, to: before - by };
    });
  return along.length === 0 ? name : mending.slice(name, along);
}
