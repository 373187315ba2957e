// Sums of products by index letters, NumPy's way (ONNX Einsum-12).

import { string, stringAttribute, type ValueName } from "../graph/graph.ts";
import { broadcast, type Dim, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import { int64 } from "../graph/tensor.ts";
import { arithmetic } from "./arithmetic.ts";
import { expandLike, knownShape, shapeConstant, sizesOf, unbroadcast } from "./construct.ts";
import type { GradientContext, OpDef, ShapeContext } from "./op.ts";
import { defineOp, perOutput, typed } from "./rules.ts";

/** A term of an equation for each operand, and that of the result, a letter for every axis. */
interface Equation {
  readonly terms: readonly string[];
  readonly result: string;
}

/** Letters for the axes that ellipses cover, counted from the last; equations use a-z and A-Z. */
function coveredLetters(count: number): string {
  return Array.from({ length: count }, (_, i) => String.fromCharCode(0xc0 + count - 1 - i)).join(
    "",
  );
}

/** The equation with ellipses as letters of their own. */
function equationOf(context: GradientContext): Equation {
  const { node } = context;
  const equation = stringAttribute(node, "equation", "").replaceAll(" ", "");
  const [left = "", right = implicitResult(equation)] = equation.split("->");
  let longest = 0;
  const terms = left.split(",").map((term, i) => {
    const rank = knownShape(context, node.inputs[i] ?? "", node).length;
    const hidden = rank - term.replace("...", "").length;
    longest = Math.max(longest, hidden);
    return term.replace("...", coveredLetters(hidden));
  });
  return { terms, result: right.replace("...", coveredLetters(longest)) };
}

/**
 * dA: the product of dy and the other operands, summed to the letters of A. A letter that A alone has was
 * summed over, so that dy is spread along it; one that it has twice is a diagonal, off which dA is 0.
 */
function einsumGradient(context: GradientContext, dy: ValueName, at: number): ValueName {
  const { node } = context;
  const { terms, result } = equationOf(context);
  const operand = node.inputs[at] ?? "";
  const term = terms[at] ?? "";
  const others = terms.filter((_, i) => i !== at);
  const elsewhere = new Set([...result, ...others.join("")]);
  const own = [...new Set(term)];
  const found = own.filter((letter) => elsewhere.has(letter));
  const equation = `${[result, ...others].join(",")}->${found.join("")}`;
  const inputs = [dy, ...node.inputs.filter((_, i) => i !== at)];
  const product = context.emit("Einsum", inputs, {
    attributes: { equation: string(asciiEquation(equation)) },
  });
  const missing = [...own.keys()].filter((i) => !elsewhere.has(own[i] ?? ""));
  const spread =
    missing.length === 0
      ? product
      : context.emit("Unsqueeze", [product, shapeConstant(context, missing)]);
  if (own.length < term.length) return onDiagonal(context, spread, operand, term);
  const whole = missing.length === 0 ? spread : expandAlong(context, spread, operand, missing);
  return unbroadcast(context, whole, operand, node);
}

/** Letters of ellipses as letters that the equation does not use: the runtime knows a-z and A-Z alone. */
function asciiEquation(equation: string): string {
  const free = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"].filter(
    (letter) => !equation.includes(letter),
  );
  const names = new Map<string, string>();
  return [...equation]
    .map((letter) => {
      if (letter < "\u00c0") return letter;
      const name = names.get(letter) ?? free.pop() ?? "A";
      names.set(letter, name);
      return name;
    })
    .join("");
}

/** Spread along the axes that are 1 to the operand's sizes; the others stay as they are. */
function expandAlong(
  context: GradientContext,
  x: ValueName,
  operand: ValueName,
  axes: readonly number[],
): ValueName {
  const rank = knownShape(context, operand, context.node).length;
  const one = shapeConstant(context, [1]);
  const sizes = Array.from({ length: rank }, (_, axis) =>
    axes.includes(axis) ? sizesOf(context, operand, [axis]) : one,
  );
  const shape = context.emit("Concat", sizes, { attributes: { axis: { kind: "int", value: 0 } } });
  return context.emit("Expand", [x, shape]);
}

/** A value over each letter once, put on the diagonal of the axes that share a letter. */
function onDiagonal(
  context: GradientContext,
  value: ValueName,
  operand: ValueName,
  term: string,
): ValueName {
  const a = arithmetic(context, operand);
  const letters = [...term];
  // Each letter's value stands at its first axis; further ones are 1 and spread.
  const further = letters.flatMap((letter, axis) => (letters.indexOf(letter) < axis ? [axis] : []));
  const single = context.emit("Unsqueeze", [value, shapeConstant(context, further)]);
  let result = expandLike(context, single, operand);
  for (const axis of further) {
    const first = letters.indexOf(letters[axis] ?? "");
    const same = context.emit("Equal", [
      positions(context, operand, first, letters.length),
      positions(context, operand, axis, letters.length),
    ]);
    result = a.where(same, result, 0);
  }
  return result;
}

/** 0, 1, … along one axis of a value, the other axes 1. */
function positions(
  context: GradientContext,
  operand: ValueName,
  axis: number,
  rank: number,
): ValueName {
  const [zero, one] = [0, 1].map((n) => context.constant(int64([], [n])));
  const end = context.emit("Squeeze", [sizesOf(context, operand, [axis])]);
  const range = context.emit("Range", [zero ?? "", end, one ?? ""]);
  const others = Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis);
  return context.emit("Unsqueeze", [range, shapeConstant(context, others)]);
}

export const einsum: OpDef = defineOp("Einsum", {
  shape: (c) => [typed(c.input(0)?.dtype, einsumShape(c))],
  cost: perOutput(0),
  saves: { inputs: [0, 1], outputs: [] },
  gradient: (context, [dy]) =>
    context.node.inputs.map((_, i) =>
      dy !== undefined && context.wants(i) ? einsumGradient(context, dy, i) : undefined,
    ),
});

/** Dims by their letters, after the axes of ellipses; undefined for an equation that does not fit. */
function einsumShape(c: ShapeContext): Shape | undefined {
  const equation = stringAttribute(c.node, "equation", "").replaceAll(" ", "");
  const [left = "", right = implicitResult(equation)] = equation.split("->");
  const dims = new Map<string, Dim>();
  let covered: Shape | undefined = [];
  for (const [i, term] of left.split(",").entries()) {
    const parts = dividedBy(term, c.input(i)?.shape);
    if (parts === undefined) return undefined;
    covered = parts.covered && covered && broadcast(covered, parts.covered);
    for (const [letter, dim] of parts.named) {
      // A size of 1 broadcasts against the others of its letter.
      if (typeof dim === "number" ? dim !== 1 || !dims.has(letter) : !dims.has(letter)) {
        dims.set(letter, dim);
      }
    }
  }
  const dimsFor = (letters: string): Dim[] =>
    [...letters].map((letter) => dims.get(letter) ?? UNKNOWN_DIM);
  const [head = "", tail] = right.split("...");
  if (tail === undefined) return dimsFor(head);
  return covered && [...dimsFor(head), ...covered, ...dimsFor(tail)];
}

/** The dims of an operand by the letters of its term, and those that its ellipsis covers. */
function dividedBy(
  term: string,
  shape: Shape | undefined,
): { named: [string, Dim][]; covered: Shape | undefined } | undefined {
  const [before = "", after] = term.split("...");
  const letters = [...before, ...(after ?? "")];
  if (shape === undefined) {
    const named = letters.map((letter): [string, Dim] => [letter, UNKNOWN_DIM]);
    return { named, covered: after === undefined ? [] : undefined };
  }
  const hidden = shape.length - letters.length;
  if (after === undefined ? hidden !== 0 : hidden < 0) return undefined;
  const seen = [...shape.slice(0, before.length), ...shape.slice(before.length + hidden)];
  const named = letters.map((letter, i): [string, Dim] => [letter, seen[i] ?? UNKNOWN_DIM]);
  return { named, covered: shape.slice(before.length, before.length + hidden) };
}

/** A result that is not written: what ellipses cover, then each letter that stands once, in order. */
function implicitResult(equation: string): string {
  const counts = new Map<string, number>();
  for (const letter of equation.replaceAll(/[.,]/g, "")) {
    counts.set(letter, (counts.get(letter) ?? 0) + 1);
  }
  const once = [...counts].filter(([, count]) => count === 1).map(([letter]) => letter);
  return `${equation.includes("...") ? "..." : ""}${once.sort().join("")}`;
}
