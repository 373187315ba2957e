import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { limits } from "../base/limits.ts";
import { inferNode } from "../canonical/infer-node.ts";
import { GraphBuilder } from "../graph/build.ts";
import type { DType } from "../graph/dtype.ts";
import type { Attribute, Graph, Node, ValueType } from "../graph/graph.ts";
import { float32, int64, type TensorRef } from "../graph/tensor.ts";
import { valueTypes } from "../graph/value-type.test-helper.ts";
import { containerType, sequenceOf } from "../graph/value-type.ts";
import { OPS } from "./index.ts";

// Every op of the table with operands and attributes that do not fit it, nor each other.

const numbers = fc.oneof(
  fc.integer({ min: -3, max: 5 }),
  fc.constantFrom(0, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 2 ** 31),
);
const lists = fc.array(numbers, { maxLength: 5 });
const words = fc.constantFrom(
  "",
  "SAME_UPPER",
  "a...b,c->d",
  "->",
  "...",
  "__proto__",
  "mean",
  "..,",
);

const body: Graph = (() => {
  const b = new GraphBuilder();
  b.emit("Identity", ["e"], { outputs: ["r"] });
  b.output({ name: "r", dtype: "float32", shape: ["T", 2] });
  return b.finish("body", new Map([["", 20]]));
})();

const attributes: fc.Arbitrary<Attribute> = fc.oneof(
  numbers.map((value): Attribute => ({ kind: "int", value })),
  lists.map((value): Attribute => ({ kind: "ints", value })),
  fc.float().map((value): Attribute => ({ kind: "float", value })),
  fc.array(fc.float(), { maxLength: 4 }).map((value): Attribute => ({ kind: "floats", value })),
  words.map((value): Attribute => ({ kind: "string", value })),
  fc.array(words, { maxLength: 3 }).map((value): Attribute => ({ kind: "strings", value })),
  lists.map((value): Attribute => ({ kind: "tensor", value: int64([value.length], value) })),
  fc.constant<Attribute>({ kind: "graph", value: body }),
  fc.constant<Attribute>({ kind: "graphs", value: [body, body] }),
  fc.constant<Attribute>({ kind: "opaque", bytes: new Uint8Array() }),
);

/** Attributes that rules read. */
const NAMES = [
  ...["axis", "axes", "keepdims", "new_axis", "perm", "split", "pads", "kernel_shape", "strides"],
  ...["dilations", "auto_pad", "group", "output_shape", "output_padding", "ceil_mode", "blocksize"],
  ...["to", "dtype", "value", "value_ints", "shape", "allowzero", "start", "end", "equation", "k"],
  ...["num_scan_inputs", "scan_input_axes", "scan_output_axes", "body", "then_branch", "type"],
  ...[
    "hidden_size",
    "direction",
    "layout",
    "sample_size",
    "batch_dims",
    "scales",
    "starts",
    "ends",
  ],
  ...["transA", "transB", "q_num_heads", "kv_num_heads", "onesided", "inverse", "output_datatype"],
  ...["pooled_shape", "ngram_indexes", "n_targets", "targets", "cats_int64s", "inputdimensions"],
  ...["classlabels_ints", "values_tensor", "values_floats", "cast_to", "noop_with_empty_axes"],
];

const tensors: fc.Arbitrary<ValueType> = fc.record({
  dtype: fc.constantFrom<DType>("float32", "int64", "string"),
  shape: fc.option(
    fc.array(fc.oneof(fc.constantFrom("N", "?"), fc.integer({ min: 0, max: 4 })), {
      maxLength: 5,
    }),
    { nil: undefined },
  ),
});
const operands = fc.oneof(tensors, valueTypes);
const constants: fc.Arbitrary<TensorRef> = fc.oneof(
  lists.map((value) => int64([value.length], value)),
  numbers.map((value) => int64([], [value])),
  fc.array(fc.float(), { maxLength: 4 }).map((value) => float32([value.length], value)),
);
const inputs = fc.array(fc.oneof(operands, constants, fc.constant(undefined)), { maxLength: 8 });

interface Case {
  readonly node: Node;
  readonly given: ReadonlyMap<string, ValueType | TensorRef>;
  readonly opset: number;
}

function casesOf(op: string, domain: string): fc.Arbitrary<Case> {
  const named = fc.dictionary(fc.constantFrom(...NAMES), attributes, {
    maxKeys: 12,
    noNullPrototype: true,
  });
  return fc
    .tuple(inputs, named, fc.integer({ min: 0, max: 4 }), fc.constantFrom(6, 8, 11, 18, 26))
    .map(([all, chosen, outputs, opset]) => ({
      opset,
      given: new Map(all.flatMap((one, i) => (one === undefined ? [] : [[`x${i}`, one] as const]))),
      node: {
        name: "n",
        op,
        domain,
        inputs: all.map((one, i) => (one === undefined ? "" : `x${i}`)),
        outputs: Array.from({ length: outputs }, (_, i) => `y${i}`),
        attributes: new Map(Object.entries(chosen)),
      },
    }));
}

function expectPlausible(type: ValueType): void {
  if (type.container !== undefined) {
    if (type.container.kind === "sequence" && type.container.length !== undefined) {
      expect(Number.isSafeInteger(type.container.length)).toBe(true);
      expect(type.container.length).toBeGreaterThanOrEqual(0);
    }
    expectPlausible(type.container.of);
    return;
  }
  expect(type.shape?.length ?? 0).toBeLessThanOrEqual(limits.rankMax);
  for (const dim of type.shape ?? []) {
    if (typeof dim === "string") continue;
    expect(Number.isSafeInteger(dim) && dim >= 0).toBe(true);
  }
}

describe("operands and attributes that do not fit", () => {
  test.each([...OPS.values()].map((op) => [`${op.domain}/${op.type}`, op] as const))(
    "%s says what a tensor can have, or nothing",
    (_name, op) => {
      fc.assert(
        fc.property(casesOf(op.type, op.domain), ({ node, given, opset }) => {
          const typeOf = (name: string): ValueType | undefined => given.get(name);
          const types = inferNode(node, opset, {
            typeOf,
            constantOf: (name) => {
              const one = given.get(name);
              return one !== undefined && "data" in one ? one : undefined;
            },
          });
          for (const type of types) if (type !== undefined) expectPlausible(type);
          const cost = op.cost(node, node.inputs.map(typeOf), types);
          if (cost === undefined) return;
          expect(cost.flops).toBeGreaterThanOrEqual(0);
          expect(cost.bytes).toBeGreaterThanOrEqual(0);
        }),
        { numRuns: 25 },
      );
    },
  );
});

test("a slice along an axis that is not there says nothing", () => {
  const node: Node = {
    ...{ name: "n", op: "Slice", domain: "", inputs: ["x", "s", "e"], outputs: ["y"] },
    attributes: new Map(),
  };
  const two = int64([2], [0, 0]);
  const types = inferNode(node, 20, {
    typeOf: (name) => (name === "x" ? { dtype: "int8", shape: [4] } : two),
    constantOf: (name) => (name === "x" ? undefined : two),
  });
  expect(types).toEqual([{ dtype: "int8", shape: ["?"] }]);
});

test("containers within containers end", () => {
  const deep = containerType({ kind: "optional", of: sequenceOf({ dtype: "int8", shape: [] }) });
  const node: Node = {
    ...{ name: "n", op: "Optional", domain: "", inputs: ["x"], outputs: ["y"] },
    attributes: new Map(),
  };
  expect(inferNode(node, 20, { typeOf: () => deep, constantOf: () => undefined })).toEqual([
    undefined,
  ]);
});
