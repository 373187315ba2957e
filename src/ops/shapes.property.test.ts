import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import { type Attribute, int, ints, string } from "../graph/graph.ts";
import { UNKNOWN_DIM } from "../graph/shape.ts";
import { float32, int64, type Tensor } from "../graph/tensor.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { inProcessRunner } from "../runtime/in-process.ts";

// Random instances run by the real runtime: where it takes one, the rule gives its shape; where it refuses
// one, the rule may say anything that is a shape.

const OPSETS = new Map([["", 20]]);

interface Instance {
  readonly op: string;
  readonly inputs: readonly (readonly number[] | Tensor)[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
  readonly outputs?: number;
  /** ONNX and the runtime contradict each other here: nothing is said. */
  readonly mayBeUnknown?: boolean;
}

function build(instance: Instance) {
  const builder = new TypedBuilder();
  const feeds = new Map<string, Tensor>();
  const names = instance.inputs.map((input, i) => {
    if (!Array.isArray(input)) return builder.constant(input as Tensor, `c${i}`);
    const shape = input as readonly number[];
    const count = shape.reduce((a, b) => a * b, 1);
    feeds.set(`x${i}`, float32(shape, new Float32Array(count)));
    return builder.input(`x${i}`, "float32", shape);
  });
  const outputs = builder.emitAll(instance.op, names, {
    ...(instance.attributes && { attributes: instance.attributes }),
    outputCount: instance.outputs ?? 1,
  });
  const types = outputs.map((name) => builder.typeOf(name));
  for (const [i, name] of outputs.entries()) {
    builder.output({ name, dtype: types[i]?.dtype ?? "float32", shape: undefined });
  }
  return { graph: builder.finish("case", OPSETS), feeds, outputs, types };
}

/** How many instances the runtime took. */
async function compare(instance: Instance): Promise<number> {
  const { graph, feeds, outputs, types } = build(instance);
  let found: ReadonlyMap<string, Tensor>;
  try {
    await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
    found = await session.run(feeds);
  } catch {
    return 0;
  }
  for (const [i, name] of outputs.entries()) {
    const truth = found.get(name)?.shape ?? [];
    const known = types[i]?.shape?.map((dim, axis) =>
      dim === UNKNOWN_DIM && instance.mayBeUnknown === true ? truth[axis] : dim,
    );
    expect([instance, known]).toEqual([instance, truth]);
  }
  return 1;
}

async function holds(instances: fc.Arbitrary<Instance>, least: number): Promise<void> {
  let taken = 0;
  await fc.assert(
    fc.asyncProperty(instances, async (instance) => {
      taken += await compare(instance);
    }),
    { numRuns: 60 },
  );
  expect(taken).toBeGreaterThan(least);
}

const list = (values: readonly number[]): Tensor => int64([values.length], values);
const small = fc.integer({ min: 1, max: 3 });
const pair = (one: fc.Arbitrary<number>): fc.Arbitrary<[number, number]> => fc.tuple(one, one);
const side = fc.integer({ min: 4, max: 11 });

interface Window {
  readonly size: readonly number[];
  readonly attributes: Readonly<Record<string, Attribute>>;
  readonly kernel: readonly number[];
}

const windows: fc.Arbitrary<Window> = fc
  .record({
    size: pair(side),
    kernel: pair(small),
    strides: pair(small),
    dilations: pair(fc.integer({ min: 1, max: 2 })),
    pads: fc.option(fc.tuple(...Array.from({ length: 4 }, () => fc.integer({ min: 0, max: 2 })))),
    automatic: fc.constantFrom("SAME_UPPER", "SAME_LOWER", "VALID"),
  })
  .map(({ size, kernel, strides, dilations, pads, automatic }) => ({
    size,
    kernel,
    attributes: {
      kernel_shape: ints(kernel),
      strides: ints(strides),
      dilations: ints(dilations),
      ...(pads === null ? { auto_pad: string(automatic) } : { pads: ints(pads) }),
    },
  }));

describe("shape rules against the runtime, at random", () => {
  test("convolutions", () =>
    holds(
      windows.map(({ size, kernel, attributes }) => ({
        op: "Conv",
        inputs: [
          [2, 3, ...size],
          [4, 3, ...kernel],
        ],
        attributes,
      })),
      15,
    ));

  test("pooling", () =>
    holds(
      fc
        .tuple(windows, fc.constantFrom("MaxPool", "AveragePool"), fc.integer({ min: 0, max: 1 }))
        .map(([{ size, attributes }, op, ceil]) => ({
          op,
          inputs: [[1, 2, ...size]],
          attributes: { ...attributes, ceil_mode: int(ceil) },
          // A window wider than the picture is an error in ONNX.
          mayBeUnknown: "auto_pad" in attributes || Math.min(...size) < 5,
        })),
      8,
    ));

  test("transposed convolutions", () =>
    holds(
      windows.map(({ size, kernel, attributes }) => ({
        op: "ConvTranspose",
        inputs: [
          [1, 2, ...size],
          [2, 3, ...kernel],
        ],
        attributes,
        mayBeUnknown: "auto_pad" in attributes,
      })),
      8,
    ));

  test("slices, forwards and backwards, within and beyond the bounds", () =>
    holds(
      fc
        .record({
          shape: fc.tuple(side, side),
          axis: fc.integer({ min: -2, max: 1 }),
          start: fc.integer({ min: -14, max: 14 }),
          end: fc.oneof(
            fc.integer({ min: -14, max: 14 }),
            fc.constantFrom(Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER),
          ),
          step: fc.constantFrom(-3, -2, -1, 1, 2, 3),
        })
        .map(({ shape, axis, start, end, step }) => ({
          op: "Slice",
          inputs: [shape, list([start]), list([end]), list([axis]), list([step])],
        })),
      25,
    ));

  test("products of matrices", () =>
    holds(
      fc
        .record({
          left: fc.array(fc.constantFrom(1, 2), { maxLength: 2 }),
          right: fc.array(fc.constantFrom(1, 2), { maxLength: 2 }),
          rows: fc.option(small),
          columns: fc.option(small),
          inner: small,
        })
        .map(({ left, right, rows, columns, inner }) => ({
          op: "MatMul",
          inputs: [
            rows === null ? [inner] : [...left, rows, inner],
            columns === null ? [inner] : [...right, inner, columns],
          ],
        })),
      25,
    ));

  test("reductions over any axes", () =>
    holds(
      fc
        .record({
          op: fc.constantFrom("ReduceSum", "ReduceMax", "ReduceProd", "ReduceLogSumExp"),
          shape: fc.array(small, { minLength: 1, maxLength: 4 }),
          axes: fc.uniqueArray(fc.integer({ min: -4, max: 3 }), { maxLength: 3 }),
          keep: fc.integer({ min: 0, max: 1 }),
          noop: fc.integer({ min: 0, max: 1 }),
        })
        .map(({ op, shape, axes, keep, noop }) => ({
          op,
          inputs: [shape, list(axes)],
          attributes: { keepdims: int(keep), noop_with_empty_axes: int(noop) },
        })),
      8,
    ));

  test("resizing by any scale", () =>
    holds(
      fc
        .record({ size: pair(side), scale: pair(fc.float({ min: 0.25, max: 3, noNaN: true })) })
        .map(({ size, scale }) => ({
          op: "Resize",
          inputs: [[1, 1, ...size], float32([0], []), float32([4], [1, 1, ...scale])],
          attributes: { mode: string("nearest") },
        })),
      25,
    ));
});

describe("what no tensor can have", () => {
  const dim = fc.integer({ min: -3, max: 3 });
  test("is said to be unknown, whatever a file asks for", () => {
    fc.assert(
      fc.property(
        fc.constantFrom("Conv", "MaxPool", "ConvTranspose", "Pad", "ConstantOfShape", "Reshape"),
        fc.tuple(dim, dim),
        fc.array(dim, { maxLength: 6 }),
        (op, pairOfInts, longer) => {
          const { types } = build({
            op,
            inputs: op === "ConstantOfShape" ? [list(longer)] : [[1, 2, 3, 3], list(longer)],
            attributes: {
              kernel_shape: ints(pairOfInts),
              strides: ints(longer),
              dilations: ints(pairOfInts),
              pads: ints(longer),
            },
          });
          for (const size of types[0]?.shape ?? []) {
            if (size !== UNKNOWN_DIM)
              expect(Number.isSafeInteger(size) && Number(size) >= 0).toBe(true);
          }
        },
      ),
    );
  });
});
