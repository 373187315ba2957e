// Shapes: a list of dims, each a number, a name ("N": the same name is the same size) or unknown.

/** One dimension: a size, a symbol, or `"?"` which is unknown and equal to nothing, not even itself. */
export type Dim = number | string;

/** Dims of a tensor; `[]` is a scalar. A wholly unknown shape is `undefined` where a shape may stand. */
export type Shape = readonly Dim[];

/** A dimension of which nothing is known. */
export const UNKNOWN_DIM = "?";

/** Whether every dim is a number. */
export function isStatic(shape: Shape | undefined): shape is readonly number[] {
  return shape?.every((dim) => typeof dim === "number") ?? false;
}

/** Number of elements, or undefined if a dim is not a number. */
export function elementCount(shape: Shape | undefined): number | undefined {
  return isStatic(shape) ? shape.reduce((product, dim) => product * dim, 1) : undefined;
}

/** Whether two dims are known to be the same size. */
export function sameDim(a: Dim, b: Dim): boolean {
  return a === b && a !== UNKNOWN_DIM;
}

/** Whether two shapes are known to be the same. */
export function sameShape(a: Shape | undefined, b: Shape | undefined): boolean {
  if (a === undefined || b === undefined || a.length !== b.length) return false;
  return a.every((dim, axis) => sameDim(dim, b[axis] ?? UNKNOWN_DIM));
}

/** `[N,64,?]`, or `[…]` where nothing is known. */
export function formatShape(shape: Shape | undefined): string {
  return shape === undefined ? "[…]" : `[${shape.join(",")}]`;
}

/**
 * The shape that ONNX's (numpy's) broadcasting gives, or undefined where two sizes contradict.
 * Source: ONNX "Broadcasting in ONNX", multidirectional.
 */
export function broadcast(a: Shape, b: Shape): Shape | undefined {
  const rank = Math.max(a.length, b.length);
  const result: Dim[] = [];
  for (let axis = 0; axis < rank; axis++) {
    const x = a[axis - rank + a.length] ?? 1;
    const y = b[axis - rank + b.length] ?? 1;
    if (sameDim(x, y) || y === 1) result.push(x);
    else if (x === 1) result.push(y);
    else if (typeof x === "number" && typeof y === "number") return undefined;
    else if (typeof x === "number") result.push(x);
    else if (typeof y === "number") result.push(y);
    else result.push(UNKNOWN_DIM);
  }
  return result;
}

/** Puts numbers in place of symbols; symbols that are not named stay. */
export function bindShape(shape: Shape, sizes: ReadonlyMap<string, number>): Shape {
  return shape.map((dim) => (typeof dim === "string" ? (sizes.get(dim) ?? dim) : dim));
}

/** `axis` in 0 … rank-1 for an axis that may count from the end, or undefined if out of range. */
export function normalizeAxis(axis: number, rank: number): number | undefined {
  const positive = axis < 0 ? axis + rank : axis;
  return positive >= 0 && positive < rank ? positive : undefined;
}
