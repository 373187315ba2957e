// Which models can be given several requests in one run: axis 0 of all inputs and outputs is the same dynamic size.

import type { ValueType } from "../../graph/graph.ts";
import { formatShape, UNKNOWN_DIM } from "../../graph/shape.ts";

/** Shapes of the inputs of one run, by name. */
export type InputShapes = ReadonlyMap<string, readonly number[]>;

/** Whether rows of several requests may be put one behind the other, and if not, why. */
export type BatchAxis =
  | { readonly batchable: true }
  | { readonly batchable: false; readonly reason: string };

/** What the types say. Whether rows then keep to themselves is another question (`invariance.ts`). */
export function batchAxisOf(
  inputs: ReadonlyMap<string, ValueType>,
  outputs: ReadonlyMap<string, ValueType>,
): BatchAxis {
  if (inputs.size === 0) return { batchable: false, reason: "the model has no inputs" };
  const symbols = new Set<string>();
  const ends = [
    ...[...inputs].map(([name, type]) => ({ what: `input "${name}"`, type })),
    ...[...outputs].map(([name, type]) => ({ what: `output "${name}"`, type })),
  ];
  for (const { what, type } of ends) {
    const first = type.shape?.[0];
    if (typeof first !== "string") {
      const shape = type.shape === undefined ? "no known shape" : formatShape(type.shape);
      return { batchable: false, reason: `${what} has ${shape}: axis 0 is not a batch` };
    }
    if (first !== UNKNOWN_DIM) symbols.add(first);
  }
  if (symbols.size <= 1) return { batchable: true };
  const names = [...symbols].map((symbol) => `"${symbol}"`).join(" and ");
  return { batchable: false, reason: `axis 0 is ${names}: not one batch` };
}

/** The same shapes with another number of rows. */
export function withRows(shapes: InputShapes, rows: number): InputShapes {
  return new Map([...shapes].map(([name, [, ...rest]]) => [name, [rows, ...rest]]));
}

/** Rows of these inputs: their size along axis 0, 1 where there is none. */
export function rowsOf(shapes: InputShapes): number {
  for (const [first] of shapes.values()) if (first !== undefined) return first;
  return 1;
}
