// Where a fault is put into a model: behind its first output of numbers, with a number for each row that only
// the row's content decides, so that the same request always meets the same fault.

import { diagnostic } from "../../base/diagnostic.ts";
import { SkipwayError } from "../../base/errors.ts";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import { TypedBuilder } from "../../canonical/typed-builder.ts";
import type { DType } from "../../graph/dtype.ts";
import { int, type Value, type ValueName } from "../../graph/graph.ts";
import { float32, int64, scalarOf } from "../../graph/tensor.ts";
import type { Model } from "../../onnx/model.ts";
import { withGraph } from "../../onnx/onnx-model.ts";
import { castTo, reduce } from "../../ops/construct.ts";
import { renameValues } from "../../passes/gradient/rename.ts";

/** A model that is being made faulty. */
export interface Place {
  readonly builder: TypedBuilder;
  /** The output as the model computes it. */
  readonly output: Value & { readonly shape: readonly unknown[] };
  /** For each row a number in [0, 1), float64 `[N]`. */
  readonly content: ValueName;
}

/** ReduceSum takes its axes as an input since then. */
const OPSET_MIN = 13;
const NUMBERS: ReadonlySet<DType> = new Set([
  ...(["float32", "float64", "float16", "int64", "int32"] as const),
]);
/** Irrational factors: the sums of like rows are spread over [0, 1) evenly. */
const MIXING = [1000.618_033_988_7, 777.414_213_562_4] as const;

/**
 * The model with another output in the place of its first one; `change` says which, and keeps its type and shape.
 *
 * @throws SkipwayError `input` for a model without an input and an output of numbers with rows, or of an operator set
 * before 13.
 */
export function withFault(model: Model, change: (place: Place) => ValueName): Model {
  const typed = inferShapes(model.graph);
  const isInput = (name: ValueName): boolean => typed.inputs.some((one) => one.name === name);
  const input = typed.inputs.find((one) => hasRows(one) && !typed.initializers.has(one.name));
  const at = typed.outputs.findIndex((one) => hasRows(one) && !isInput(one.name));
  const wanted = typed.outputs[at];
  const opset = typed.opsets.get("") ?? 0;
  if (input === undefined || wanted === undefined || opset < OPSET_MIN) throw noPlace(model, opset);
  const graph = renameValues(typed, [wanted.name]);
  const inner = graph.outputs[at];
  if (inner?.shape === undefined) throw noPlace(model, opset);
  const values = new Map([...graph.values, [inner.name, inner] as const]);
  const builder = new TypedBuilder({ ...graph, values });
  const content = contentOf(builder, input.name);
  const changed = change({ builder, output: { ...inner, shape: inner.shape }, content });
  builder.emit("Identity", [changed], { outputs: [wanted.name] });
  for (const output of typed.outputs) builder.output(output);
  const { opsets, metadata, name, functions } = graph;
  const done = builder.finish(name, opsets, metadata);
  return withGraph(model, functions === undefined ? done : { ...done, functions });
}

function hasRows({ dtype, shape, container }: Value): boolean {
  return NUMBERS.has(dtype) && container === undefined && (shape?.length ?? 0) > 0;
}

/** From the sum of a row's elements and of their squares: these do not depend on the rows beside it. */
function contentOf(builder: TypedBuilder, input: ValueName): ValueName {
  const rows = builder.emit("Flatten", [castTo(builder, input, "float64")], {
    attributes: { axis: int(1) },
  });
  const sums = [rows, builder.emit("Mul", [rows, rows])].map((terms, i) => {
    const factor = builder.constant(scalarOf("float64", MIXING[i] ?? 1));
    return builder.emit("Mul", [reduce(builder, "ReduceSum", terms, [1], false), factor]);
  });
  const mixed = builder.emit("Add", sums);
  return builder.emit("Sub", [mixed, builder.emit("Floor", [mixed])]);
}

/** Which rows are chosen, bool `[N]`: about this share of them. */
export function chosenRows({ builder, content }: Place, share: number): ValueName {
  return builder.emit("Less", [content, builder.constant(scalarOf("float64", share))]);
}

/** One number for each row beside an output of any rank: `[N, 1, …]`. */
export function besideOutput({ builder, output }: Place, rows: ValueName): ValueName {
  const shape = [-1, ...output.shape.slice(1).map(() => 1)];
  return builder.emit("Reshape", [rows, builder.constant(int64([shape.length], shape))]);
}

/** The output with a number added that is 0 and has to be computed all the same. */
export function plusNothing({ builder, output }: Place, zero: ValueName): ValueName {
  return builder.emit("Add", [output.name, castTo(builder, zero, output.dtype)]);
}

/** 1 where any row is chosen, else 0: int64 without axes. */
export function anyOf({ builder }: Place, chosen: ValueName): ValueName {
  const flags = castTo(builder, chosen, "int64");
  const count = reduce(builder, "ReduceSum", flags, [0], false);
  const some = builder.emit("Greater", [count, builder.constant(int64([], [0]))]);
  return castTo(builder, some, "int64");
}

/** A float32 constant without axes. */
export function number({ builder }: Pick<Place, "builder">, value: number): ValueName {
  return builder.constant(float32([], [value]));
}

function noPlace(model: Model, opset: number): SkipwayError {
  const old = opset < OPSET_MIN;
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "drill/no-place",
      severity: "error",
      where: model.path ?? "model",
      text: old
        ? `is of operator set ${opset}; a fault is put in with ops of ${OPSET_MIN}`
        : "has no input and output of numbers with rows, so no fault can be put between them",
      fix: old
        ? `Export the model again with opset_version=${OPSET_MIN} or later.`
        : "Use a model that takes and gives tensors of numbers.",
    }),
  ]);
}
