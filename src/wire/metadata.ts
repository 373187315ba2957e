// How the protocol describes a model's inputs and outputs.

import type { ValueType } from "../graph/graph.ts";
import type { Shape } from "../graph/shape.ts";
import { datatypeOf } from "./datatype.ts";

/** How metadata describes a tensor: unknown and symbolic dims are -1. */
export interface TensorMetadata {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
}

/** Metadata of a model's inputs or outputs. */
export function tensorMetadata(values: ReadonlyMap<string, ValueType>): TensorMetadata[] {
  return [...values].map(([name, { dtype, shape }]) => ({
    name,
    datatype: datatypeOf(dtype),
    shape: protocolDims(shape),
  }));
}

/** Dims as numbers; none where nothing is known of the shape. */
export function protocolDims(shape: Shape | undefined): number[] {
  return (shape ?? []).map((dim) => (typeof dim === "number" ? dim : -1));
}
