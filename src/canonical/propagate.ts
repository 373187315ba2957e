// The contents of small integer values, followed through the chains by which exporters compute shapes:
// Shape → Gather / Slice → arithmetic → Unsqueeze → Concat → Reshape. Entries may be symbols.

import type { Node, ValueName, ValueType } from "../graph/graph.ts";
import { intAttribute, intsAttribute } from "../graph/graph.ts";
import {
  type Dim,
  elementCount,
  isStatic,
  normalizeAxis,
  type Shape,
  UNKNOWN_DIM,
} from "../graph/shape.ts";
import { int64, numbersOf, type TensorRef } from "../graph/tensor.ts";

/** Longest list of integers that is followed; a shape is shorter. */
const ENTRIES_MAX = 64;

/** Entries of an integer scalar (rank 0) or list (rank 1); `tensor` where all are numbers. */
export interface Content {
  readonly entries: readonly Dim[];
  readonly rank: 0 | 1;
  readonly tensor: TensorRef | undefined;
}

/** What is known around a node. `contents` is added to. */
export interface Followed {
  typeOf(name: ValueName): ValueType | undefined;
  readonly initializers: ReadonlyMap<ValueName, TensorRef>;
  readonly contents: Map<ValueName, Content>;
}

/** Records what a node's first output holds, where its inputs tell. */
export function propagate(node: Node, known: Followed): void {
  const [output = ""] = node.outputs;
  if (output === "" || node.domain !== "") return;
  const rule = RULES[node.op];
  const content = rule?.(node, (i) => contentOf(node.inputs[i] ?? "", known), known);
  if (content !== undefined && content.entries.length <= ENTRIES_MAX) {
    known.contents.set(output, content);
  }
}

/** int32, int64 and bool: a cast to a float would change what a division gives. */
const INTEGER_CODES = new Set([6, 7, 9]);
const INTEGER_TYPES = new Set(["int32", "int64", "bool"]);

type Lookup = (i: number) => Content | undefined;
type Rule = (node: Node, input: Lookup, known: Followed) => Content | undefined;

function contentOf(name: ValueName, known: Followed): Content | undefined {
  const followed = known.contents.get(name);
  if (followed !== undefined) return followed;
  const ref = known.initializers.get(name);
  return ref === undefined ? undefined : contentOfTensor(ref);
}

function contentOfTensor(ref: TensorRef): Content | undefined {
  const integral = ref.dtype.startsWith("int") || ref.dtype === "bool";
  if (ref.shape.length > 1 || !integral) return undefined;
  if ((ref.shape[0] ?? 1) > ENTRIES_MAX) return undefined;
  const entries = numbersOf(ref);
  if (entries === undefined) return undefined;
  return { entries, rank: ref.shape.length === 0 ? 0 : 1, tensor: ref };
}

function content(entries: readonly Dim[], rank: 0 | 1): Content {
  const shape = rank === 0 ? [] : [entries.length];
  return { entries, rank, tensor: isStatic(entries) ? int64(shape, entries) : undefined };
}

function arithmetic(apply: (a: number, b: number) => number): Rule {
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
      if (typeof x !== "number" || typeof y !== "number") return UNKNOWN_DIM;
      const result = apply(x, y);
      return Number.isSafeInteger(result) ? result : UNKNOWN_DIM;
    });
    return content(entries, a.rank === 0 && b.rank === 0 ? 0 : 1);
  };
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

const toList: Rule = (_node, input) => {
  const data = input(0);
  return data?.rank === 0 ? content(data.entries, 1) : undefined;
};

const toScalar: Rule = (_node, input) => {
  const data = input(0);
  return data?.rank === 1 && data.entries.length === 1 ? content(data.entries, 0) : undefined;
};

const constant: Rule = (node) => {
  const value = node.attributes.get("value");
  if (value?.kind === "tensor") return contentOfTensor(value.value);
  const single = intAttribute(node, "value_int");
  if (single !== undefined) return content([single], 0);
  const list = intsAttribute(node, "value_ints");
  return list === undefined ? undefined : content(list, 1);
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
  const keep = intAttribute(node, "keepdims", 1) !== 0;
  const total = data.entries.reduce((a, b) => a * b, 1);
  return content([total], keep ? data.rank : 0);
};

const squeezeAxis = (node: Node): boolean => normalizeAxis(intAttribute(node, "axis", 0), 1) === 0;

const RULES: Readonly<Record<string, Rule>> = {
  Add: arithmetic((a, b) => a + b),
  Sub: arithmetic((a, b) => a - b),
  Mul: arithmetic((a, b) => a * b),
  // ONNX integer division truncates.
  Div: arithmetic((a, b) => (b === 0 ? Number.NaN : Math.trunc(a / b))),
  // Truth values are 0 and 1.
  Equal: arithmetic((a, b) => Number(a === b)),
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
  Unsqueeze: toList,
  Squeeze: toScalar,
  Constant: constant,
  ConstantOfShape: constantOfShape,
  ReduceProd: reduceProduct,
};
