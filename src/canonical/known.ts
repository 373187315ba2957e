// What inference knows of the values around a node, as its parts ask each other for it.

import type { ValueName, ValueType } from "../graph/graph.ts";
import type { Dim } from "../graph/shape.ts";
import type { TensorRef } from "../graph/tensor.ts";

/** Entries of an integer scalar (rank 0) or list (rank 1); `tensor` where all are numbers. */
export interface Content {
  readonly entries: readonly Dim[];
  readonly rank: 0 | 1;
  readonly tensor: TensorRef | undefined;
}

/** What is known of values around a node. */
export interface KnownValues {
  typeOf(name: ValueName): ValueType | undefined;
  constantOf(name: ValueName): TensorRef | undefined;
  /** Integers that are computed from shapes; left out where nothing follows them. */
  contentOf?(name: ValueName): Content | undefined;
}
