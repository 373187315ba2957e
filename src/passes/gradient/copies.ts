// Weights that a file has twice, such as the embedding that is the last layer too: some exporters write the
// second one transposed. Each copy has its part of the gradient, and who trains has to keep them equal.

import { dtypeBytes } from "../../graph/dtype.ts";
import type { Graph, ValueName } from "../../graph/graph.ts";
import { hasBytes, type Tensor } from "../../graph/tensor.ts";

/** A weight with the numbers of another that stands before it in the graph. */
export interface WeightCopy {
  readonly weight: ValueName;
  readonly of: ValueName;
  readonly transposed: boolean;
}

/**
 * The matrices among these weights that hold the same numbers as another one, or its transposition. Those
 * whose elements are all the same are fresh, not copied; data in other files is not looked at.
 */
export function copiedWeights(graph: Graph, names: Iterable<ValueName>): WeightCopy[] {
  const kept = new Map<string, [ValueName, Matrix][]>();
  const found: WeightCopy[] = [];
  for (const weight of names) {
    const matrix = matrixOf(graph, weight);
    if (matrix === undefined || isUniform(matrix)) continue;
    const { rows, columns, size } = matrix;
    const key = `${size} ${Math.min(rows, columns)} ${Math.max(rows, columns)}`;
    const others = kept.get(key) ?? [];
    kept.set(key, others);
    const match = others.flatMap(([of, other]): WeightCopy[] => {
      if (areEqual(matrix, other, false)) return [{ weight, of, transposed: false }];
      return areEqual(matrix, other, true) ? [{ weight, of, transposed: true }] : [];
    })[0];
    if (match === undefined) others.push([weight, matrix]);
    else found.push(match);
  }
  return found;
}

interface Matrix {
  readonly rows: number;
  readonly columns: number;
  /** Bytes of an element. */
  readonly size: number;
  readonly bytes: Uint8Array;
}

function matrixOf(graph: Graph, name: ValueName): Matrix | undefined {
  const ref = graph.initializers.get(name);
  if (ref === undefined || ref.shape.length !== 2 || !hasBytes(ref)) return undefined;
  const [rows = 0, columns = 0] = ref.shape;
  const { bytes }: Tensor["data"] = ref.data;
  return { rows, columns, size: dtypeBytes(ref.dtype, 1), bytes };
}

function elementsEqual(a: Matrix, at: number, b: Matrix, position: number): boolean {
  for (let i = 0; i < a.size; i++) {
    if (a.bytes[at * a.size + i] !== b.bytes[position * b.size + i]) return false;
  }
  return true;
}

function isUniform(matrix: Matrix): boolean {
  const count = matrix.rows * matrix.columns;
  for (let at = 1; at < count; at++) if (!elementsEqual(matrix, at, matrix, 0)) return false;
  return true;
}

function areEqual(a: Matrix, b: Matrix, transposed: boolean): boolean {
  const [rows, columns] = transposed ? [b.columns, b.rows] : [b.rows, b.columns];
  if (a.rows !== rows || a.columns !== columns) return false;
  const count = rows * columns;
  for (let at = 0; at < count; at++) {
    const position = transposed ? (at % columns) * rows + Math.floor(at / columns) : at;
    if (!elementsEqual(a, at, b, position)) return false;
  }
  return true;
}
