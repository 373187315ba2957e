// Arithmetic on values of a graph, so that gradient rules read like their formulas.

import type { ValueName } from "../graph/graph.ts";
import { castLike, scalarLike } from "./construct.ts";
import type { Emitter } from "./op.ts";

/** A value, or a number that becomes a constant of the type at hand. */
export type Operand = ValueName | number;

/** Each method adds one node and gives its result; operands broadcast. */
export interface Arithmetic {
  add(a: Operand, b: Operand): ValueName;
  sub(a: Operand, b: Operand): ValueName;
  mul(a: Operand, b: Operand): ValueName;
  div(a: Operand, b: Operand): ValueName;
  pow(a: Operand, b: Operand): ValueName;
  /** The op of one operand of that name: `Exp`, `Neg`, `Sign`, … */
  of(op: string, a: Operand): ValueName;
  /** Where the condition holds `a`, elsewhere `b`. */
  where(condition: ValueName, a: Operand, b: Operand): ValueName;
  greater(a: Operand, b: Operand): ValueName;
  equal(a: Operand, b: Operand): ValueName;
  /** 1 where a truth value holds, else 0. */
  mask(condition: ValueName): ValueName;
}

/** Arithmetic in the type of a value. */
export function arithmetic(context: Emitter, like: ValueName): Arithmetic {
  const value = (operand: Operand): ValueName =>
    typeof operand === "number" ? scalarLike(context, like, operand) : operand;
  const binary =
    (op: string) =>
    (a: Operand, b: Operand): ValueName =>
      context.emit(op, [value(a), value(b)]);
  return {
    add: binary("Add"),
    sub: binary("Sub"),
    mul: binary("Mul"),
    div: binary("Div"),
    pow: binary("Pow"),
    greater: binary("Greater"),
    equal: binary("Equal"),
    of: (op, a) => context.emit(op, [value(a)]),
    where: (condition, a, b) => context.emit("Where", [condition, value(a), value(b)]),
    mask: (condition) => castLike(context, condition, like),
  };
}
