// One step of the recurrent layers, from the equations of ONNX LSTM-22, GRU-22 and RNN-22.

import { float, int, type ValueName } from "../graph/graph.ts";
import { arithmetic } from "./arithmetic.ts";
import { shapeConstant, transpose } from "./construct.ts";
import type { Emitter } from "./op.ts";

/** Adds an activation to a graph. */
export type Activation = (context: Emitter, x: ValueName) => ValueName;

/** What a step reads besides the state. Gates stand in the order of the standard, `hidden` columns each. */
export interface CellInputs {
  readonly hidden: number;
  /** x·Wᵀ with the biases that can be added outside, `[batch, gates·hidden]`. */
  readonly x: ValueName;
  /** R, `[gates·hidden, hidden]`. */
  readonly r: ValueName;
  /** GRU: the bias of the hidden gate inside the reset, `[hidden]`. */
  readonly lateBias: ValueName | undefined;
  /** LSTM: of input, output and forget gate, `[hidden]` each. */
  readonly peepholes: readonly ValueName[];
  readonly activations: readonly Activation[];
  /** Keeps what goes into an activation within the layer's limits. */
  readonly clip: Activation;
}

/** h, and for LSTM c: `[batch, hidden]`. */
export type CellState = readonly ValueName[];

/** Computes the next state. */
export type Step = (context: Emitter, inputs: CellInputs, state: CellState) => CellState;

/** Variants of the equations, as attributes have them. */
export interface CellForm {
  readonly linearBeforeReset: boolean;
  readonly inputForget: boolean;
}

/** A kind of recurrent layer. */
export interface CellKind {
  readonly gates: number;
  readonly states: number;
  readonly activations: readonly string[];
  readonly step: (form: CellForm) => Step;
}

function timesTransposed(context: Emitter, h: ValueName, weights: ValueName): ValueName {
  return context.emit("MatMul", [h, transpose(context, weights, [1, 0])]);
}

/** Parts of `hidden` columns each. */
function split(
  context: Emitter,
  x: ValueName,
  hidden: readonly number[],
  axis: number,
): readonly ValueName[] {
  return context.emitAll("Split", [x, shapeConstant(context, hidden)], {
    attributes: { axis: int(axis) },
    outputCount: hidden.length,
  });
}

const identity: Activation = (_context, x) => x;

const lstmStep =
  ({ inputForget }: CellForm): Step =>
  (context, inputs, [h = "", c = ""]) => {
    const { hidden, x, r, peepholes, clip } = inputs;
    const [gate = identity, candidate = identity, output = identity] = inputs.activations;
    const a = arithmetic(context, x);
    const sum = a.add(x, timesTransposed(context, h, r));
    const [i = "", o = "", f = "", g = ""] = split(
      context,
      sum,
      [hidden, hidden, hidden, hidden],
      -1,
    );
    const [toInput, toOutput, toForget] = peepholes;
    const opened = (v: ValueName, peephole: ValueName | undefined, cell: ValueName): ValueName =>
      gate(context, clip(context, peephole === undefined ? v : a.add(v, a.mul(peephole, cell))));
    const input = opened(i, toInput, c);
    const forget = inputForget ? a.sub(1, input) : opened(f, toForget, c);
    const fresh = candidate(context, clip(context, g));
    const next = a.add(a.mul(forget, c), a.mul(input, fresh));
    return [a.mul(opened(o, toOutput, next), output(context, next)), next];
  };

const gruStep =
  ({ linearBeforeReset }: CellForm): Step =>
  (context, inputs, [h = ""]) => {
    const { hidden, x, r, lateBias, clip } = inputs;
    const [gate = identity, candidate = identity] = inputs.activations;
    const a = arithmetic(context, x);
    const parts = [2 * hidden, hidden];
    const [outer = "", outerHidden = ""] = split(context, x, parts, -1);
    const [recurGates = "", recurHidden = ""] = split(context, r, parts, 0);
    const gates = gate(
      context,
      clip(context, a.add(outer, timesTransposed(context, h, recurGates))),
    );
    const [update = "", reset = ""] = split(context, gates, [hidden, hidden], -1);
    const biased = (v: ValueName): ValueName => (lateBias === undefined ? v : a.add(v, lateBias));
    const back = linearBeforeReset
      ? a.mul(reset, biased(timesTransposed(context, h, recurHidden)))
      : biased(timesTransposed(context, a.mul(reset, h), recurHidden));
    const fresh = candidate(context, clip(context, a.add(outerHidden, back)));
    return [a.add(a.mul(a.sub(1, update), fresh), a.mul(update, h))];
  };

const rnnStep =
  (): Step =>
  (context, inputs, [h = ""]) => {
    const { x, r, clip } = inputs;
    const [activation = identity] = inputs.activations;
    const sum = arithmetic(context, x).add(x, timesTransposed(context, h, r));
    return [activation(context, clip(context, sum))];
  };

/** The recurrent layers of the standard. */
export const CELLS: Readonly<Record<string, CellKind>> = {
  LSTM: { gates: 4, states: 2, activations: ["Sigmoid", "Tanh", "Tanh"], step: lstmStep },
  GRU: { gates: 3, states: 1, activations: ["Sigmoid", "Tanh"], step: gruStep },
  RNN: { gates: 1, states: 1, activations: ["Tanh"], step: rnnStep },
};

/** Takes the next of a list of numbers. */
type Take = () => number | undefined;

/** An op with `alpha`, and where it has one `beta`. */
function withNumbers(op: string, alpha: number, beta?: number): Activation {
  return (context, x) =>
    context.emit(op, [x], {
      attributes: { alpha: float(alpha), ...(beta !== undefined && { beta: float(beta) }) },
    });
}

/** By their names in lower case; those with numbers take them in turn from the layer's lists. */
const ACTIVATIONS: Readonly<Record<string, (alpha: Take, beta: Take) => Activation>> = {
  relu: () => (context, x) => context.emit("Relu", [x]),
  tanh: () => (context, x) => context.emit("Tanh", [x]),
  sigmoid: () => (context, x) => context.emit("Sigmoid", [x]),
  softsign: () => (context, x) => context.emit("Softsign", [x]),
  softplus: () => (context, x) => context.emit("Softplus", [x]),
  leakyrelu: (alpha) => withNumbers("LeakyRelu", alpha() ?? 0.01),
  thresholdedrelu: (alpha) => withNumbers("ThresholdedRelu", alpha() ?? 1),
  elu: (alpha) => withNumbers("Elu", alpha() ?? 1),
  hardsigmoid: (alpha, beta) => withNumbers("HardSigmoid", alpha() ?? 0.2, beta() ?? 0.5),
  affine: (alpha, beta) => {
    const [scale, shift] = [alpha() ?? 1, beta() ?? 0];
    return (context, x) => {
      const a = arithmetic(context, x);
      return a.add(a.mul(x, scale), shift);
    };
  },
  scaledtanh: (alpha, beta) => {
    const [outer, inner] = [alpha() ?? 1, beta() ?? 1];
    return (context, x) => {
      const a = arithmetic(context, x);
      return a.mul(a.of("Tanh", a.mul(x, inner)), outer);
    };
  },
};

/** An activation by the name that the standard gives it, or undefined. */
export function activationOf(name: string, alpha: Take, beta: Take): Activation | undefined {
  return ACTIVATIONS[name.toLowerCase()]?.(alpha, beta);
}
