// Sequences of tensors, and values that may be missing. One element type stands for all elements of a
// sequence; of its length only what the nodes say is known.

import { intAttribute, subgraphs, type ValueType } from "../graph/graph.ts";
import { type Dim, normalizeAxis, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import {
  containerType,
  either,
  elementsOfBoth,
  sequenceOf,
  typeOnly,
} from "../graph/value-type.ts";
import { DTYPE_CODES } from "../onnx/dtype-codes.ts";
import { typeOfAttribute } from "../onnx/types.ts";
import type { OpDef, ShapeContext, ShapeRule } from "./op.ts";
import { defineOp, free, integers, timesDim, typed } from "./rules.ts";

/** A sequence as a rule reads it. */
interface Sequence {
  readonly of: ValueType;
  readonly length?: number;
}

function sequence(c: ShapeContext, i: number): Sequence | undefined {
  const container = c.input(i)?.container;
  return container?.kind === "sequence" ? container : undefined;
}

/** A tensor operand; a container in its place makes no sense. */
function tensorAt(c: ShapeContext, i: number): ValueType | undefined {
  const type = c.input(i);
  return type?.container === undefined ? type : undefined;
}

/** What elements are moved is decided by indices; nothing is computed, and gradients stop. */
function handling(type: string, shape: ShapeRule): OpDef {
  return defineOp(type, {
    shape,
    containers: true,
    cost: free,
    gradient: { because: "its values are containers of tensors (write their tensors one by one)" },
  });
}

function asking(type: string, shape: ShapeRule): OpDef {
  return defineOp(type, { shape, containers: true, cost: free, gradient: "zero" });
}

const construct = handling("SequenceConstruct", (c) => {
  let of = tensorAt(c, 0);
  for (let i = 1; i < c.node.inputs.length; i++) of = either(of, tensorAt(c, i));
  return [of && sequenceOf(typeOnly(of), c.node.inputs.length)];
});

const empty = asking("SequenceEmpty", (c) => {
  const dtype = DTYPE_CODES.get(intAttribute(c.node, "dtype", 1));
  return [dtype && sequenceOf({ dtype, shape: undefined }, 0)];
});

const insert = handling("SequenceInsert", (c) => {
  const [into, added] = [sequence(c, 0), tensorAt(c, 1)];
  if (into === undefined || added === undefined) return [undefined];
  const of = elementsOfBoth(into.of, into.length, typeOnly(added), 1);
  return [of && sequenceOf(of, counted(into.length, 1))];
});

/** A length that is none, because more is taken out than there is, is not known. */
function counted(length: number | undefined, added: number): number | undefined {
  return length === undefined || length + added < 0 ? undefined : length + added;
}

const erase = handling("SequenceErase", (c) => {
  const from = sequence(c, 0);
  return [from && sequenceOf(from.of, counted(from.length, -1))];
});

const at = handling("SequenceAt", (c) => [sequence(c, 0)?.of]);

const length = asking("SequenceLength", () => [typed("int64", [])]);

/** Parts along an axis: of one size each and a rest, of listed sizes, or of size 1 without the axis. */
const splitToSequence = handling("SplitToSequence", (c) => {
  const x = tensorAt(c, 0);
  const axis = x?.shape && normalizeAxis(intAttribute(c.node, "axis", 0), x.shape.length);
  if (x?.shape === undefined || axis === undefined) {
    return [x && sequenceOf({ dtype: x.dtype, shape: undefined })];
  }
  const { size, count } = partsOf(c, x.shape[axis] ?? UNKNOWN_DIM);
  const bySize = (c.node.inputs[1] ?? "") !== "";
  const dropped = intAttribute(c.node, "keepdims", 1) === 0;
  const whole = x.shape.with(axis, size);
  // Beside sizes the standard ignores the attribute, and the runtime does not always.
  const shape = dropped && bySize ? undefined : dropped ? x.shape.toSpliced(axis, 1) : whole;
  const known = typeof count === "number" && Number.isSafeInteger(count) ? count : undefined;
  return [sequenceOf({ dtype: x.dtype, shape }, known)];
});

/** The size that all parts have, if they have one, and how many there are. */
function partsOf(c: ShapeContext, whole: Dim): { size: Dim; count: Dim } {
  if ((c.node.inputs[1] ?? "") === "") return { size: 1, count: whole };
  const rank = c.input(1)?.shape?.length;
  const sizes = integers(c.constant(1));
  if (rank === 1) {
    const [first = UNKNOWN_DIM, ...rest] = sizes ?? [];
    const size = rest.every((one) => one === first) ? first : UNKNOWN_DIM;
    return { size, count: c.input(1)?.shape?.[0] ?? UNKNOWN_DIM };
  }
  const size = rank === 0 ? sizes?.[0] : undefined;
  if (size === undefined || size <= 0 || typeof whole !== "number") {
    return { size: UNKNOWN_DIM, count: UNKNOWN_DIM };
  }
  const even = whole % size === 0;
  return { size: even ? size : UNKNOWN_DIM, count: Math.ceil(whole / size) };
}

const concatFromSequence = handling("ConcatFromSequence", (c) => {
  const from = sequence(c, 0);
  return [from && typed(from.of.dtype, from.of.shape && joined(c, from.of.shape, from.length))];
});

/** Elements one behind the other along an axis, or along one that is new. */
function joined(c: ShapeContext, shape: Shape, count: Dim = UNKNOWN_DIM): Shape | undefined {
  const added = intAttribute(c.node, "new_axis", 0) !== 0;
  const along = intAttribute(c.node, "axis");
  const axis =
    along === undefined ? undefined : normalizeAxis(along, shape.length + (added ? 1 : 0));
  if (axis === undefined) return undefined;
  return added ? shape.toSpliced(axis, 0, count) : shape.with(axis, timesDim(shape[axis], count));
}

/** The results of a body for each element; a size that the body names may differ from one to the next. */
const sequenceMap = handling("SequenceMap", (c) => {
  const [body] = subgraphs(c.node);
  const count = sequence(c, 0)?.length;
  return c.node.outputs.map((_, i) => {
    const result = body?.outputs[i];
    if (result === undefined || result.container !== undefined) return undefined;
    const fixed = result.shape?.map((dim) => (typeof dim === "number" ? dim : UNKNOWN_DIM));
    return sequenceOf({ dtype: result.dtype, shape: fixed }, count);
  });
});

/** Of a tensor or a sequence of tensors; nothing else may be missing (ONNX Optional-15). */
const optional = handling("Optional", (c) => {
  const attribute = c.node.attributes.get("type");
  const given = (c.node.inputs[0] ?? "") !== "";
  const stated = attribute?.kind === "opaque" ? typeOfAttribute(attribute.bytes) : undefined;
  const of = given ? c.input(0) : stated;
  const inside = of?.container?.kind === "sequence" ? of.container.of : of;
  if (of === undefined || inside?.container !== undefined) return [undefined];
  return [containerType({ kind: "optional", of: typeOnly(of) })];
});

/** What is not optional is its own element (ONNX OptionalGetElement-18). */
const getElement = handling("OptionalGetElement", (c) => {
  const container = c.input(0)?.container;
  return [container?.kind === "optional" ? container.of : c.input(0)];
});

const hasElement = asking("OptionalHasElement", () => [typed("bool", [])]);

/** All ops of this family. */
export const sequences: readonly OpDef[] = [
  construct,
  empty,
  insert,
  erase,
  at,
  length,
  splitToSequence,
  concatFromSequence,
  sequenceMap,
  optional,
  getElement,
  hasElement,
];
