// Activation functions written out: GELU (Hendrycks and Gimpel 2016, by erf and by tanh), Swish (with a
// factor of 1.702 the sigmoid form of GELU), HardSwish and Mish.

import { float, floatAttribute, type Node, string, type ValueName } from "../../graph/graph.ts";
import {
  type Affine,
  affineOf,
  multiples,
  type Product,
  polynomialIn,
  productOf,
} from "./algebra.ts";
import type { Idiom, Match, View } from "./view.ts";

/** Both orders of a product of two values. */
function pairs({ values }: Product): readonly (readonly [ValueName, ValueName])[] {
  const [a, b] = values;
  if (values.length !== 2 || a === undefined || b === undefined) return [];
  return [
    [a, b],
    [b, a],
  ];
}

/** x · (½ + ½·f), with f made by the given op. */
function* halves(
  view: View,
  root: Node,
  op: string,
): Generator<{ x: ValueName; argument: ValueName; nodes: readonly Node[] }> {
  const product = productOf(view, root);
  if (product === undefined) return;
  for (const [x, sum] of pairs(product)) {
    for (const part of affineOf(view, sum)) {
      const inner = view.made(part.value, op);
      if (inner === undefined || !isHalf(view, product, part, x)) continue;
      const nodes = [...product.nodes, ...part.nodes, inner];
      yield { x, argument: inner.inputs[0] ?? "", nodes };
    }
  }
}

function isHalf(view: View, product: Product, part: Affine, x: ValueName): boolean {
  const { factor } = product;
  return view.isNear(factor * part.constant, 0.5, x) && view.isNear(factor * part.factor, 0.5, x);
}

/** ½·x·(1 + erf(x/√2)). */
const geluByErf: Idiom = {
  name: "GELU by erf",
  roots: ["Mul", "Div"],
  *match(view, root): Generator<Match> {
    for (const { x, argument, nodes } of halves(view, root, "Erf")) {
      for (const part of multiples(view, argument)) {
        if (part.value !== x || !view.isNear(part.factor, Math.SQRT1_2, x)) continue;
        const attributes = { approximate: string("none") };
        yield { op: "Gelu", inputs: [x], attributes, nodes: [...nodes, ...part.nodes] };
      }
    }
  },
};

/** √(2/π), and the coefficient of x³ beside it. */
const SLOPE = Math.sqrt(2 / Math.PI);
const CUBIC = 0.044715;

/** ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))). */
const geluByTanh: Idiom = {
  name: "GELU by tanh",
  roots: ["Mul", "Div"],
  *match(view, root): Generator<Match> {
    for (const { x, argument, nodes } of halves(view, root, "Tanh")) {
      const inner = polynomialIn(view, x, argument);
      const [c0, c1, c2, c3] = inner?.coefficients ?? [];
      if (inner === undefined || c0 !== 0 || c2 !== 0) continue;
      if (!view.isNear(c1, SLOPE, x) || !view.isNear(c3, SLOPE * CUBIC, x)) continue;
      const attributes = { approximate: string("tanh") };
      yield { op: "Gelu", inputs: [x], attributes, nodes: [...nodes, ...inner.nodes] };
    }
  },
};

/** x · sigmoid(α·x), also as x / (1 + exp(-α·x)). */
const swish: Idiom = {
  name: "Swish",
  roots: ["Mul", "Div"],
  *match(view, root): Generator<Match> {
    const product = productOf(view, root);
    if (product !== undefined && view.isNear(product.factor, 1, root.outputs[0] ?? "")) {
      for (const [x, gate] of pairs(product)) {
        const sigmoid = view.made(gate, "Sigmoid");
        if (sigmoid === undefined) continue;
        for (const part of multiples(view, sigmoid.inputs[0] ?? "")) {
          if (part.value !== x) continue;
          yield swishOf(x, part.factor, [...product.nodes, sigmoid, ...part.nodes]);
        }
      }
    }
    if (root.op === "Div") yield* swishByExp(view, root);
  },
};

function* swishByExp(view: View, root: Node): Generator<Match> {
  const [x = "", below = ""] = root.inputs;
  for (const sum of affineOf(view, below)) {
    const exp = view.made(sum.value, "Exp");
    if (exp === undefined || sum.constant !== 1 || sum.factor !== 1) continue;
    for (const part of multiples(view, exp.inputs[0] ?? "")) {
      if (part.value === x) yield swishOf(x, -part.factor, [...sum.nodes, exp, ...part.nodes]);
    }
  }
}

function swishOf(x: ValueName, alpha: number, nodes: readonly Node[]): Match {
  const attributes = alpha === 1 ? {} : { alpha: float(Math.fround(alpha)) };
  return { op: "Swish", inputs: [x], attributes, nodes };
}

/** x · max(0, min(1, x/6 + ½)): by HardSigmoid, or by Clip(x + 3, 0, 6) / 6. */
const hardSwish: Idiom = {
  name: "HardSwish",
  roots: ["Mul", "Div"],
  *match(view, root): Generator<Match> {
    const product = productOf(view, root);
    if (product === undefined) return;
    for (const [x, gate] of pairs(product)) {
      const nodes = hardGate(view, x, gate, product.factor);
      if (nodes !== undefined) {
        yield { op: "HardSwish", inputs: [x], nodes: [...product.nodes, ...nodes] };
      }
    }
  },
};

function hardGate(
  view: View,
  x: ValueName,
  gate: ValueName,
  factor: number,
): readonly Node[] | undefined {
  const hard = view.made(gate, "HardSigmoid");
  if (hard !== undefined) {
    const alpha = floatAttribute(hard, "alpha", 0.2);
    const beta = floatAttribute(hard, "beta", 0.5);
    const same = hard.inputs[0] === x && factor === 1 && beta === 0.5;
    return same && Math.abs(alpha - 1 / 6) < 1e-6 ? [hard] : undefined;
  }
  for (const part of multiples(view, gate)) {
    const clip = view.made(part.value, "Clip");
    if (clip === undefined || !view.isNear(factor * part.factor, 1 / 6, x)) continue;
    const bounds = ["min", "max"].map((name, i) => {
      const given = clip.inputs[i + 1] ?? "";
      return given === "" ? floatAttribute(clip, name, Number.NaN) : view.scalar(given);
    });
    if (bounds[0] !== 0 || bounds[1] !== 6) continue;
    for (const sum of affineOf(view, clip.inputs[0] ?? "")) {
      if (sum.value === x && sum.constant === 3 && sum.factor === 1) {
        return [...part.nodes, clip, ...sum.nodes];
      }
    }
  }
  return undefined;
}

/** x · tanh(log(1 + exp(x))) (Misra 2019). */
const mish: Idiom = {
  name: "Mish",
  roots: ["Mul"],
  *match(view, root): Generator<Match> {
    for (const [x, gate] of view.operands(root)) {
      const tanh = view.made(gate, "Tanh");
      const soft = tanh && softplus(view, x, tanh.inputs[0] ?? "");
      if (tanh && soft) yield { op: "Mish", inputs: [x], nodes: [tanh, ...soft] };
    }
  },
};

function softplus(view: View, x: ValueName, name: ValueName): readonly Node[] | undefined {
  const whole = view.made(name, "Softplus");
  if (whole !== undefined) return whole.inputs[0] === x ? [whole] : undefined;
  const log = view.made(name, "Log");
  if (log === undefined) return undefined;
  for (const sum of affineOf(view, log.inputs[0] ?? "")) {
    const exp = view.made(sum.value, "Exp");
    if (exp?.inputs[0] !== x || sum.constant !== 1 || sum.factor !== 1) continue;
    return [log, ...sum.nodes, exp];
  }
  return undefined;
}

/** All idioms of this family. */
export const activations: readonly Idiom[] = [geluByErf, geluByTanh, swish, hardSwish, mish];
