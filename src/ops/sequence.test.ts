import { create, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import { GraphBuilder } from "../graph/build.ts";
import { type Attribute, type Graph, int, type Value, type ValueType } from "../graph/graph.ts";
import type { Shape } from "../graph/shape.ts";
import { bytesOf, float32, int64, type Tensor, tensor } from "../graph/tensor.ts";
import { containerType, sequenceOf, typeOnly } from "../graph/value-type.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { AttributeProtoSchema, TypeProtoSchema } from "../onnx/proto/onnx_pb.js";
import { typeTo } from "../onnx/types.ts";
import { encodeModel } from "../onnx/write.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import { fits } from "./shapes.test-helper.ts";

const OPSETS = new Map([["", 20]]);
const float = (...shape: Shape): ValueType => ({ dtype: "float32", shape });
const UNKNOWN: ValueType = { dtype: "float32", shape: undefined };

/** What is done to a sequence, one after the other. */
type Step =
  | { readonly kind: "insert"; readonly shape: readonly number[]; readonly at?: number }
  | { readonly kind: "erase"; readonly at?: number };

const dims = fc.array(fc.integer({ min: 1, max: 2 }), { minLength: 1, maxLength: 2 });
const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("insert" as const), shape: dims }) },
    fc.constant({ kind: "erase" as const }),
    fc.record({ kind: fc.constant("insert" as const), shape: dims, at: fc.constant(0) }),
  ),
  { maxLength: 6 },
);

function apply(b: TypedBuilder, start: string, all: readonly Step[]): string {
  let now = start;
  for (const step of all) {
    const position = step.at === undefined ? [] : [b.constant(int64([], [step.at]))];
    if (step.kind === "erase") now = b.emit("SequenceErase", [now, ...position]);
    else {
      const count = step.shape.reduce((x, y) => x * y, 1);
      const added = b.constant(float32(step.shape, new Float32Array(count)));
      now = b.emit("SequenceInsert", [now, added, ...position]);
    }
  }
  return now;
}

/** Outputs by name; undefined where the runtime refuses. */
async function run(b: TypedBuilder, names: readonly string[]) {
  for (const name of names) b.output({ name, dtype: "float32", shape: undefined });
  const graph = b.finish("case", OPSETS);
  const outputs: Value[] = names.map((name) => ({ name, ...(b.typeOf(name) ?? UNKNOWN) }));
  try {
    const bytes = encodeModel(modelOf({ ...graph, outputs }));
    await using session = await inProcessRunner().load({ bytes });
    return await session.run(new Map());
  } catch {
    return undefined;
  }
}

function numberIn(value: Tensor | undefined): number | undefined {
  return value && Number(new BigInt64Array(value.data.bytes.slice().buffer)[0]);
}

describe("sequences against the runtime", () => {
  test("any insertions and removals: lengths and elements", async () => {
    let taken = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(dims, { maxLength: 3 }), steps, async (first, all) => {
        const b = new TypedBuilder();
        const parts = first.map((shape) =>
          b.constant(float32(shape, new Float32Array(shape.reduce((x, y) => x * y, 1)))),
        );
        const start =
          parts.length === 0 ? b.emit("SequenceEmpty", []) : b.emit("SequenceConstruct", parts);
        const built = apply(b, start, all);
        const size = b.emit("SequenceLength", [built]);
        const container = b.typeOf(built)?.container;
        expect(container?.kind).toBe("sequence");
        const length = container?.kind === "sequence" ? container.length : undefined;
        const found = await run(b, [size]);
        if (found === undefined) return;
        taken++;
        expect(length).toBe(numberIn(found.get(size)));
        const elements = Array.from({ length: length ?? 0 }, (_, i) =>
          b.emit("SequenceAt", [built, b.constant(int64([], [i]))]),
        );
        if (elements.length === 0) return;
        const shapes = await run(b, elements);
        for (const name of elements) fits(b.typeOf(name), shapes?.get(name)?.shape ?? []);
      }),
      { numRuns: 40 },
    );
    expect(taken).toBeGreaterThan(15);
  });

  const splits = fc.record({
    shape: fc.tuple(fc.integer({ min: 1, max: 7 }), fc.integer({ min: 1, max: 7 })),
    axis: fc.integer({ min: -2, max: 1 }),
    by: fc.oneof(
      fc.constant(undefined),
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 3 }),
    ),
    keepdims: fc.constantFrom(0, 1),
    newAxis: fc.constantFrom(0, 1),
  });

  test("parts of a tensor, and their joining", async () => {
    let taken = 0;
    await fc.assert(
      fc.asyncProperty(splits, async ({ shape, axis, by, keepdims, newAxis }) => {
        const b = new TypedBuilder();
        const x = b.constant(float32(shape, new Float32Array(shape[0] * shape[1])));
        const sizes =
          by === undefined
            ? []
            : [b.constant(typeof by === "number" ? int64([], [by]) : int64([by.length], by))];
        const parts = b.emit("SplitToSequence", [x, ...sizes], {
          attributes: { axis: int(axis), keepdims: int(keepdims) },
        });
        const size = b.emit("SequenceLength", [parts]);
        const last = b.emit("SequenceAt", [parts, b.constant(int64([], [-1]))]);
        const joined = b.emit("ConcatFromSequence", [parts], {
          attributes: { axis: int(0), new_axis: int(newAxis) },
        });
        const [lengths, ends, whole] = [
          await run(b, [size]),
          await run(b, [last]),
          await run(b, [joined]),
        ];
        const container = b.typeOf(parts)?.container;
        const length = container?.kind === "sequence" ? container.length : undefined;
        if (lengths !== undefined) {
          taken++;
          expect(length).toBe(numberIn(lengths.get(size)));
        }
        if (ends !== undefined) fits(b.typeOf(last), ends.get(last)?.shape ?? []);
        if (whole !== undefined) fits(b.typeOf(joined), whole.get(joined)?.shape ?? []);
      }),
      { numRuns: 40 },
    );
    expect(taken).toBeGreaterThan(15);
  });
});

describe("what is said of sequences", () => {
  /** The type of a node's first output, for inputs of these types. */
  function typeOf(
    op: string,
    inputs: readonly ValueType[],
    attributes: Readonly<Record<string, Attribute>> = {},
  ): ValueType | undefined {
    const b = new GraphBuilder();
    const names = inputs.map((_, i) => `x${i}`);
    b.emit(op, names, { attributes, outputs: ["y"] });
    const graph = b.finish("case", OPSETS);
    const values = inputs.map((type, i) => ({ name: `x${i}`, ...type }));
    const found = inferShapes({ ...graph, inputs: values }).values.get("y");
    return found && typeOnly(found);
  }
  const along = (axis: number): Record<string, Attribute> => ({ axis: int(axis) });

  test("one type stands for all elements, a dim where they agree", () => {
    expect(typeOf("SequenceConstruct", [float("N", 2), float("N", 3)])).toEqual(
      sequenceOf(float("N", "?"), 2),
    );
    expect(typeOf("SequenceConstruct", [float(2), float(2, 3)])).toEqual(sequenceOf(UNKNOWN, 2));
    expect(typeOf("SequenceInsert", [sequenceOf(float(2, 3)), float(2, 4)])).toEqual(
      sequenceOf(float(2, "?")),
    );
    expect(typeOf("SequenceInsert", [sequenceOf(UNKNOWN), float(2)])).toEqual(sequenceOf(UNKNOWN));
    expect(typeOf("SequenceAt", [sequenceOf(float(2, "N")), float()])).toEqual(float(2, "N"));
    expect(typeOf("SequenceEmpty", [], { dtype: int(7) })).toEqual(
      sequenceOf({ dtype: "int64", shape: undefined }, 0),
    );
  });

  test("joined, elements of one size give as many times that; along a new axis, as many", () => {
    const three = sequenceOf(float(2, 4), 3);
    expect(typeOf("ConcatFromSequence", [three], along(1))).toEqual(float(2, 12));
    const stacked = { ...along(-1), new_axis: int(1) };
    expect(typeOf("ConcatFromSequence", [three], stacked)).toEqual(float(2, 4, 3));
    const some = sequenceOf(float(2, "N"));
    expect(typeOf("ConcatFromSequence", [some], along(0))).toEqual(float("?", "N"));
    expect(typeOf("ConcatFromSequence", [some], along(5))).toEqual(UNKNOWN);
    expect(typeOf("ConcatFromSequence", [some])).toEqual(UNKNOWN);
  });

  test("to a rule about tensors, a container is an operand of unknown type", () => {
    const sequence = sequenceOf(float(2, 3));
    for (const op of ["Relu", "MatMul", "Concat", "Reshape", "Transpose", "Gather", "Softmax"]) {
      expect(typeOf(op, [sequence, sequence])?.shape).toBeUndefined();
    }
    expect(typeOf("Shape", [sequence])).toEqual({ dtype: "int64", shape: ["?"] });
    expect(typeOf("Identity", [sequence])).toEqual(sequence);
    // And the other way round.
    for (const op of ["SequenceAt", "SequenceErase", "SequenceInsert", "ConcatFromSequence"]) {
      expect(typeOf(op, [float(2, 3), float(2)], along(0))).toBeUndefined();
    }
    expect(typeOf("SequenceConstruct", [sequence])).toBeUndefined();
  });

  test("an optional holds a tensor or a sequence, given or stated, and nothing deeper", () => {
    const optional = (of: ValueType): ValueType => containerType({ kind: "optional", of });
    const sequence = sequenceOf(float(2, 3));
    for (const of of [float(2, "N"), sequence]) {
      expect(typeOf("Optional", [of])).toEqual(optional(of));
      expect(typeOf("OptionalGetElement", [optional(of)])).toEqual(of);
      expect(typeOf("OptionalGetElement", [of])).toEqual(of);
      const tp = create(TypeProtoSchema, typeTo(of));
      const bytes = toBinary(AttributeProtoSchema, create(AttributeProtoSchema, { tp }));
      expect(typeOf("Optional", [], { type: { kind: "opaque", bytes } })).toEqual(optional(of));
    }
    expect(typeOf("Optional", [optional(float(2))])).toBeUndefined();
    expect(typeOf("Optional", [sequenceOf(sequence)])).toBeUndefined();
    expect(typeOf("OptionalHasElement", [])).toEqual({ dtype: "bool", shape: [] });
  });

  test("more taken out than there is leaves the length unknown", () => {
    expect(typeOf("SequenceErase", [sequenceOf(float(2), 0)])).toEqual(sequenceOf(float(2)));
  });
});

/** A body that takes and gives one value. */
function bodyOf(
  emit: (b: GraphBuilder) => void,
  inputs: readonly string[],
  outputs: readonly string[],
) {
  const b = new GraphBuilder();
  emit(b);
  for (const name of outputs) b.output({ name, dtype: "float32", shape: undefined });
  const graph = b.finish("body", OPSETS);
  const values = inputs.map((name) => ({ name, dtype: "float32" as const, shape: undefined }));
  return { kind: "graph" as const, value: { ...graph, inputs: values } };
}

describe("sequences and bodies", () => {
  test("a map has the results of its body for each element", () => {
    const b = new GraphBuilder();
    const body = bodyOf(
      (inner) => {
        inner.emit("MatMul", ["e", "t"], { outputs: ["p"] });
        inner.emit("Shape", ["e"], { outputs: ["s"] });
      },
      ["e", "t"],
      ["p", "s"],
    );
    b.input("w", "float32", [3, 5]);
    b.emit("SequenceMap", ["xs", "w"], { attributes: { body }, outputs: ["ps", "ss"] });
    const xs = { name: "xs", ...sequenceOf(float("T", 3)) };
    const graph = b.finish("g", OPSETS);
    const found = inferShapes({ ...graph, inputs: [...graph.inputs, xs] }).values;
    // The size named T may be another in each element.
    expect(found.get("ps")?.container).toEqual(sequenceOf(float("?", 5)).container);
    const shapes = sequenceOf({ dtype: "int64", shape: [2] });
    expect(found.get("ss")?.container).toEqual(shapes.container);
  });

  /** Starts with nothing and adds x in each iteration. */
  function gathering(): Graph {
    const b = new GraphBuilder();
    b.input("x", "float32", [2, 3]);
    b.initializer("n", int64([], [4]));
    b.initializer("yes", tensor("bool", [], Uint8Array.of(1)));
    const body = bodyOf(
      (inner) => {
        inner.emit("Identity", ["c"], { outputs: ["c2"] });
        inner.emit("SequenceInsert", ["s", "x"], { outputs: ["s2"] });
      },
      ["i", "c", "s"],
      ["c2", "s2"],
    );
    b.emit("SequenceEmpty", [], { outputs: ["none"] });
    b.emit("Loop", ["n", "yes", "none"], { attributes: { body }, outputs: ["all"] });
    b.emit("ConcatFromSequence", ["all"], { attributes: { axis: int(0) }, outputs: ["y"] });
    b.output({ name: "y", dtype: "float32", shape: undefined });
    return b.finish("g", OPSETS);
  }

  test("a loop that gathers results gives a sequence, whose length it does not say", async () => {
    const graph = inferShapes(gathering());
    expect(graph.values.get("all")?.container).toEqual(sequenceOf(UNKNOWN).container);
    expect(graph.values.get("y")?.shape).toBeUndefined();
    // The types that were found are those that the runtime wants.
    await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
    const x = tensor("float32", [2, 3], bytesOf(new Float32Array(6)));
    expect((await session.run(new Map([["x", x]]))).get("y")?.shape).toEqual([8, 3]);
  });

  test("a second inference has nothing to add", () => {
    const once = inferShapes(gathering());
    expect(inferShapes(once)).toBe(once);
  });
});
