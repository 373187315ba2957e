// Random types of values: tensors, and containers some levels deep.

import fc from "fast-check";
import type { DType } from "./dtype.ts";
import type { ValueType } from "./graph.ts";
import { containerType, sequenceOf } from "./value-type.ts";

const dims = fc.constantFrom(1, 2, 3, "N", "M", "?");
const tensors: fc.Arbitrary<ValueType> = fc.record({
  dtype: fc.constantFrom<DType>("float32", "int64", "string"),
  shape: fc.option(fc.array(dims, { maxLength: 3 }), { nil: undefined }),
});

/** What a file, or a text, can state of a type: all but the lengths of sequences. */
export function withoutLengths(type: ValueType): ValueType {
  const { container } = type;
  if (container === undefined) return type;
  const { of } = container;
  if (container.kind === "sequence") return sequenceOf(withoutLengths(of));
  return containerType({ ...container, of: withoutLengths(of) });
}

/** Any type that a file can state, up to three levels deep, and lengths that it cannot. */
export const valueTypes: fc.Arbitrary<ValueType> = fc.letrec<{ type: ValueType }>((tie) => ({
  type: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    tensors,
    fc
      .tuple(tie("type"), fc.option(fc.nat(3)))
      .map(([of, length]) => sequenceOf(of, length ?? undefined)),
    tie("type").map((of) => containerType({ kind: "optional", of })),
    fc
      .tuple(tie("type"), fc.constantFrom<DType>("int64", "string"))
      .map(([of, key]) => containerType({ kind: "map", key, of })),
  ),
})).type;
