// Recurrent layers: one step, one sequence, one direction at a time, from the equations of LSTM-22, GRU-22
// and RNN-22.

import { floatAttribute, intAttribute, type Node, stringAttribute } from "../../src/graph/graph.ts";
import { type Array64, filled, transposed } from "./array.ts";
import { type Call, type Kernel, type Kernels, operand } from "./kernel.ts";
import { elu, sigmoid, softplus } from "./scalar.ts";

type Activation = (x: number) => number;

/** An activation by name, with defaults of alpha and beta as of the op of that name. */
function activation(name: string, alpha?: number, beta?: number): Activation {
  const table: Readonly<Record<string, Activation>> = {
    relu: (x) => Math.max(x, 0),
    tanh: Math.tanh,
    sigmoid,
    affine: (x) => (alpha ?? 1) * x + (beta ?? 0),
    leakyrelu: (x) => (x < 0 ? (alpha ?? 0.01) * x : x),
    thresholdedrelu: (x) => (x > (alpha ?? 1) ? x : 0),
    scaledtanh: (x) => (alpha ?? 1) * Math.tanh((beta ?? 1) * x),
    hardsigmoid: (x) => Math.max(0, Math.min(1, (alpha ?? 0.2) * x + (beta ?? 0.5))),
    elu: elu(alpha ?? 1),
    softsign: (x) => x / (1 + Math.abs(x)),
    softplus,
  };
  const found = table[name.toLowerCase()];
  if (found === undefined) throw new Error(`no activation ${name}`);
  return found;
}

const WITH_ALPHA = /^(affine|leakyrelu|thresholdedrelu|scaledtanh|hardsigmoid|elu)$/i;
const WITH_BETA = /^(affine|scaledtanh|hardsigmoid)$/i;

/** The activations of all directions, each taking its alpha and beta from the lists in turn. */
function activationsOf(node: Node, defaults: readonly string[], directions: number): Activation[] {
  const given = node.attributes.get("activations");
  const listed = Array.from({ length: directions }, () => defaults).flat();
  const names = given?.kind === "strings" ? given.value : listed;
  const queue = (name: string): number[] => {
    const attribute = node.attributes.get(name);
    return attribute?.kind === "floats" ? [...attribute.value] : [];
  };
  const [alphas, betas] = [queue("activation_alpha"), queue("activation_beta")];
  return names
    .slice(0, listed.length)
    .map((name) =>
      activation(
        name,
        WITH_ALPHA.test(name) ? alphas.shift() : undefined,
        WITH_BETA.test(name) ? betas.shift() : undefined,
      ),
    );
}

/** One direction's weights, and how to multiply with them. */
interface Cell {
  readonly node: Node;
  readonly hidden: number;
  readonly f: readonly Activation[];
  readonly clip: (x: number) => number;
  /** x · Wᵀ and its bias, row `r` of all gates. */
  input(x: ArrayLike<number>, r: number): number;
  /** h · Rᵀ, row `r`, without its bias. */
  recur(h: ArrayLike<number>, r: number): number;
  /** The bias of the recurrent product. */
  recurBias(r: number): number;
  peephole(r: number): number;
}

interface State {
  readonly h: Float64Array;
  readonly c: Float64Array;
}

type Step = (cell: Cell, x: Float64Array, state: State) => State;

const lstmStep: Step = (cell, x, { h, c }) => {
  const { hidden: n, f, clip } = cell;
  const [gate = sigmoid, candidate = Math.tanh, output = Math.tanh] = f;
  const sum = (r: number, extra = 0): number =>
    clip(cell.input(x, r) + cell.recur(h, r) + cell.recurBias(r) + extra);
  const coupled = intAttribute(cell.node, "input_forget", 0) !== 0;
  const nextC = new Float64Array(n);
  const nextH = new Float64Array(n);
  for (let u = 0; u < n; u++) {
    const old = c[u] ?? 0;
    const i = gate(sum(u, cell.peephole(u) * old));
    const forget = coupled ? 1 - i : gate(sum(2 * n + u, cell.peephole(2 * n + u) * old));
    const now = forget * old + i * candidate(sum(3 * n + u));
    const o = gate(sum(n + u, cell.peephole(n + u) * now));
    nextC[u] = now;
    nextH[u] = o * output(now);
  }
  return { h: nextH, c: nextC };
};

const gruStep: Step = (cell, x, { h, c }) => {
  const { hidden: n, f, clip } = cell;
  const [gate = sigmoid, candidate = Math.tanh] = f;
  const sum = (r: number): number => clip(cell.input(x, r) + cell.recur(h, r) + cell.recurBias(r));
  const resets = h.map((_, u) => gate(sum(n + u)));
  const late = intAttribute(cell.node, "linear_before_reset", 0) !== 0;
  const kept = h.map((value, u) => value * (resets[u] ?? 0));
  const next = h.map((old, u) => {
    const z = gate(sum(u));
    const r = 2 * n + u;
    const back = late
      ? (resets[u] ?? 0) * (cell.recur(h, r) + cell.recurBias(r))
      : cell.recur(kept, r) + cell.recurBias(r);
    return (1 - z) * candidate(clip(cell.input(x, r) + back)) + z * old;
  });
  return { h: next, c };
};

const rnnStep: Step = (cell, x, { h, c }) => ({
  h: h.map((_, u) => {
    const [f = Math.tanh] = cell.f;
    return f(cell.clip(cell.input(x, u) + cell.recur(h, u) + cell.recurBias(u)));
  }),
  c,
});

/** Batches first in the layout of attribute value 1, time or directions first otherwise. */
function timeFirst(call: Call, x: Array64 | undefined): Array64 | undefined {
  return x === undefined || intAttribute(call.node, "layout", 0) === 0
    ? x
    : transposed(x, [1, 0, 2]);
}

function cellOf(call: Call, gates: number, direction: number, f: readonly Activation[]): Cell {
  const [w, r] = [operand(call, 1), operand(call, 2)];
  const [, , , b] = call.inputs;
  const p = call.inputs[7];
  const hidden = r.shape[2] ?? 0;
  const width = w.shape[2] ?? 0;
  const rows = gates * hidden;
  const limit = floatAttribute(call.node, "clip", Number.POSITIVE_INFINITY);
  const dot = (m: Array64, v: ArrayLike<number>, row: number, n: number): number => {
    let sum = 0;
    for (let i = 0; i < n; i++) {
      sum += (m.values[(direction * rows + row) * n + i] ?? Number.NaN) * (v[i] ?? Number.NaN);
    }
    return sum;
  };
  const bias = (at: number): number => b?.values[direction * 2 * rows + at] ?? 0;
  return {
    node: call.node,
    hidden,
    f,
    clip: (x) => Math.max(-limit, Math.min(limit, x)),
    input: (x, row) => dot(w, x, row, width) + bias(row),
    recur: (h, row) => dot(r, h, row, hidden),
    recurBias: (row) => bias(rows + row),
    peephole: (row) => p?.values[direction * 3 * hidden + row] ?? 0,
  };
}

function layer(gates: number, defaults: readonly string[], step: Step): Kernel {
  return (call) => {
    const x = timeFirst(call, call.inputs[0]);
    if (x === undefined) throw new Error("a recurrent layer has no input");
    const [steps = 0, batch = 0, width = 0] = x.shape;
    const directions = operand(call, 1).shape[0] ?? 1;
    const lengths = call.inputs[4];
    const backwards = stringAttribute(call.node, "direction", "forward") === "reverse";
    const [initialH, initialC] = [5, 6].map((i) => timeFirst(call, call.inputs[i]));
    const all = activationsOf(call.node, defaults, directions);
    const hidden = operand(call, 2).shape[2] ?? 0;
    const y = filled(x.dtype, [steps, directions, batch, hidden], () => 0);
    const lastH = filled(x.dtype, [directions, batch, hidden], () => 0);
    const lastC = filled(x.dtype, [directions, batch, hidden], () => 0);
    for (let d = 0; d < directions; d++) {
      const cell = cellOf(call, gates, d, all.slice(d * defaults.length));
      for (let n = 0; n < batch; n++) {
        const length = lengths?.values[n] ?? steps;
        const start = (d * batch + n) * hidden;
        const from = (v: Array64 | undefined): Float64Array =>
          v === undefined ? new Float64Array(hidden) : v.values.slice(start, start + hidden);
        let state: State = { h: from(initialH), c: from(initialC) };
        for (let round = 0; round < length; round++) {
          const t = backwards || d === 1 ? length - 1 - round : round;
          const at = (t * batch + n) * width;
          state = step(cell, x.values.slice(at, at + width), state);
          y.values.set(state.h, ((t * directions + d) * batch + n) * hidden);
        }
        lastH.values.set(state.h, start);
        lastC.values.set(state.c, start);
      }
    }
    if (intAttribute(call.node, "layout", 0) === 0) return [y, lastH, lastC];
    return [
      transposed(y, [2, 0, 1, 3]),
      transposed(lastH, [1, 0, 2]),
      transposed(lastC, [1, 0, 2]),
    ];
  };
}

/** All ops of this family. */
export const recurrent: Kernels = {
  LSTM: layer(4, ["Sigmoid", "Tanh", "Tanh"], lstmStep),
  GRU: layer(3, ["Sigmoid", "Tanh"], gruStep),
  RNN: layer(1, ["Tanh"], rnnStep),
};
