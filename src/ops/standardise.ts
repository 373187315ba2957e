// What the norms over axes of one sample have in common: x̂ = (x - mean) / √(variance + ε), and the way back.

import type { ValueName } from "../graph/graph.ts";
import { castTo, countAlong, reduce, scalarLike } from "./construct.ts";
import type { Emitter } from "./op.ts";

/** Over which axes, and how. */
export interface Standard {
  readonly axes: readonly number[];
  readonly epsilon: number;
  /** False: about zero instead of the mean, as RMSNorm has it. */
  readonly centre: boolean;
}

/** x̂, and r = 1 / √(variance + ε) with ones for the axes. */
export interface Standardised extends Standard {
  readonly hat: ValueName;
  readonly r: ValueName;
}

/** Computes x̂ and r; the variance is that of x - mean, as E[x²] - mean² loses its digits beside a large mean. */
export function standardise(context: Emitter, x: ValueName, standard: Standard): Standardised {
  const { axes, epsilon, centre } = standard;
  const centred = centre
    ? context.emit("Sub", [x, reduce(context, "ReduceMean", x, axes, true)])
    : x;
  const squares = reduce(context, "ReduceSumSquare", centred, axes, true);
  const variance = context.emit("Div", [squares, countAlong(context, x, axes, x)]);
  const raised = context.emit("Add", [variance, scalarLike(context, x, epsilon)]);
  const r = context.emit("Reciprocal", [context.emit("Sqrt", [raised])]);
  return { ...standard, r, hat: context.emit("Mul", [centred, r]) };
}

/**
 * From g, the gradient of x̂, to that of x: r·(g - mean(g) - x̂·mean(g·x̂)) (Ba, Kiros and Hinton 2016);
 * without mean(g) where nothing was centred (Zhang and Sennrich 2019).
 */
export function unstandardise(context: Emitter, of: Standardised, g: ValueName): ValueName {
  const mean = (v: ValueName): ValueName => reduce(context, "ReduceMean", v, of.axes, true);
  const along = context.emit("Mul", [of.hat, mean(context.emit("Mul", [g, of.hat]))]);
  const level = of.centre ? context.emit("Sub", [g, mean(g)]) : g;
  return context.emit("Mul", [context.emit("Sub", [level, along]), of.r]);
}

/** Half precision is normalised in single, as the ops do by default (`stash_type`). */
export function inSingle(context: Emitter, x: ValueName): ValueName {
  const dtype = context.typeOf(x)?.dtype;
  return dtype === "float16" || dtype === "bfloat16" ? castTo(context, x, "float32") : x;
}
