// Functions of one element, and the frame in which they and the activations are written: a slope that is
// built from the input x and the output y, whichever is cheaper to keep.

import type { ValueName } from "../graph/graph.ts";
import { type Arithmetic, arithmetic } from "./arithmetic.ts";
import type { Gradient, GradientContext, GradientRule, OpDef, SavedForBackward } from "./op.ts";
import { defineOp, perOutput, SAVES_NOTHING, sameAsInput } from "./rules.ts";

/** The backward reads the input. */
export const INPUT: SavedForBackward = { inputs: [0], outputs: [] };
/** The backward reads the output. */
export const OUTPUT: SavedForBackward = { inputs: [], outputs: [0] };

/** What the slope of a function is built from. */
export interface Slope extends Arithmetic {
  readonly x: ValueName;
  readonly y: ValueName;
  readonly context: GradientContext;
}

function slopeOf(context: GradientContext): Slope {
  const [x = ""] = context.node.inputs;
  const [y = ""] = context.node.outputs;
  return { ...arithmetic(context, x), x, y, context };
}

/** dx = dy · slope. */
export function slope(build: (s: Slope) => ValueName): GradientRule {
  return (context, [dy]) =>
    dy === undefined ? [undefined] : [context.emit("Mul", [dy, build(slopeOf(context))])];
}

/** dx from dy, where a product with a slope is not the shortest form. */
export function pulledBack(build: (s: Slope, dy: ValueName) => ValueName): GradientRule {
  return (context, [dy]) => [dy === undefined ? undefined : build(slopeOf(context), dy)];
}

/** An op that treats each element of its one operand alone. */
export function unary(type: string, saves: SavedForBackward, gradient: Gradient): OpDef {
  return defineOp(type, { shape: sameAsInput, gradient, cost: perOutput(1), saves });
}

/** 2/√π, the factor of the derivative of erf. */
const TWO_OVER_ROOT_PI = 2 / Math.sqrt(Math.PI);

const steps = ["Floor", "Ceil", "Round", "Sign", "Not", "BitwiseNot"];

/** All ops of this family. The derivatives are those of any table (Abramowitz and Stegun, 3.3, 4.3-4.6, 7.1). */
export const unaries: readonly OpDef[] = [
  unary(
    "Neg",
    SAVES_NOTHING,
    pulledBack((s, dy) => s.of("Neg", dy)),
  ),
  unary(
    "Abs",
    INPUT,
    slope((s) => s.of("Sign", s.x)),
  ),
  unary(
    "Exp",
    OUTPUT,
    slope((s) => s.y),
  ),
  unary(
    "Log",
    INPUT,
    pulledBack((s, dy) => s.div(dy, s.x)),
  ),
  // Without bound at 0, as the function's slope is.
  unary(
    "Sqrt",
    OUTPUT,
    pulledBack((s, dy) => s.div(dy, s.add(s.y, s.y))),
  ),
  unary(
    "Reciprocal",
    OUTPUT,
    slope((s) => s.of("Neg", s.mul(s.y, s.y))),
  ),
  unary(
    "Erf",
    INPUT,
    slope((s) => s.mul(s.of("Exp", s.of("Neg", s.mul(s.x, s.x))), TWO_OVER_ROOT_PI)),
  ),
  unary(
    "Sin",
    INPUT,
    slope((s) => s.of("Cos", s.x)),
  ),
  unary(
    "Cos",
    INPUT,
    slope((s) => s.of("Neg", s.of("Sin", s.x))),
  ),
  unary(
    "Tan",
    OUTPUT,
    slope((s) => s.add(s.mul(s.y, s.y), 1)),
  ),
  unary(
    "Asin",
    INPUT,
    pulledBack((s, dy) => s.div(dy, s.of("Sqrt", s.sub(1, s.mul(s.x, s.x))))),
  ),
  unary(
    "Acos",
    INPUT,
    pulledBack((s, dy) => s.of("Neg", s.div(dy, s.of("Sqrt", s.sub(1, s.mul(s.x, s.x)))))),
  ),
  unary(
    "Atan",
    INPUT,
    pulledBack((s, dy) => s.div(dy, s.add(s.mul(s.x, s.x), 1))),
  ),
  unary(
    "Sinh",
    INPUT,
    slope((s) => s.of("Cosh", s.x)),
  ),
  unary(
    "Cosh",
    INPUT,
    slope((s) => s.of("Sinh", s.x)),
  ),
  unary(
    "Tanh",
    OUTPUT,
    slope((s) => s.sub(1, s.mul(s.y, s.y))),
  ),
  unary(
    "Asinh",
    INPUT,
    pulledBack((s, dy) => s.div(dy, s.of("Sqrt", s.add(s.mul(s.x, s.x), 1)))),
  ),
  unary(
    "Acosh",
    INPUT,
    pulledBack((s, dy) => s.div(dy, s.of("Sqrt", s.sub(s.mul(s.x, s.x), 1)))),
  ),
  unary(
    "Atanh",
    INPUT,
    pulledBack((s, dy) => s.div(dy, s.sub(1, s.mul(s.x, s.x)))),
  ),
  unary(
    "Sigmoid",
    OUTPUT,
    slope((s) => s.mul(s.y, s.sub(1, s.y))),
  ),
  ...steps.map((type) => unary(type, SAVES_NOTHING, "zero")),
];
