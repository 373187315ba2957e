// The contents of small integer values, followed through the chains by which exporters compute shapes:
// Shape → Gather / Slice → arithmetic → Unsqueeze → Concat → Reshape. Entries may be symbols.

import type { Node, ValueName } from "../graph/graph.ts";
import { intAttribute, intsAttribute } from "../graph/graph.ts";
import {
  type Dim,
  elementCount,
  isStatic,
  normalizeAxis,
  type Shape,
  sameDim,
  UNKNOWN_DIM,
} from "../graph/shape.ts";
import { int64, numbersOf, type TensorRef } from "../graph/tensor.ts";
import { tensorOfConstant } from "./constant-node.ts";
import type { Content, KnownValues } from "./known.ts";

/** Longest list of integers that is followed; a shape is shorter. */
const ENTRIES_MAX = 64;

/** Records in `contents` what a node's first output holds, where its inputs tell. */
export function propagate(node: Node, known: KnownValues, contents: Map<ValueName, Content>): void {
  const [output = ""] = node.outputs;
  const rule = node.domain === "" ? RULES.get(node.op) : undefined;
  if (output === "" || rule === undefined) return;
  const found = rule(node, (i) => contentOf(node.inputs[i] ?? "", known), known);
  if (found !== undefined && found.entries.length <= ENTRIES_MAX) contents.set(output, found);
}

/** Whether contents are followed through an op. */
export function propagates(op: { readonly domain: string; readonly type: string }): boolean {
  return op.domain === "" && RULES.has(op.type);
}

/** int32, int64 and bool: a cast to a float would change what a division gives. */
const INTEGER_CODES = new Set([6, 7, 9]);
const INTEGER_TYPES = new Set(["int32", "int64", "bool"]);

type Lookup = (i: number) => Content | undefined;
type Rule = (node: Node, input: Lookup, known: KnownValues) => Content | undefined;

function contentOf(name: ValueName, known: KnownValues): Content | undefined {
  const followed = known.contentOf?.(name);
  if (followed !== undefined) return followed;
  const ref = known.constantOf(name);
  return ref === undefined ? undefined : contentOfTensor(ref);
}

function contentOfTensor(ref: TensorRef): Content | undefined {
  const integral = ref.dtype.startsWith("int") || ref.dtype === "bool";
  if (ref.shape.length > 1 || !integral) return undefined;
  if ((ref.shape[0] ?? 1) > ENTRIES_MAX) return undefined;
  const entries = numbersOf(ref);
  if (entries === undefined) return undefined;
  return { entries: entries.map(saturated), rank: ref.shape.length === 0 ? 0 : 1, tensor: ref };
}

/** Where files mean "to the end" they write the largest integer, which a number does not hold. */
function saturated(entry: number): number {
  return Math.max(Number.MIN_SAFE_INTEGER, Math.min(entry, Number.MAX_SAFE_INTEGER));
}

/** Whether an entry is the integer that the file has, and not the nearest that a number holds. */
function isExact(entry: Dim): boolean {
  return typeof entry === "string" || Math.abs(entry) < Number.MAX_SAFE_INTEGER;
}

function content(entries: readonly Dim[], rank: 0 | 1): Content {
  const shape = rank === 0 ? [] : [entries.length];
  return { entries, rank, tensor: isStatic(entries) ? int64(shape, entries) : undefined };
}

/** `symbolic` says what is known where an entry is a symbol. */
function arithmetic(
  apply: (a: number, b: number) => number,
  symbolic: (a: Dim, b: Dim) => Dim = () => UNKNOWN_DIM,
): Rule {
  return (_node, input) => {
    const [a, b] = [input(0), input(1)];
    if (a === undefined || b === undefined) return undefined;
    const length = Math.max(a.entries.length, b.entries.length);
    if (![1, length].includes(a.entries.length) || ![1, length].includes(b.entries.length)) {
      return undefined;
    }
    const at = (c: Content, i: number): Dim => c.entries[c.entries.length === 1 ? 0 : i] ?? "?";
    const entries = Array.from({ length }, (_, i): Dim => {
      const [x, y] = [at(a, i), at(b, i)];
      if (!isExact(x) || !isExact(y)) return UNKNOWN_DIM;
      if (typeof x !== "number" || typeof y !== "number") return symbolic(x, y);
      const result = apply(x, y);
      return Number.isSafeInteger(result) ? result : UNKNOWN_DIM;
    });
    return content(entries, a.rank === 0 && b.rank === 0 ? 0 : 1);
  };
}

/** Min and Max take any number of operands; exporters write two. */
function binaryOnly(rule: Rule): Rule {
  return (node, input, known) => (node.inputs.length === 2 ? rule(node, input, known) : undefined);
}

function negated(data: Content | undefined): Content | undefined {
  if (data === undefined) return undefined;
  const entries = data.entries.map((entry) =>
    typeof entry === "number" ? Number(entry === 0) : UNKNOWN_DIM,
  );
  return content(entries, data.rank);
}

function sizeOf(shape: Shape | undefined): Content | undefined {
  const count = elementCount(shape);
  return count === undefined ? undefined : content([count], 0);
}

const shapeRule: Rule = (node, _input, known) => {
  const shape = known.typeOf(node.inputs[0] ?? "")?.shape;
  if (shape === undefined) return undefined;
  const start = intAttribute(node, "start", 0);
  const end = intAttribute(node, "end");
  return content(shape.slice(start, end), 1);
};

const gather: Rule = (_node, input) => {
  const [data, indices] = [input(0), input(1)];
  if (data?.rank !== 1 || indices === undefined) return undefined;
  const entries = indices.entries.map((index): Dim => {
    if (typeof index !== "number") return UNKNOWN_DIM;
    return data.entries[index < 0 ? index + data.entries.length : index] ?? UNKNOWN_DIM;
  });
  return content(entries, indices.rank);
};

const slice: Rule = (node, input) => {
  const data = input(0);
  if (data?.rank !== 1) return undefined;
  const byInput = node.inputs.length > 1;
  const first = (i: number, name: string, fallback: number): Dim | undefined => {
    if (!byInput) return intsAttribute(node, name)?.[0] ?? fallback;
    return (node.inputs[i] ?? "") === "" ? fallback : input(i)?.entries[0];
  };
  const start = first(1, "starts", 0);
  const end = first(2, "ends", Number.MAX_SAFE_INTEGER);
  const step = first(4, "steps", 1);
  if (typeof start !== "number" || typeof end !== "number" || step !== 1) return undefined;
  return content(data.entries.slice(start, end), 1);
};

const concat: Rule = (node, input) => {
  const entries: Dim[] = [];
  for (let i = 0; i < node.inputs.length; i++) {
    const part = input(i);
    if (part?.rank !== 1) return undefined;
    entries.push(...part.entries);
  }
  return content(entries, 1);
};

/** The same entries as a scalar or a list, whichever inference says that it is. */
const relabelled: Rule = (node, input, known) => {
  const data = input(0);
  const rank = known.typeOf(node.outputs[0] ?? "")?.shape?.length;
  return data !== undefined && (rank === 0 || rank === 1) ? content(data.entries, rank) : undefined;
};

/** Entry by entry from one list or the other, as exporters fill in a -1 of an Expand. */
const where: Rule = (_node, input) => {
  const [choice, yes, no] = [input(0), input(1), input(2)];
  if (choice === undefined || yes === undefined || no === undefined) return undefined;
  const parts = [choice, yes, no];
  const length = Math.max(...parts.map((part) => part.entries.length));
  if (parts.some((part) => ![1, length].includes(part.entries.length))) return undefined;
  const at = (c: Content, i: number): Dim => c.entries[c.entries.length === 1 ? 0 : i] ?? "?";
  const entries = Array.from({ length }, (_, i): Dim => {
    const taken = at(choice, i);
    if (typeof taken === "number") return at(taken === 0 ? no : yes, i);
    return sameDim(at(yes, i), at(no, i)) ? at(yes, i) : UNKNOWN_DIM;
  });
  return content(entries, parts.some((part) => part.rank === 1) ? 1 : 0);
};

const negative: Rule = (_node, input) => {
  const data = input(0);
  const entries = data?.entries.map((one) => (typeof one === "number" ? -one : UNKNOWN_DIM));
  return data && entries && content(entries, data.rank);
};

/** A size is never negative, and equal to itself. */
function equalDims(a: Dim, b: Dim): Dim {
  if (sameDim(a, b)) return 1;
  const negative = [a, b].some((one) => typeof one === "number" && one < 0);
  return negative && a !== UNKNOWN_DIM && b !== UNKNOWN_DIM ? 0 : UNKNOWN_DIM;
}

const neutral =
  (one: number) =>
  (a: Dim, b: Dim): Dim => {
    if (b === one) return a;
    return a === one ? b : UNKNOWN_DIM;
  };
const neutralRight =
  (one: number) =>
  (a: Dim, b: Dim): Dim =>
    b === one ? a : UNKNOWN_DIM;

const constant: Rule = (node) => {
  const ref = tensorOfConstant(node);
  return ref === undefined ? undefined : contentOfTensor(ref);
};

/** A filled list of known length, such as the ones that exporters divide by. */
const constantOfShape: Rule = (node, input) => {
  const shape = input(0);
  const [length] = shape?.entries ?? [];
  if (shape?.entries.length !== 1 || typeof length !== "number") return undefined;
  if (length > ENTRIES_MAX) return undefined;
  const fill = node.attributes.get("value");
  const value = fill?.kind === "tensor" ? contentOfTensor(fill.value)?.entries[0] : undefined;
  if (value === undefined) return undefined;
  return content(
    Array.from({ length }, () => value),
    1,
  );
};

const reduceProduct: Rule = (node, input) => {
  const data = input(0);
  if (data === undefined || !isStatic(data.entries)) return undefined;
  if (intAttribute(node, "noop_with_empty_axes", 0) !== 0) return undefined;
  const keep = intAttribute(node, "keepdims", 1) !== 0;
  const total = data.entries.reduce((a, b) => a * b, 1);
  return content([total], keep ? data.rank : 0);
};

const remainder = arithmetic((a, b) => (b === 0 ? Number.NaN : a - b * Math.floor(a / b)));

const squeezeAxis = (node: Node): boolean => normalizeAxis(intAttribute(node, "axis", 0), 1) === 0;

const RULE_OF: Readonly<Record<string, Rule>> = {
  Add: arithmetic((a, b) => a + b, neutral(0)),
  Sub: arithmetic((a, b) => a - b, neutralRight(0)),
  Mul: arithmetic((a, b) => a * b, neutral(1)),
  // ONNX integer division truncates.
  Div: arithmetic((a, b) => (b === 0 ? Number.NaN : Math.trunc(a / b)), neutralRight(1)),
  // The sign is the divisor's; with fmod it would be the dividend's (ONNX Mod-13).
  Mod: (node, input, known) =>
    intAttribute(node, "fmod", 0) === 0 ? remainder(node, input, known) : undefined,
  Min: binaryOnly(arithmetic(Math.min)),
  Max: binaryOnly(arithmetic(Math.max)),
  Neg: negative,
  // Truth values are 0 and 1.
  Equal: arithmetic((a, b) => Number(a === b), equalDims),
  Greater: arithmetic((a, b) => Number(a > b)),
  GreaterOrEqual: arithmetic((a, b) => Number(a >= b)),
  Less: arithmetic((a, b) => Number(a < b)),
  LessOrEqual: arithmetic((a, b) => Number(a <= b)),
  And: arithmetic((a, b) => Number(a !== 0 && b !== 0)),
  Or: arithmetic((a, b) => Number(a !== 0 || b !== 0)),
  Not: (_node, input) => negated(input(0)),
  Size: (node, _input, known) => sizeOf(known.typeOf(node.inputs[0] ?? "")?.shape),
  CastLike: (node, input, known) =>
    INTEGER_TYPES.has(known.typeOf(node.inputs[1] ?? "")?.dtype ?? "") ? input(0) : undefined,
  Cast: (node, input) => (INTEGER_CODES.has(intAttribute(node, "to", 0)) ? input(0) : undefined),
  Identity: (_node, input) => input(0),
  Shape: shapeRule,
  Gather: (node, input, known) => (squeezeAxis(node) ? gather(node, input, known) : undefined),
  Slice: slice,
  Concat: concat,
  Unsqueeze: relabelled,
  Squeeze: relabelled,
  Reshape: relabelled,
  Where: where,
  Constant: constant,
  ConstantOfShape: constantOfShape,
  ReduceProd: reduceProduct,
};

/** A map, so that an op named like a property of all objects is not found. */
const RULES: ReadonlyMap<string, Rule> = new Map(Object.entries(RULE_OF));
