// Recurrent networks as one op. Its gradient is that of the same layer written as a Scan over time.

import {
  floatAttribute,
  int,
  intAttribute,
  ints,
  type Node,
  stringAttribute,
  type ValueName,
} from "../graph/graph.ts";
import { UNKNOWN_DIM } from "../graph/shape.ts";
import { arithmetic } from "./arithmetic.ts";
import { type Activation, activationOf, CELLS, type CellKind } from "./cell.ts";
import {
  castTo,
  knownShape,
  noGradient,
  scalarLike,
  shapeConstant,
  sizesOf,
  transpose,
} from "./construct.ts";
import type { NodeContext, OpDef, ShapeRule } from "./op.ts";
import { defineOp, perOutput, typed } from "./rules.ts";

/** Y, the last state of each direction, and for LSTM the last cell (layout 1: the batch in front). */
const recurrentShape: ShapeRule = (c) => {
  const x = c.input(0);
  const hidden = intAttribute(c.node, "hidden_size") ?? c.input(2)?.shape?.[2] ?? UNKNOWN_DIM;
  const directions = directionsOf(c.node).length;
  const batchFirst = isBatchFirst(c.node);
  if (x?.shape?.length !== 3) return [];
  const [first = UNKNOWN_DIM, second = UNKNOWN_DIM] = x.shape;
  const [steps, batch] = batchFirst ? [second, first] : [first, second];
  const all = batchFirst ? [batch, steps, directions, hidden] : [steps, directions, batch, hidden];
  const last = batchFirst ? [batch, directions, hidden] : [directions, batch, hidden];
  const outputs = [typed(x.dtype, all), typed(x.dtype, last)];
  return c.node.op.endsWith("LSTM") ? [...outputs, typed(x.dtype, last)] : outputs;
};

function isBatchFirst(node: Node): boolean {
  return intAttribute(node, "layout", 0) === 1;
}

/** Of each direction, whether it runs from the end. */
function directionsOf(node: Node): readonly boolean[] {
  switch (stringAttribute(node, "direction", "forward")) {
    case "bidirectional":
      return [false, true];
    case "reverse":
      return [true];
    default:
      return [false];
  }
}

/** Activations of all directions, one direction's after the other's. */
function activationsOf(node: Node, kind: CellKind, directions: number): readonly Activation[] {
  const given = node.attributes.get("activations");
  const usual = Array.from({ length: directions }, () => kind.activations).flat();
  const names = given?.kind === "strings" ? given.value : usual;
  const [alpha, beta] = ["activation_alpha", "activation_beta"].map((name) => {
    const attribute = node.attributes.get(name);
    const left = attribute?.kind === "floats" ? [...attribute.value] : [];
    return () => left.shift();
  });
  return names.map((name) => {
    const found = alpha && beta && activationOf(name, alpha, beta);
    if (found === undefined) throw noGradient(node, `its activation "${name}" is not known`);
    return found;
  });
}

/** Keeps values within ±limit, where there is a limit. */
function clipOf(node: Node): Activation {
  const limit = floatAttribute(node, "clip", Number.POSITIVE_INFINITY);
  if (limit === Number.POSITIVE_INFINITY) return (_context, x) => x;
  return (context, x) =>
    context.emit("Clip", [x, scalarLike(context, x, -limit), scalarLike(context, x, limit)]);
}

/** A layer with time in front, seen from all directions. */
interface Layer {
  readonly context: NodeContext;
  readonly kind: CellKind;
  readonly hidden: number;
  /** `[steps, batch, width]`. */
  readonly x: ValueName;
  /** Lengths of the sequences, int64 `[batch]`; undefined where all are as long as x. */
  readonly lengths: ValueName | undefined;
  readonly activations: readonly Activation[];
}

/** Whether each sequence has each step yet: bool `[steps, batch, 1]`. */
function validSteps({ context, x }: Layer, lengths: ValueName): ValueName {
  const scalar = (value: number): ValueName => scalarLike(context, lengths, value);
  const count = context.emit("Squeeze", [sizesOf(context, x, [0])]);
  const steps = context.emit("Range", [scalar(0), count, scalar(1)]);
  const down = context.emit("Unsqueeze", [steps, shapeConstant(context, [1, 2])]);
  return context.emit("Less", [
    down,
    context.emit("Unsqueeze", [lengths, shapeConstant(context, [0, 2])]),
  ]);
}

/** One direction of an operand whose first axis is directions. */
function ofDirection({ context }: Layer, name: ValueName, d: number): ValueName {
  return context.emit("Gather", [name, context.emit("Squeeze", [shapeConstant(context, [d])])], {
    attributes: { axis: int(0) },
  });
}

/** Initial h and c of a direction: inputs 5 and 6, or zeros. */
function initialStates(layer: Layer, d: number): ValueName[] {
  const { context, kind, x, hidden } = layer;
  return Array.from({ length: kind.states }, (_, i) => {
    const given = context.node.inputs[5 + i] ?? "";
    if (given !== "") {
      const first = isBatchFirst(context.node) ? transpose(context, given, [1, 0, 2]) : given;
      return ofDirection(layer, first, d);
    }
    const size = context.emit(
      "Concat",
      [sizesOf(context, x, [1]), shapeConstant(context, [hidden])],
      {
        attributes: { axis: int(0) },
      },
    );
    return context.emit("Expand", [scalarLike(context, x, 0), size]);
  });
}

/** Biases that can be added to x·Wᵀ for all steps at once, and the one that a reset keeps inside. */
function biasesOf(
  layer: Layer,
  d: number,
): { outside: ValueName | undefined; late: ValueName | undefined } {
  const { context, kind, hidden } = layer;
  const { node } = context;
  const given = node.inputs[3] ?? "";
  if (given === "") return { outside: undefined, late: undefined };
  const rows = kind.gates * hidden;
  const [own = "", recurrent = ""] = parts(context, ofDirection(layer, given, d), [rows, rows]);
  if (node.op !== "GRU") return { outside: context.emit("Add", [own, recurrent]), late: undefined };
  const [gates = "", late = ""] = parts(context, recurrent, [2 * hidden, hidden]);
  const none = context.emit("Expand", [
    scalarLike(context, late, 0),
    shapeConstant(context, [hidden]),
  ]);
  const early = context.emit("Concat", [gates, none], { attributes: { axis: int(0) } });
  return { outside: context.emit("Add", [own, early]), late };
}

function parts(context: NodeContext, x: ValueName, sizes: readonly number[]): readonly ValueName[] {
  return context.emitAll("Split", [x, shapeConstant(context, sizes)], {
    attributes: { axis: int(0) },
    outputCount: sizes.length,
  });
}

/** Turns each sequence around, within its own length. */
function reversedWithin({ context, lengths = "" }: Layer, x: ValueName): ValueName {
  return context.emit("ReverseSequence", [x, lengths], {
    attributes: { time_axis: int(0), batch_axis: int(1) },
  });
}

/** One direction: the results of all steps `[steps, batch, hidden]`, and the last states. */
function runDirection(
  layer: Layer,
  d: number,
  backwards: boolean,
): { y: ValueName; last: readonly ValueName[] } {
  const { context, kind, hidden, lengths } = layer;
  const { node } = context;
  const turned = backwards && lengths !== undefined;
  const x = turned ? reversedWithin(layer, layer.x) : layer.x;
  const weights = transpose(context, ofDirection(layer, node.inputs[1] ?? "", d), [1, 0]);
  const product = context.emit("MatMul", [x, weights]);
  const { outside, late } = biasesOf(layer, d);
  const driven = outside === undefined ? product : context.emit("Add", [product, outside]);
  const r = ofDirection(layer, node.inputs[2] ?? "", d);
  const peephole = node.op === "LSTM" ? (node.inputs[7] ?? "") : "";
  const peepholes =
    peephole === ""
      ? []
      : parts(context, ofDirection(layer, peephole, d), [hidden, hidden, hidden]);
  const step = kind.step({
    linearBeforeReset: intAttribute(node, "linear_before_reset", 0) !== 0,
    inputForget: intAttribute(node, "input_forget", 0) !== 0,
  });
  const count = kind.activations.length;
  const fixed = {
    hidden,
    r,
    lateBias: late,
    peepholes,
    activations: layer.activations.slice(d * count, (d + 1) * count),
    clip: clipOf(node),
  };
  const initial = initialStates(layer, d);
  const { dtype, shape } = {
    dtype: context.typeOf(x)?.dtype ?? "float32",
    shape: knownShape(context, x, node),
  };
  const batch = shape[1] ?? UNKNOWN_DIM;
  const valid = lengths === undefined ? [] : [validSteps(layer, lengths)];
  const types = [
    ...initial.map(() => ({ dtype, shape: [batch, hidden] })),
    { dtype, shape: [batch, kind.gates * hidden] },
    ...valid.map(() => ({ dtype: "bool" as const, shape: [batch, 1] })),
  ];
  const body = context.bodyOf(`${node.name}/step`, types, (inside, inputs) => {
    const state = inputs.slice(0, kind.states);
    const [xw = "", runs] = inputs.slice(kind.states);
    const next = step(inside, { ...fixed, x: xw }, state);
    if (runs === undefined) return [...next, next[0] ?? ""];
    const a = arithmetic(inside, xw);
    const kept = next.map((value, i) => a.where(runs, value, state[i] ?? ""));
    return [...kept, a.where(runs, next[0] ?? "", 0)];
  });
  const outputs = context.emitAll("Scan", [...initial, driven, ...valid], {
    attributes: {
      body,
      num_scan_inputs: int(1 + valid.length),
      scan_input_directions: ints([driven, ...valid].map(() => Number(backwards && !turned))),
      scan_output_directions: ints([Number(backwards && !turned)]),
    },
    outputCount: kind.states + 1,
  });
  const y = outputs[kind.states] ?? "";
  return { y: turned ? reversedWithin(layer, y) : y, last: outputs.slice(0, kind.states) };
}

/** The layer as one Scan for each direction, with x·Wᵀ of all steps in front. */
function decompose(context: NodeContext): readonly ValueName[] {
  const { node } = context;
  const kind = CELLS[node.op];
  const [given = "", , r = "", , lengths = ""] = node.inputs;
  const hidden = intAttribute(node, "hidden_size") ?? knownShape(context, r, node)[2];
  if (kind === undefined || typeof hidden !== "number") {
    throw noGradient(node, "the size of its state must be known");
  }
  const batchFirst = isBatchFirst(node);
  const directions = directionsOf(node);
  const layer: Layer = {
    context,
    kind,
    hidden,
    x: batchFirst ? transpose(context, given, [1, 0, 2]) : given,
    lengths: lengths === "" ? undefined : castTo(context, lengths, "int64"),
    activations: activationsOf(node, kind, directions.length),
  };
  const results = directions.map((backwards, d) => runDirection(layer, d, backwards));
  const stack = (
    values: readonly ValueName[],
    axis: number,
    perm: readonly number[],
  ): ValueName => {
    const apart = values.map((v) => context.emit("Unsqueeze", [v, shapeConstant(context, [axis])]));
    const all = context.emit("Concat", apart, { attributes: { axis: int(axis) } });
    return batchFirst ? transpose(context, all, perm) : all;
  };
  const last = (i: number): ValueName =>
    stack(
      results.map((result) => result.last[i] ?? ""),
      0,
      [1, 0, 2],
    );
  const y = stack(
    results.map((result) => result.y),
    1,
    [2, 0, 1, 3],
  );
  return [y, ...Array.from({ length: kind.states }, (_, i) => last(i))];
}

/** With weights in integers, transposed, and their scales behind the peepholes (ONNX Runtime, contributed ops). */
const dynamicQuantizeLstm = defineOp("DynamicQuantizeLSTM", {
  domain: "com.microsoft",
  shape: recurrentShape,
  cost: perOutput(8),
  gradient: {
    because:
      "it computes with integers (differentiate the model as it was before it was quantized)",
  },
  inSteps: true,
});

/** All ops of this family. */
export const recurrents: readonly OpDef[] = [
  dynamicQuantizeLstm,
  ...Object.keys(CELLS).map((type) =>
    defineOp(type, {
      shape: recurrentShape,
      cost: perOutput(8),
      saves: { inputs: [0, 1, 2], outputs: [0] },
      gradient: { decompose },
    }),
  ),
];
