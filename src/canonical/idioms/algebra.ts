// Arithmetic with scalar constants, seen through however it is written: products in any association,
// divisions instead of multiplications, polynomials in one value.

import type { Node, ValueName } from "../../graph/graph.ts";
import type { View } from "./view.ts";

/** Nested products and sums are followed so deep; the idioms need three. */
const DEPTH_MAX = 6;
/** The highest power that an idiom has. */
const DEGREE_MAX = 3;

/** `factor` · `value`, and the nodes that make it so. */
export interface Scaled {
  readonly value: ValueName;
  readonly factor: number;
  readonly nodes: readonly Node[];
}

/** A value as itself, and as a multiple of what it was scaled from, step by step. */
export function* multiples(view: View, name: ValueName): Generator<Scaled> {
  let current: Scaled = { value: name, factor: 1, nodes: [] };
  for (let depth = 0; depth < DEPTH_MAX; depth++) {
    yield current;
    const step = scaledBy(view, current.value);
    if (step === undefined) return;
    const nodes = [...current.nodes, ...step.nodes];
    current = { value: step.value, factor: current.factor * step.factor, nodes };
  }
}

function scaledBy(view: View, name: ValueName): Scaled | undefined {
  const node = view.made(name, "Mul", "Div", "Neg");
  if (node === undefined) return undefined;
  const [a = "", b = ""] = node.inputs;
  if (node.op === "Neg") return { value: a, factor: -1, nodes: [node] };
  const right = view.scalar(b);
  if (right !== undefined && !view.constant(a)) {
    return { value: a, factor: node.op === "Mul" ? right : 1 / right, nodes: [node] };
  }
  const left = node.op === "Mul" ? view.scalar(a) : undefined;
  return left === undefined ? undefined : { value: b, factor: left, nodes: [node] };
}

/** A product of values and one number. */
export interface Product {
  readonly factor: number;
  readonly values: readonly ValueName[];
  readonly nodes: readonly Node[];
}

/** The factors of a product; inner products that something else reads too are factors themselves. */
export function productOf(view: View, root: Node, depth = 0): Product | undefined {
  if (root.inputs.length !== 2 || depth > DEPTH_MAX) return undefined;
  let factor = 1;
  const values: ValueName[] = [];
  const nodes: Node[] = [root];
  for (const [i, name] of root.inputs.entries()) {
    const number = view.scalar(name);
    const divides = root.op === "Div" && i === 1;
    if (number !== undefined) factor *= divides ? 1 / number : number;
    else if (divides) return undefined;
    else {
      const inner = view.readOnce(name) ? view.made(name, "Mul", "Div") : undefined;
      const part = inner && productOf(view, inner, depth + 1);
      values.push(...(part?.values ?? [name]));
      nodes.push(...(part?.nodes ?? []));
      factor *= part?.factor ?? 1;
    }
  }
  return { factor, values, nodes };
}

/** `constant` + `factor` · `value`. */
export interface Affine extends Scaled {
  readonly constant: number;
}

/** Every reading of a sum as a constant and a multiple of a value. */
export function* affineOf(view: View, name: ValueName): Generator<Affine> {
  const node = view.made(name, "Add", "Sub", "Sum");
  if (node === undefined) return;
  const [, right = ""] = node.inputs;
  for (const [one, other] of view.operands(node)) {
    const constant = view.scalar(one);
    if (constant === undefined) continue;
    const sub = node.op === "Sub";
    const [signOfConstant, signOfValue] = !sub ? [1, 1] : one === right ? [-1, 1] : [1, -1];
    for (const part of multiples(view, other)) {
      yield {
        constant: signOfConstant * constant,
        value: part.value,
        factor: signOfValue * part.factor,
        nodes: [node, ...part.nodes],
      };
    }
  }
}

/** Coefficients by power, lowest first, and the nodes that compute the polynomial. */
export interface Polynomial {
  readonly coefficients: readonly number[];
  readonly nodes: readonly Node[];
}

/** A value as a polynomial of low degree in another, or undefined if it is none. */
export function polynomialIn(view: View, x: ValueName, name: ValueName): Polynomial | undefined {
  const known = new Map<ValueName, Polynomial | undefined>();
  const visit = (at: ValueName, depth: number): Polynomial | undefined => {
    if (at === x) return { coefficients: [0, 1], nodes: [] };
    const number = view.scalar(at);
    if (number !== undefined) return { coefficients: [number], nodes: [] };
    if (known.has(at)) return known.get(at);
    const node = view.made(at, "Add", "Sum", "Sub", "Mul", "Div", "Neg", "Pow");
    const parts =
      node === undefined || depth > DEPTH_MAX
        ? []
        : node.inputs.map((input) => visit(input, depth + 1));
    const found = node && combine(node, parts);
    known.set(at, found);
    return found;
  };
  return visit(name, 0);
}

function combine(node: Node, parts: readonly (Polynomial | undefined)[]): Polynomial | undefined {
  const [a, b] = parts;
  if (a === undefined) return undefined;
  const nodes = [node, ...a.nodes, ...(b?.nodes ?? [])];
  if (node.op === "Neg") return { coefficients: a.coefficients.map((c) => -c), nodes };
  if (b === undefined || parts.length !== 2) return undefined;
  const coefficients = combined(node.op, a.coefficients, b.coefficients);
  return coefficients && { coefficients, nodes };
}

function combined(
  op: string,
  a: readonly number[],
  b: readonly number[],
): readonly number[] | undefined {
  const [single] = b;
  switch (op) {
    case "Add":
    case "Sum":
    case "Sub": {
      const sign = op === "Sub" ? -1 : 1;
      const length = Math.max(a.length, b.length);
      return Array.from({ length }, (_, i) => (a[i] ?? 0) + sign * (b[i] ?? 0));
    }
    case "Mul":
      return multiplied(a, b);
    case "Div":
      return b.length === 1 && single !== undefined ? a.map((c) => c / single) : undefined;
    case "Pow":
      if (b.length !== 1 || (single !== 2 && single !== 3)) return undefined;
      return single === 2 ? multiplied(a, a) : multiplied(multiplied(a, a) ?? [], a);
    default:
      return undefined;
  }
}

function multiplied(a: readonly number[], b: readonly number[]): readonly number[] | undefined {
  const degree = a.length + b.length - 2;
  if (a.length === 0 || b.length === 0 || degree > DEGREE_MAX) return undefined;
  const result = new Array<number>(degree + 1).fill(0);
  a.forEach((x, i) => {
    b.forEach((y, j) => {
      result[i + j] = (result[i + j] ?? 0) + x * y;
    });
  });
  return result;
}
