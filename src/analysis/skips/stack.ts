// Values laid side by side along an axis of their own, and what is made of them along it: a sum, a mean, or
// a weighted sum, as attention over the layers before (Kimi Team 2026, 2603.15031, equation 2) writes it.

import {
  intAttribute,
  intsAttribute,
  type Node,
  stringAttribute,
  type ValueName,
} from "../../graph/graph.ts";
import { normalizeAxis } from "../../graph/shape.ts";
import { numbersOf } from "../../graph/tensor.ts";
import type { Flow } from "./flow.ts";
import { isRounding, wordOf } from "./vocabulary.ts";

/** A sum over a stack: its nodes in order, its result, and whether the parts have weights. */
export interface StackSum {
  readonly nodes: readonly Node[];
  readonly output: ValueName;
  readonly weighed: boolean;
}

/** A value that holds a stack, and along which axis. */
interface Stack {
  readonly value: ValueName;
  readonly axis: number;
  readonly nodes: readonly Node[];
  readonly weighed: boolean;
}

/** Stacks within stacks; a network has no more layers than that. */
const DEPTH_MAX = 256;

const REDUCING = new Set(["ReduceSum", "ReduceMean"]);
const PRODUCTS = new Set(["MatMul", "FusedMatMul"]);

/** The parts of a stack: what a Concat lays side by side, where each is one long; those of a stack in it too. */
export function stackedParts(flow: Flow, node: Node, depth = 0): readonly ValueName[] | undefined {
  const axis = axisOf(flow, node);
  if (axis === undefined || depth > DEPTH_MAX) return undefined;
  const parts = node.inputs.map((name): readonly ValueName[] | undefined => {
    if (flow.typeOf(name)?.shape?.[axis] === 1) return [name];
    const inner = flow.producer(flow.unrounded(name));
    if (inner === undefined || wordOf(inner) !== "Concat" || inner === node) return undefined;
    return axisOf(flow, inner) === axis ? stackedParts(flow, inner, depth + 1) : undefined;
  });
  return parts.every((part) => part !== undefined) ? parts.flat() : undefined;
}

function axisOf(flow: Flow, node: Node): number | undefined {
  const rank = flow.typeOf(node.inputs[0] ?? "")?.shape?.length;
  return rank === undefined ? undefined : normalizeAxis(intAttribute(node, "axis", 0), rank);
}

/** The sum over a stack that a Concat makes, if something sums over it. */
export function stackSumOf(flow: Flow, node: Node): StackSum | undefined {
  const axis = axisOf(flow, node);
  const parts = axis === undefined ? undefined : stackedParts(flow, node);
  if (axis === undefined || parts === undefined || parts.length < 2) return undefined;
  const open: Stack[] = [{ value: node.outputs[0] ?? "", axis, nodes: [node], weighed: false }];
  for (let stack = open.pop(); stack !== undefined; stack = open.pop()) {
    for (const { node: reader, input } of flow.usesOf(stack.value)) {
      const next = input < 0 ? undefined : step(flow, stack, reader);
      if (next === undefined) continue;
      if ("axis" in next) open.push(next);
      else return next;
    }
  }
  return undefined;
}

/** What a node makes of a stack: the stack in another form, or the sum over it. */
function step(flow: Flow, stack: Stack, node: Node): Stack | StackSum | undefined {
  const { axis, value } = stack;
  const [output = ""] = node.outputs;
  const nodes = [...stack.nodes, node];
  const word = wordOf(node);
  if (isRounding(node) || word === "Identity") return { ...stack, value: output, nodes };
  if (word === "Transpose") {
    const rank = flow.typeOf(value)?.shape?.length ?? 0;
    const perm =
      intsAttribute(node, "perm") ?? Array.from({ length: rank }, (_, i) => rank - 1 - i);
    const moved = perm.indexOf(axis);
    return moved < 0 ? undefined : { ...stack, value: output, axis: moved, nodes };
  }
  if (word === "Mul") {
    const other = node.inputs.find((name) => name !== value);
    const rank = flow.typeOf(output)?.shape?.length;
    const own = flow.typeOf(value)?.shape?.length;
    if (other === undefined || rank === undefined || own === undefined) return undefined;
    return { value: output, axis: axis + rank - own, nodes, weighed: true };
  }
  if (REDUCING.has(word)) {
    return sumsOver(flow, node, axis) ? { nodes, output, weighed: stack.weighed } : undefined;
  }
  // Attention whose values are the parts themselves.
  if (word === "Attention" && node.inputs.indexOf(value) === 2) {
    const last = (flow.typeOf(value)?.shape?.length ?? 0) - 2;
    return axis === last ? { nodes, output, weighed: true } : undefined;
  }
  const sums = PRODUCTS.has(word)
    ? contracts(flow, node, stack)
    : word === "Einsum" && dropsLetter(node, stack);
  return sums ? { nodes, output, weighed: true } : undefined;
}

/** Whether a reduction sums over this axis and no other. */
function sumsOver(flow: Flow, node: Node, axis: number): boolean {
  const rank = flow.typeOf(node.inputs[0] ?? "")?.shape?.length;
  const given = flow.constantOf(node.inputs[1] ?? "");
  const axes = given === undefined ? intsAttribute(node, "axes") : numbersOf(given);
  const [only, ...more] = axes ?? [];
  if (rank === undefined || only === undefined || more.length > 0) return false;
  return normalizeAxis(only, rank) === axis;
}

/** Whether a matrix product sums over an axis of one of its operands; the other operand is not that value. */
function contracts(flow: Flow, node: Node, { value, axis }: Stack): boolean {
  const [left = "", right = ""] = node.inputs;
  if (left === right) return false;
  const rank = flow.typeOf(value)?.shape?.length ?? 0;
  const swapped = intAttribute(node, left === value ? "transA" : "transB", 0) !== 0;
  const last = (left === value) !== swapped;
  return rank > 1 && axis === rank - (last ? 1 : 2);
}

/** Whether the letter of an axis is in no operand's result. */
function dropsLetter(node: Node, { value, axis }: Stack): boolean {
  const [terms = "", result] = stringAttribute(node, "equation", "").replace(/\s/g, "").split("->");
  const term = terms.split(",")[node.inputs.indexOf(value)] ?? "";
  const letter = term[axis];
  if (letter === undefined || term.includes(".") || result === undefined) return false;
  return node.inputs.length === 2 && !result.includes(letter);
}
