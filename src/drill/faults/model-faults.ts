// Models that really are slow, wrong, failing, hungry or without numbers: the faults of the drills stand in the
// file, as they would after a bad export, and no server has a hook for them.

import type { TypedBuilder } from "../../canonical/typed-builder.ts";
import { type Attribute, int, type ValueName } from "../../graph/graph.ts";
import { float32, int64, scalarOf } from "../../graph/tensor.ts";
import type { Model } from "../../onnx/model.ts";
import { castTo, reduce } from "../../ops/construct.ts";
import {
  anyOf,
  besideOutput,
  chosenRows,
  number,
  type Place,
  plusNothing,
  withFault,
} from "./place.ts";

/** Side of the matrices that a loop multiplies: an iteration takes some tens of microseconds. */
const SIDE = 48;
/** Bytes that no machine has, nor any address space (48 bits). */
const PETABYTE = 2 ** 50;

/**
 * The model with a loop behind it that burns time, about as much for each iteration; for a share of the inputs, if one
 * is named. Every iteration needs the one before and the first one the input, and the output needs the last, times 0:
 * the runtime can leave none out, and the numbers stay as they are.
 */
export function slow(
  model: Model,
  { iterations, share }: { readonly iterations: number; readonly share?: number },
): Model {
  return withFault(model, (place) => {
    const { builder, content } = place;
    const half = builder.constant(scalarOf("float64", 0.5));
    // Finite whatever the input is.
    const flags = castTo(builder, builder.emit("Less", [content, half]), "float32");
    const start = reduce(builder, "ReduceSum", flags, [0], false);
    const first = builder.emit("Expand", [start, builder.constant(int64([2], [SIDE, SIDE]))]);
    const all = builder.constant(int64([], [iterations]));
    const trips =
      share === undefined
        ? all
        : builder.emit("Mul", [anyOf(place, chosenRows(place, share)), all]);
    const attributes = { body: burningBody(builder) };
    const last = builder.emit("Loop", [trips, "", first], { attributes });
    const sum = reduce(builder, "ReduceSum", last, [0, 1], false);
    return plusNothing(place, builder.emit("Mul", [sum, number(place, 0)]));
  });
}

/** A product of matrices, kept finite by its tangent. */
function burningBody(builder: TypedBuilder): Attribute {
  const body = builder.body(`${builder.unique("burn")}/`);
  body.input(body.unique("iteration"), "int64", []);
  const go = body.input(body.unique("go"), "bool", []);
  const state = body.input(body.unique("state"), "float32", [SIDE, SIDE]);
  const values = Float32Array.from({ length: SIDE * SIDE }, (_, i) => Math.sin(i + 1) / SIDE);
  const weights = body.constant(float32([SIDE, SIDE], values), "weights");
  const next = body.emit("Tanh", [body.emit("MatMul", [state, weights])]);
  const goOn = body.emit("Identity", [go]);
  body.output({ name: goOn, dtype: "bool", shape: [] });
  body.output({ name: next, dtype: "float32", shape: [SIDE, SIDE] });
  return { kind: "graph", value: body.finish("burn", new Map([["", builder.opset]])) };
}

/**
 * The model with wrong labels for a share of the inputs: their scores stand one place off, so that another class is
 * the largest; an output without scores is off by one.
 */
export function wrong(model: Model, { share = 0.05 }: { readonly share?: number } = {}): Model {
  return withFault(model, (place) => {
    const { builder, output } = place;
    const chosen = besideOutput(place, chosenRows(place, share));
    const scores = output.shape.length > 1 && output.shape.at(-1) !== 1;
    const other = scores ? turned(place) : builder.emit("Add", [output.name, one(place)]);
    return builder.emit("Where", [chosen, other, output.name]);
  });
}

/** The last axis turned by one place. */
function turned({ builder, output }: Place): ValueName {
  const list = (value: number): ValueName => builder.constant(int64([1], [value]));
  const part = (from: number, to: number): ValueName =>
    builder.emit("Slice", [output.name, list(from), list(to), list(-1)]);
  const parts = [part(-1, Number.MAX_SAFE_INTEGER), part(0, -1)];
  return builder.emit("Concat", parts, { attributes: { axis: int(-1) } });
}

function one({ builder, output }: Place): ValueName {
  return builder.constant(scalarOf(output.dtype, 1));
}

/** The model that fails in the runtime for a share of the inputs: it gives one element the shape of many. */
export function failing(model: Model, { share = 0.02 }: { readonly share?: number } = {}): Model {
  return withFault(model, (place) => {
    const { builder } = place;
    const more = builder.constant(int64([], [1_000_000]));
    const many = builder.emit("Mul", [anyOf(place, chosenRows(place, share)), more]);
    const count = builder.emit("Add", [many, builder.constant(int64([], [1]))]);
    const shape = builder.emit("Reshape", [count, builder.constant(int64([1], [1]))]);
    const nothing = builder.emit("Reshape", [builder.constant(float32([1], [0])), shape]);
    return plusNothing(place, reduce(builder, "ReduceSum", nothing, [0], false));
  });
}

/**
 * The model that asks for far more memory than its shapes tell, for a share of the inputs. By default more than there
 * can be, so that it gets none and nothing else on the machine is in danger.
 */
export function hungry(
  model: Model,
  { share = 0.02, bytes = PETABYTE }: { readonly share?: number; readonly bytes?: number } = {},
): Model {
  return withFault(model, (place) => {
    const { builder } = place;
    const count = builder.constant(int64([], [Math.ceil(bytes / 4)]));
    const size = builder.emit("Mul", [anyOf(place, chosenRows(place, share)), count]);
    const shape = builder.emit("Reshape", [size, builder.constant(int64([1], [1]))]);
    const zeros = builder.emit("ConstantOfShape", [shape]);
    return plusNothing(place, reduce(builder, "ReduceSum", zeros, [0], false));
  });
}

/** The model that answers NaN for a share of the inputs. For outputs of floats. */
export function notNumbers(
  model: Model,
  { share = 0.02 }: { readonly share?: number } = {},
): Model {
  return withFault(model, (place) => {
    const { builder, output } = place;
    const nan = builder.constant(scalarOf(output.dtype, Number.NaN));
    const chosen = besideOutput(place, chosenRows(place, share));
    return builder.emit("Where", [chosen, nan, output.name]);
  });
}
