// The core of attention (Vaswani et al. 2017): softmax(scale · q·kᵀ, masked) · v, in the ways in which it
// is scaled (before or after the product, on either side or both) and masked.

import {
  type Attribute,
  float,
  int,
  intAttribute,
  intsAttribute,
  type Node,
  string,
  type ValueName,
} from "../../graph/graph.ts";
import { sameDim, sameShape, UNKNOWN_DIM } from "../../graph/shape.ts";
import { MACRO_DOMAIN } from "../../ops/macro.ts";
import { multiples, type Scaled } from "./algebra.ts";
import type { Idiom, Match, View } from "./view.ts";

/** What is masked becomes less than this before the softmax. */
const MASKED_MAX = -1e4;

/** Scores before the softmax, and what masks them. */
interface Masked {
  readonly scores: ValueName;
  readonly mask?: ValueName;
  readonly mode?: "add" | "keep" | "drop";
  /** What "keep" and "drop" put in place of a score. */
  readonly value?: number;
  /** Where scores are taken apart into batch and heads for the mask, and put together again. */
  readonly heads?: number;
  readonly nodes: readonly Node[];
}

interface Keys {
  readonly value: ValueName;
  readonly transposed: boolean;
  readonly factor: number;
  readonly nodes: readonly Node[];
}

interface Core {
  readonly q: ValueName;
  readonly keys: Keys;
  readonly v: ValueName;
  readonly scale: number;
  readonly masked: Masked;
  readonly wide: boolean;
  readonly guarded: boolean;
  readonly nodes: readonly Node[];
}

/** As Attention-23 where that is exact, else as an op of skipway's own. */
export const attention: Idiom = {
  name: "core of attention",
  roots: ["MatMul"],
  *match(view, root): Generator<Match> {
    const [weights = "", v = ""] = root.inputs;
    const guard = guardOf(view, weights);
    const softmax = softmaxOf(view, guard?.value ?? weights);
    if (softmax === undefined) return;
    const guarded = guard !== undefined;
    for (const masked of maskings(view, softmax.scores)) {
      for (const scaled of multiples(view, masked.scores)) {
        const product = view.made(scaled.value, "MatMul");
        if (product === undefined) continue;
        const [a = "", b = ""] = product.inputs;
        for (const q of deepestFirst(view, a)) {
          for (const keys of keysOf(view, b)) {
            const scale = scaled.factor * q.factor * keys.factor;
            const nodes = [
              ...(guard?.nodes ?? []),
              ...softmax.nodes,
              ...masked.nodes,
              ...scaled.nodes,
              product,
              ...q.nodes,
              ...keys.nodes,
            ];
            const { wide } = softmax;
            yield coreMatch(view, { q: q.value, keys, v, scale, masked, wide, guarded, nodes });
          }
        }
      }
    }
  },
};

/** A value as the multiple of what it was scaled from, however often; then as itself. */
function deepestFirst(view: View, name: ValueName): readonly Scaled[] {
  const all = [...multiples(view, name)];
  return all.length > 1 ? [...all.slice(-1), ...all.slice(0, 1)] : all;
}

/** What is masked altogether has no softmax: PyTorch puts 0 in the place of what is no number. */
function guardOf(
  view: View,
  name: ValueName,
): { value: ValueName; nodes: readonly Node[] } | undefined {
  const choice = view.made(name, "Where");
  const [asked = "", zero = "", value = ""] = choice?.inputs ?? [];
  const test = view.made(asked, "IsNaN");
  if (choice === undefined || test === undefined || view.scalar(zero) !== 0) return undefined;
  return test.inputs[0] === value ? { value, nodes: [choice, test] } : undefined;
}

/** A softmax over the last axis, computed in float32 between two casts or not. */
function softmaxOf(
  view: View,
  name: ValueName,
): { scores: ValueName; wide: boolean; nodes: readonly Node[] } | undefined {
  const cast = view.made(name, "Cast");
  const softmax = view.made(cast?.inputs[0] ?? name, "Softmax");
  const [scores = ""] = softmax?.inputs ?? [];
  const rank = view.shape(scores)?.length;
  if (softmax === undefined || rank === undefined) return undefined;
  const axis = intAttribute(softmax, "axis", view.opset >= 13 ? -1 : 1);
  if (axis !== -1 && axis !== rank - 1) return undefined;
  if (cast === undefined) return { scores, wide: false, nodes: [softmax] };
  const before = view.made(scores, "Cast");
  const [narrow = ""] = before?.inputs ?? [];
  if (before === undefined || view.dtype(scores) !== "float32") return undefined;
  if (view.dtype(narrow) !== view.dtype(name)) return undefined;
  return { scores: narrow, wide: true, nodes: [cast, softmax, before] };
}

/** The scores as they are masked: by a sum, by a choice, or not at all. */
function* maskings(view: View, name: ValueName): Generator<Masked> {
  const back = view.made(name, "Reshape");
  const inner = back === undefined ? name : (back.inputs[0] ?? "");
  for (const masked of maskedBy(view, inner)) {
    if (back === undefined) {
      if (fits(view, masked, inner)) yield masked;
      continue;
    }
    const apart = view.made(masked.scores, "Reshape");
    const [whole = ""] = apart?.inputs ?? [];
    const heads = headsOf(view, { whole, apart: masked.scores, back: name });
    if (apart === undefined || heads === undefined) continue;
    yield { ...masked, scores: whole, heads, nodes: [...masked.nodes, back, apart] };
  }
  yield { scores: name, nodes: [] };
}

function* maskedBy(view: View, name: ValueName): Generator<Masked> {
  const sum = view.made(name, "Add");
  for (const [scores, mask] of sum === undefined ? [] : view.operands(sum)) {
    yield { scores, mask, mode: "add", nodes: sum === undefined ? [] : [sum] };
  }
  const choice = view.made(name, "Where");
  if (choice === undefined) return;
  const [mask = "", yes = "", no = ""] = choice.inputs;
  const [dropped, kept] = [view.scalar(yes), view.scalar(no)];
  const nodes = [choice];
  if (kept !== undefined && kept <= MASKED_MAX) {
    yield { scores: yes, mask, mode: "keep", value: kept, nodes };
  }
  if (dropped !== undefined && dropped <= MASKED_MAX) {
    yield { scores: no, mask, mode: "drop", value: dropped, nodes };
  }
}

/** Whether a mask is spread over the scores, not the scores over the mask. */
function fits(view: View, { mask = "", scores }: Masked, output: ValueName): boolean {
  const [small, large] = [view.shape(mask), view.shape(scores)];
  if (small === undefined || large === undefined || small.length > large.length) return false;
  if (sameShape(large, view.shape(output))) return true;
  return small.every((dim, i) => {
    const other = large[i + large.length - small.length] ?? UNKNOWN_DIM;
    return dim === 1 || dim === other || (typeof dim === "string" && other !== 1);
  });
}

/** The heads for which scores [batch · heads, …] become [batch, heads, …] and, as large, [batch · heads, …] again. */
function headsOf(
  view: View,
  names: { whole: ValueName; apart: ValueName; back: ValueName },
): number | undefined {
  const [whole, apart, back] = [names.whole, names.apart, names.back].map((n) => view.shape(n));
  const heads = apart?.[1];
  if (whole?.length !== 3 || apart?.length !== 4 || !sameShape(whole, back)) return undefined;
  const same = sameShape(whole.slice(1), apart.slice(2));
  return same && typeof heads === "number" ? heads : undefined;
}

/** The keys behind their transposition and scale. */
function* keysOf(view: View, name: ValueName): Generator<Keys> {
  for (const outer of deepestFirst(view, name)) {
    const swap = view.made(outer.value, "Transpose");
    if (swap !== undefined && swapsLast(swap)) {
      for (const inner of deepestFirst(view, swap.inputs[0] ?? "")) {
        const nodes = [...outer.nodes, swap, ...inner.nodes];
        const factor = outer.factor * inner.factor;
        yield { value: inner.value, transposed: false, factor, nodes };
      }
    }
    yield { value: outer.value, transposed: true, factor: outer.factor, nodes: outer.nodes };
  }
}

function swapsLast(node: Node): boolean {
  const perm = intsAttribute(node, "perm") ?? [];
  const rank = perm.length;
  return (
    rank >= 2 &&
    perm.every((axis, i) => axis === (i === rank - 1 ? rank - 2 : i === rank - 2 ? rank - 1 : i))
  );
}

function coreMatch(view: View, core: Core): Match {
  const { q, keys, v, masked, nodes } = core;
  const mask = masked.mask === undefined ? [] : [masked.mask];
  const inputs = [q, keys.value, v, ...mask];
  const attributes: Record<string, Attribute> = { scale: float(Math.fround(core.scale)) };
  if (core.wide) attributes["softmax_precision"] = int(1);
  const heads = standardHeads(view, core);
  if (heads !== undefined) {
    return { op: "Attention", inputs, attributes: { ...attributes, ...heads }, nodes };
  }
  if (core.guarded) attributes["nan_to_zero"] = int(1);
  attributes["transposed"] = int(keys.transposed ? 1 : 0);
  if (masked.mode !== undefined) attributes["mask"] = string(masked.mode);
  if (masked.heads !== undefined) attributes["heads"] = int(masked.heads);
  if (masked.value !== undefined) attributes["masked"] = float(Math.fround(masked.value));
  return { op: "Attention", domain: MACRO_DOMAIN, inputs, attributes, nodes };
}

/**
 * Attributes with which Attention-23 computes the same: operands [B, heads, length, width], or [B, length,
 * width] as one head; a mask that is added, or where true keeps a score and else makes it -∞.
 */
function standardHeads(
  view: View,
  { q, keys, v, scale, masked, guarded }: Core,
): Record<string, Attribute> | undefined {
  const shapes = [q, keys.value, v].map((name) => view.shape(name));
  const [first] = shapes;
  const rank = first?.length;
  if (masked.heads !== undefined || guarded) return undefined;
  if (keys.transposed || scale <= 0 || (rank !== 3 && rank !== 4)) return undefined;
  const leading = Array.from({ length: rank - 2 }, (_, axis) => axis);
  const alike = shapes.every(
    (shape) =>
      shape?.length === rank &&
      leading.every((axis) => sameDim(shape[axis] ?? UNKNOWN_DIM, first?.[axis] ?? UNKNOWN_DIM)),
  );
  if (!alike) return undefined;
  if (masked.mask !== undefined) {
    const maskRank = view.shape(masked.mask)?.length ?? 0;
    if (maskRank < 2 || maskRank > rank || (rank === 3 && maskRank > 2)) return undefined;
    if (masked.mode === "drop") return undefined;
    if (masked.mode === "keep" && masked.value !== Number.NEGATIVE_INFINITY) return undefined;
    if (masked.mode === "add" && view.dtype(masked.mask) !== view.dtype(q)) return undefined;
  }
  return rank === 3 ? { q_num_heads: int(1), kv_num_heads: int(1) } : {};
}
