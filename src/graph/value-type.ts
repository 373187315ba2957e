// Types of values compared, merged and changed: the shape of a tensor, or of the tensors that a container
// holds, however deep. How deep is bounded where types are made: by the reader and by the rules of ops.

import type { DType } from "./dtype.ts";
import type { Container, ValueType } from "./graph.ts";
import { bindShape, type Shape, sameDim, UNKNOWN_DIM } from "./shape.ts";

/** The type alone of what may be a whole value, name included. */
export function typeOnly({ dtype, shape, container }: ValueType): ValueType {
  return container === undefined ? { dtype, shape } : { dtype, shape, container };
}

/** The type of a container. */
export function containerType(container: Container): ValueType {
  return { dtype: container.of.dtype, shape: undefined, container };
}

/** A sequence of values of one type. */
export function sequenceOf(of: ValueType, length?: number): ValueType {
  const counted = length === undefined ? {} : { length };
  return containerType({ kind: "sequence", of, ...counted });
}

/** A type with its shape changed, or the shapes of what it holds; the same type if none changes. */
export function changeShapes(
  type: ValueType,
  change: (shape: Shape) => Shape | undefined,
): ValueType {
  if (type.container !== undefined) {
    const of = changeShapes(type.container.of, change);
    return of === type.container.of ? type : containerType({ ...type.container, of });
  }
  const shape = type.shape && change(type.shape);
  return shape === type.shape ? type : { dtype: type.dtype, shape };
}

/** Puts numbers in place of symbols. */
export function bindType(type: ValueType, sizes: ReadonlyMap<string, number>): ValueType {
  return changeShapes(type, (shape) => bindShape(shape, sizes));
}

/** Whether two types say the same. */
export function sameType(a: ValueType, b: ValueType | undefined): boolean {
  if (b === undefined || a.dtype !== b.dtype || !sameContainer(a.container, b.container)) {
    return false;
  }
  if (a.shape === undefined || b.shape === undefined) return a.shape === b.shape;
  return a.shape.length === b.shape.length && a.shape.every((dim, axis) => dim === b.shape?.[axis]);
}

function sameContainer(a: Container | undefined, b: Container | undefined): boolean {
  if (a === b) return true;
  if (a?.kind !== b?.kind || a === undefined || b === undefined) return false;
  return lengthOf(a) === lengthOf(b) && keyOf(a) === keyOf(b) && sameType(a.of, b.of);
}

function lengthOf(container: Container): number | undefined {
  return container.kind === "sequence" ? container.length : undefined;
}

function keyOf(container: Container): DType | undefined {
  return container.kind === "map" ? container.key : undefined;
}

/** What two statements about one value say together; a number wins over a symbol over unknown. */
export function merge(declared: ValueType | undefined, inferred: ValueType): ValueType {
  if (declared === undefined) return typeOnly(inferred);
  if (declared.container !== undefined || inferred.container !== undefined) {
    return mergeContainers(declared, inferred);
  }
  const { dtype, shape } = inferred;
  if (declared.shape === undefined) return { dtype, shape };
  if (shape === undefined || shape.length !== declared.shape.length) return typeOnly(declared);
  const dims: Shape = shape.map((dim, axis) => {
    const said = declared.shape?.[axis] ?? UNKNOWN_DIM;
    if (typeof dim === "number") return dim;
    return typeof said === "number" || dim === UNKNOWN_DIM ? said : dim;
  });
  return { dtype: declared.dtype, shape: dims };
}

function mergeContainers(declared: ValueType, inferred: ValueType): ValueType {
  const [a, b] = [declared.container, inferred.container];
  // A value declared without a type reads as a tensor of which nothing is known.
  if (a === undefined) return typeOnly(declared.shape === undefined ? inferred : declared);
  if (a.kind !== b?.kind) return typeOnly(declared);
  return containerType({ ...a, ...b, of: merge(a.of, b.of) });
}

/** What is true of a value that may be either of two; a symbol stands for one size in both. */
export function either(a: ValueType | undefined, b: ValueType | undefined): ValueType | undefined {
  if (a === undefined || b === undefined || a.dtype !== b.dtype) return undefined;
  if (a.container !== undefined || b.container !== undefined) {
    return eitherContainer(a.container, b.container);
  }
  if (a.shape === undefined || a.shape.length !== b.shape?.length) {
    return { dtype: a.dtype, shape: undefined };
  }
  const other = b.shape;
  const shape = a.shape.map((dim, axis) =>
    sameDim(dim, other[axis] ?? UNKNOWN_DIM) ? dim : UNKNOWN_DIM,
  );
  return { dtype: a.dtype, shape };
}

function eitherContainer(
  a: Container | undefined,
  b: Container | undefined,
): ValueType | undefined {
  if (a === undefined || b === undefined || a.kind !== b.kind || keyOf(a) !== keyOf(b)) {
    return undefined;
  }
  if (a.kind !== "sequence") {
    const of = either(a.of, b.of);
    return of && containerType({ ...a, of });
  }
  // An empty sequence says nothing of the shape of elements.
  const of = elementsOfBoth(a.of, lengthOf(a), b.of, lengthOf(b));
  return of && sequenceOf(of, lengthOf(a) === lengthOf(b) ? lengthOf(a) : undefined);
}

/** The element type of a sequence made of two, of known lengths or not. */
export function elementsOfBoth(
  a: ValueType,
  lengthA: number | undefined,
  b: ValueType,
  lengthB: number | undefined,
): ValueType | undefined {
  if (a.dtype === b.dtype && lengthA === 0) return b;
  return a.dtype === b.dtype && lengthB === 0 ? a : either(a, b);
}

/** What stays true of a value that a loop hands from one iteration to the next. */
export function carried(type: ValueType): ValueType {
  const { container } = type;
  if (container === undefined) return typeOnly(type);
  const of = changeShapes(container.of, () => undefined);
  // The same number of elements is not meant either.
  return container.kind === "sequence" ? sequenceOf(of) : containerType({ ...container, of });
}
