// Attention written out: heads, scores, what is hidden, shares and the weighted sum. The attention ops are
// decomposed into it (Vaswani et al. 2017, section 3.2).

import type { DType } from "../graph/dtype.ts";
import { int, type ValueName } from "../graph/graph.ts";
import { sameDim, UNKNOWN_DIM } from "../graph/shape.ts";
import { arithmetic } from "./arithmetic.ts";
import {
  assembledShape,
  castLike,
  castTo,
  scalarLike,
  shapeConstant,
  sizesOf,
  transpose,
} from "./construct.ts";
import type { Emitter } from "./op.ts";

/** What attention is computed from. */
export interface Operands {
  /** `[batch, heads, queries, width]`. */
  readonly q: ValueName;
  /** `[batch, key heads, keys, width]`: as many heads, or one for several of the queries'. */
  readonly k: ValueName;
  /** `[batch, key heads, keys, value width]`. */
  readonly v: ValueName;
}

/** How scores become shares. What is given here broadcasts against `[batch, heads, queries, keys]`. */
export interface Scoring {
  /** Left out: 1/√width. */
  readonly scale?: number | undefined;
  /** Scores are kept within ±cap by a tanh; 0: they are not. */
  readonly cap?: number | undefined;
  /** Truth values: which keys a query sees. A query that sees none gets zeros. */
  readonly seen?: ValueName | undefined;
  /** Added to the scores. */
  readonly bias?: ValueName | undefined;
  /** The score of no key at all, which takes a share away from the others; of four axes. */
  readonly sink?: ValueName | undefined;
  /** The type in which the softmax is computed. */
  readonly precision?: DType | undefined;
}

/** The result and the stages on the way to it. */
export interface Attended {
  /** `[batch, heads, queries, value width]`. */
  readonly y: ValueName;
  readonly raw: ValueName;
  readonly capped: ValueName;
  /** With the bias; of keys that are not seen, what stands there means nothing. */
  readonly biased: ValueName;
  readonly shares: ValueName;
}

/** `[batch, length, heads · width]` as `[batch, heads, length, width]`. */
export function toHeads(context: Emitter, x: ValueName, heads: number): ValueName {
  const all = context.typeOf(x)?.shape?.[2];
  const width = typeof all === "number" ? all / heads : -1;
  const apart = context.emit("Reshape", [x, shapeConstant(context, [0, 0, heads, width])]);
  return transpose(context, apart, [0, 2, 1, 3]);
}

/** `[batch, heads, length, width]` as `[batch, length, heads · width]`. */
export function fromHeads(context: Emitter, x: ValueName): ValueName {
  const [, heads = UNKNOWN_DIM, , width = UNKNOWN_DIM] = context.typeOf(x)?.shape ?? [];
  const known = typeof heads === "number" && typeof width === "number";
  const target = shapeConstant(context, [0, 0, known ? heads * width : -1]);
  return context.emit("Reshape", [transpose(context, x, [0, 2, 1, 3]), target]);
}

/** Each head of x as often, side by side, as there are heads of `like` for it. */
function repeated(context: Emitter, x: ValueName, like: ValueName): ValueName {
  const [own, wanted] = [x, like].map((v) => context.typeOf(v)?.shape?.[1] ?? UNKNOWN_DIM);
  if (own !== undefined && wanted !== undefined && sameDim(own, wanted)) return x;
  const apart = context.emit("Unsqueeze", [x, shapeConstant(context, [2])]);
  const times =
    typeof own === "number" && typeof wanted === "number"
      ? shapeConstant(context, [wanted / own])
      : context.emit("Div", [sizesOf(context, like, [1]), sizesOf(context, x, [1])]);
  const ones = shapeConstant(context, [1, 1]);
  const target = context.emit("Concat", [ones, times, ones], {
    attributes: { axis: int(0) },
  });
  const spread = context.emit("Expand", [apart, target]);
  const shape = assembledShape(context, [
    [x, 0],
    [like, 1],
    [x, 2],
    [x, 3],
  ]);
  return context.emit("Reshape", [spread, shape]);
}

/** 1/√width as a scalar; the root is left to the runtime, which folds it in the precision at hand. */
function usualScale(context: Emitter, q: ValueName): ValueName {
  const a = arithmetic(context, q);
  const width = context.typeOf(q)?.shape?.[3];
  const size =
    typeof width === "number"
      ? scalarLike(context, q, width)
      : castLike(context, context.emit("Squeeze", [sizesOf(context, q, [3])]), q);
  return a.of("Reciprocal", a.of("Sqrt", size));
}

/** So low that nothing is left of it in a softmax beside any score, and finite: rows of it are no NaN. */
function lowest(dtype: DType | undefined): number {
  return dtype === "float16" ? -65504 : -3.4e38;
}

/** The softmax of scores, beside that of a sink if there is one. */
function sharesOf(context: Emitter, scores: ValueName, sink: ValueName | undefined): ValueName {
  if (sink === undefined) return context.emit("Softmax", [scores]);
  const column = assembledShape(context, [[scores, 0], [scores, 1], [scores, 2], 1]);
  const spread = context.emit("Expand", [castLike(context, sink, scores), column]);
  const all = context.emit("Concat", [scores, spread], { attributes: { axis: int(3) } });
  const [start, axis] = [0, 3].map((value) => shapeConstant(context, [value]));
  const keys = sizesOf(context, scores, [3]);
  return context.emit("Slice", [context.emit("Softmax", [all]), start ?? "", keys, axis ?? ""]);
}

/** softmax(q·kᵀ·scale + bias)·v. */
export function attend(context: Emitter, { q, k, v }: Operands, scoring: Scoring): Attended {
  const a = arithmetic(context, q);
  const { cap = 0, seen, bias, precision } = scoring;
  const keys = transpose(context, repeated(context, k, q), [0, 1, 3, 2]);
  const scaled = a.mul(q, scoring.scale ?? usualScale(context, q));
  const raw = context.emit("MatMul", [scaled, keys]);
  const capped = cap > 0 ? a.mul(a.of("Tanh", a.div(raw, cap)), cap) : raw;
  const biased = bias === undefined ? capped : a.add(capped, bias);
  const dtype = context.typeOf(q)?.dtype ?? "float32";
  const exact = castTo(context, biased, precision ?? dtype);
  const b = arithmetic(context, exact);
  const kept =
    seen === undefined ? exact : b.where(seen, exact, lowest(context.typeOf(exact)?.dtype));
  const softmax = castTo(context, sharesOf(context, kept, scoring.sink), dtype);
  const shares = seen === undefined ? softmax : a.mul(softmax, a.mask(seen));
  const y = context.emit("MatMul", [shares, repeated(context, v, q)]);
  return { y, raw, capped, biased, shares };
}

/** Both conditions, of those that there are. */
export function both(
  context: Emitter,
  ...conditions: readonly (ValueName | undefined)[]
): ValueName | undefined {
  const given = conditions.filter((one) => one !== undefined);
  return given.length === 0 ? undefined : given.reduce((a, b) => context.emit("And", [a, b]));
}
