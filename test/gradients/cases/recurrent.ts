// Cases of the recurrent layers.

import type { Random } from "../../../src/base/random.ts";
import { type Attribute, float, int, string } from "../../../src/graph/graph.ts";
import { bytesOf, type Tensor, tensor } from "../../../src/graph/tensor.ts";
import {
  between,
  type CaseInput,
  type Domain,
  fed,
  type Generator,
  type Generators,
  omitted,
  turn,
  x,
} from "../case.ts";

interface Kind {
  readonly op: string;
  readonly gates: number;
  readonly activations: number;
}

const DIRECTIONS = ["forward", "reverse", "bidirectional"] as const;

/** Small, so that no gate is saturated. */
const weight: Domain = (random) => 0.5 * random.normal();

const floats = (value: readonly number[]): Attribute => ({ kind: "floats", value });
const strings = (value: readonly string[]): Attribute => ({ kind: "strings", value });

/** Activations without a kink near zero, with and without numbers. */
const SMOOTH = ["Sigmoid", "Tanh", "Softsign", "Softplus", "Affine", "ScaledTanh", "Elu"] as const;

function otherActivations(count: number, variant: number): Record<string, Attribute> {
  const names = Array.from({ length: count }, (_, i) => turn(variant + 2 * i, SMOOTH));
  const withAlpha = names.filter((name) => ["Affine", "ScaledTanh", "Elu"].includes(name)).length;
  const withBeta = names.filter((name) => ["Affine", "ScaledTanh"].includes(name)).length;
  return {
    activations: strings(names),
    ...(withAlpha > 0 && {
      activation_alpha: floats(Array.from({ length: withAlpha }, (_, i) => 0.5 + 0.25 * i)),
    }),
    ...(withBeta > 0 && {
      activation_beta: floats(Array.from({ length: withBeta }, (_, i) => 0.75 - 0.125 * i)),
    }),
  };
}

function lengthsOf(random: Random, batch: number, steps: number): Tensor {
  const lengths = Array.from({ length: batch }, () => between(random, 1, steps));
  return tensor("int32", [batch], bytesOf(Int32Array.from(lengths)));
}

function layer({ op, gates, activations }: Kind): Generator {
  return (random, variant) => {
    const direction = turn(variant, DIRECTIONS);
    const count = direction === "bidirectional" ? 2 : 1;
    const [steps, batch, width, hidden] = [
      between(random, 1, 4),
      between(random, 1, 3),
      between(random, 1, 3),
      between(random, 1, 3),
    ];
    const has = (every: number): boolean => Math.floor(variant / 3) % every === every - 1;
    const batchFirst = variant % 10 === 9;
    const state = (): CaseInput => x(batchFirst ? [batch, count, hidden] : [count, batch, hidden]);
    const given = {
      bias: has(2),
      lengths: has(3) && !batchFirst,
      states: has(2),
      peepholes: op === "LSTM" && has(4),
    };
    const special =
      op === "LSTM" && variant % 7 === 5
        ? { input_forget: int(1) }
        : op === "GRU" && variant % 2 === 1
          ? { linear_before_reset: int(1) }
          : {};
    const other = variant % 5 === 4 ? otherActivations(count * activations, variant) : {};
    const clipped = variant % 8 === 6;
    const form = [
      direction,
      ...Object.entries(given).flatMap(([name, is]) => (is ? [name] : [])),
      ...Object.keys(special),
      ...(clipped ? ["clip"] : []),
      ...(Object.keys(other).length > 0 ? ["activations"] : []),
      ...(batchFirst ? ["batch first"] : []),
    ];
    const inputs = [
      x(batchFirst ? [batch, steps, width] : [steps, batch, width]),
      x([count, gates * hidden, width], weight),
      x([count, gates * hidden, hidden], weight),
      given.bias ? x([count, 2 * gates * hidden], weight) : omitted,
      given.lengths ? fed(lengthsOf(random, batch, steps)) : omitted,
      given.states ? state() : omitted,
      ...(op === "LSTM" ? [given.states ? state() : omitted] : []),
      ...(given.peepholes ? [x([count, 3 * hidden], weight)] : []),
    ];
    return {
      op,
      form: form.join(", "),
      inputs,
      attributes: {
        hidden_size: int(hidden),
        direction: string(direction),
        ...special,
        ...other,
        ...(clipped && { clip: float(0.875) }),
        ...(batchFirst && { layout: int(1) }),
      },
      outputs: op === "LSTM" ? 3 : 2,
      ...(batchFirst && { noKernel: true }),
    };
  };
}

/** All of this family. */
export const recurrent: Generators = {
  LSTM: layer({ op: "LSTM", gates: 4, activations: 3 }),
  GRU: layer({ op: "GRU", gates: 3, activations: 2 }),
  RNN: layer({ op: "RNN", gates: 1, activations: 1 }),
};
