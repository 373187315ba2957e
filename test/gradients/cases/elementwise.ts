// Cases of ops that treat each element alone, and of those that join arrays element by element.

import type { Random } from "../../../src/base/random.ts";
import { float, int, string } from "../../../src/graph/graph.ts";
import { float32, tensor } from "../../../src/graph/tensor.ts";
import { broadcastShapes, sizeOf } from "../../float64/array.ts";
import {
  awayFrom,
  between,
  type CaseInput,
  constant,
  type Domain,
  distinct,
  fed,
  type Generator,
  type Generators,
  normal,
  omitted,
  positive,
  shapeOf,
  turn,
  within,
  x,
} from "../case.ts";

/** One operand; ranks 0 to 4 take turns. */
function unary(op: string, domain: Domain = normal): Generator {
  return (random, variant) => {
    const rank = variant % 5;
    return { op, form: `rank ${rank}`, inputs: [x(shapeOf(random, rank), domain)] };
  };
}

/** One operand and a float attribute that is drawn. */
function withFloat(
  op: string,
  attribute: string,
  draw: Domain,
  domain: (value: number) => Domain = () => awayFrom(0),
): Generator {
  return (random, variant) => {
    const value = Math.fround(draw(random));
    const given = variant % 3 !== 0;
    return {
      op,
      form: given ? attribute : "default",
      inputs: [x(shapeOf(random, between(random, 1, 4)), domain(value))],
      ...(given && { attributes: { [attribute]: float(value) } }),
    };
  };
}

const SPREADS = ["same", "scalar", "row", "column", "middle", "both"] as const;

/** Two shapes that broadcast, each kind of spreading in turn. */
export function broadcasting(
  random: Random,
  variant: number,
): { readonly form: string; readonly shapes: readonly [number[], number[]] } {
  const form = turn(variant, SPREADS);
  const [a = 1, b = 1, c = 1] = Array.from({ length: 3 }, () => between(random, 2, 4));
  const table: Record<(typeof SPREADS)[number], [number[], number[]]> = {
    same: [
      [a, b, c],
      [a, b, c],
    ],
    scalar: [[a, b], []],
    row: [[a, b, c], [c]],
    column: [
      [a, b, c],
      [b, 1],
    ],
    middle: [
      [a, 1, c],
      [a, b, c],
    ],
    both: [
      [a, 1, c],
      [b, 1],
    ],
  };
  const [left, right] = table[form];
  return { form, shapes: variant % 2 === 0 ? [left, right] : [right, left] };
}

function binary(op: string, left: Domain = normal, right: Domain = normal): Generator {
  return (random, variant) => {
    const { form, shapes } = broadcasting(random, variant);
    return { op, form, inputs: [x(shapes[0], left), x(shapes[1], right)] };
  };
}

/** One to four operands of shapes that broadcast. */
function variadic(op: string, domain: () => Domain = () => normal): Generator {
  return (random, variant) => {
    const count = 1 + (variant % 4);
    const whole = shapeOf(random, 3, 4);
    const draw = domain();
    const inputs = Array.from({ length: count }, (_, i): CaseInput => {
      const shape = whole.map((dim) => (i > 0 && random.uniform() < 0.3 ? 1 : dim));
      return x(shape.slice(i === 0 ? 0 : random.integer(3)), draw);
    });
    return { op, form: `${count} operands`, inputs };
  };
}

/** Two numbers of each pair at least 0.1 apart: no maximum changes sides within a difference. */
function extreme(op: string): Generator {
  return (random, variant) => variadic(op, distinct)(random, variant);
}

const pow: Generator = (random, variant) => {
  const { form, shapes } = broadcasting(random, variant);
  const power = turn(variant, [
    "both",
    "2",
    "3",
    "0.5",
    "-1",
    "whole, any base",
    "1",
    "0",
  ] as const);
  if (power === "both") return { op: "Pow", form, inputs: [x(shapes[0], positive), x(shapes[1])] };
  const shape = shapeOf(random, 2);
  const exponent = power === "whole, any base" ? 2 + random.integer(3) : Number(power);
  const domain = Number.isInteger(exponent) ? awayFrom(0) : positive;
  const tensor = variant % 16 < 8 ? float32([], [exponent]) : float32([1], [exponent]);
  return { op: "Pow", form: `exponent ${power}`, inputs: [x(shape, domain), constant(tensor)] };
};

const mod: Generator = (random, variant) => {
  const shape = shapeOf(random, 2);
  // Quotients between whole numbers: 1.2 to 1.8 times, with divisors near 2.
  const inputs = [x(shape, within(2.6, 3.4)), x(variant % 2 ? shape : [], within(1.9, 2.1))];
  return {
    op: "Mod",
    form: variant % 2 ? "same" : "scalar",
    inputs,
    attributes: { fmod: int(1) },
  };
};

const prelu: Generator = (random, variant) => {
  const [n, c, h] = [between(random, 1, 3), between(random, 2, 3), between(random, 1, 4)];
  const { form, slope } = turn(variant, [
    { form: "channels", slope: [c, 1] },
    { form: "one", slope: [1] },
    { form: "same", slope: [n, c, h] },
    { form: "last axis", slope: [h] },
  ]);
  return { op: "PRelu", form, inputs: [x([n, c, h], awayFrom(0)), x(slope)] };
};

const where: Generator = (random, variant) => {
  const { form, shapes } = broadcasting(random, variant);
  const whole = broadcastShapes(shapes);
  const mask = variant % 3 === 0 ? whole : whole.slice(-1);
  const bits = Uint8Array.from({ length: sizeOf(mask) }, () => random.integer(2));
  return {
    op: "Where",
    form: `${form}${variant % 3 === 0 ? "" : ", condition spread"}`,
    inputs: [fed(tensor("bool", mask, bits)), x(shapes[0]), x(shapes[1])],
  };
};

const clip: Generator = (random, variant) => {
  const form = turn(variant, ["both", "low", "high", "none", "Relu6"] as const);
  const [low, high] = form === "Relu6" ? [0, 6] : [-0.5, 0.75];
  const bound = (value: number): CaseInput => constant(float32([], [value]));
  const bounds = {
    both: [bound(low), bound(high)],
    low: [bound(low)],
    high: [omitted, bound(high)],
    none: [],
    Relu6: [bound(low), bound(high)],
  };
  const shape = shapeOf(random, between(random, 1, 4));
  return { op: "Clip", form, inputs: [x(shape, awayFrom(low, high)), ...bounds[form]] };
};

const cast: Generator = (random, variant) => {
  const shape = shapeOf(random, between(random, 0, 3));
  const to = turn(variant, [1, 11] as const);
  return {
    op: "Cast",
    form: to === 1 ? "float32" : "float64 and back",
    inputs: [x(shape)],
    attributes: { to: int(to) },
    build: (builder, [input = ""]) => {
      const there = builder.emit("Cast", [input], { attributes: { to: int(to) }, name: "node" });
      return [builder.emit("Cast", [there], { attributes: { to: int(1) } })];
    },
  };
};

const castLike: Generator = (random) => {
  const shape = shapeOf(random, between(random, 0, 3));
  return { op: "CastLike", form: "float32", inputs: [x(shape), constant(float32([1], [0]))] };
};

/** In inference: the identity, and a mask that says so. */
const dropout: Generator = (random, variant) => {
  const shape = shapeOf(random, between(random, 1, 3));
  const form = turn(variant, ["inference", "ratio 0 in training"] as const);
  const training = [constant(float32([], [0])), constant(tensor("bool", [], Uint8Array.of(1)))];
  return { op: "Dropout", form, inputs: [x(shape), ...(form === "inference" ? [] : training)] };
};

const gelu: Generator = (random, variant) => {
  const form = turn(variant, ["default", "tanh", "none"] as const);
  return {
    op: "Gelu",
    form,
    inputs: [x(shapeOf(random, between(random, 1, 3)))],
    ...(form !== "default" && { attributes: { approximate: string(form) } }),
  };
};

const hardSigmoid: Generator = (random, variant) => {
  const [alpha, beta] = variant % 2 ? [0.25, 0.625] : [Math.fround(0.2), 0.5];
  return {
    op: "HardSigmoid",
    form: variant % 2 ? "alpha, beta" : "default",
    inputs: [
      x(shapeOf(random, between(random, 1, 4)), awayFrom(-beta / alpha, (1 - beta) / alpha)),
    ],
    ...(variant % 2 && { attributes: { alpha: float(alpha), beta: float(beta) } }),
  };
};

const selu: Generator = (random, variant) => ({
  op: "Selu",
  form: variant % 2 ? "alpha, gamma" : "default",
  inputs: [x(shapeOf(random, between(random, 1, 4)), awayFrom(0))],
  ...(variant % 2 && { attributes: { alpha: float(1.5), gamma: float(0.75) } }),
});

const shrink: Generator = (random, variant) => {
  const [lambda, bias] = variant % 2 ? [0.75, 0.25] : [0.5, 0];
  return {
    op: "Shrink",
    form: variant % 2 ? "lambd, bias" : "default",
    inputs: [x(shapeOf(random, between(random, 1, 4)), awayFrom(-lambda, lambda))],
    ...(variant % 2 && { attributes: { lambd: float(lambda), bias: float(bias) } }),
  };
};

/** A later operator set than the suite's usual one. */
function since(opset: number, generator: Generator): Generator {
  return (random, variant) => ({ ...generator(random, variant), opset });
}

/** All of this family. */
export const elementwise: Generators = {
  Add: binary("Add"),
  Sub: binary("Sub"),
  Mul: binary("Mul"),
  Div: binary("Div", normal, positive),
  Sum: variadic("Sum"),
  Mean: variadic("Mean"),
  Min: extreme("Min"),
  Max: extreme("Max"),
  Pow: pow,
  Mod: mod,
  Relu: unary("Relu", awayFrom(0)),
  Sigmoid: unary("Sigmoid"),
  Tanh: unary("Tanh"),
  Exp: unary("Exp"),
  Log: unary("Log", positive),
  Sqrt: unary("Sqrt", positive),
  Reciprocal: unary("Reciprocal", awayFrom(0)),
  Neg: unary("Neg"),
  Abs: unary("Abs", awayFrom(0)),
  Identity: unary("Identity"),
  Erf: unary("Erf"),
  Softplus: unary("Softplus"),
  Softsign: unary("Softsign", awayFrom(0)),
  Mish: unary("Mish"),
  HardSwish: unary("HardSwish", awayFrom(-3, 3)),
  Sin: unary("Sin"),
  Cos: unary("Cos"),
  Tan: unary("Tan", within(-1.2, 1.2)),
  Asin: unary("Asin", within(-0.9, 0.9)),
  Acos: unary("Acos", within(-0.9, 0.9)),
  Atan: unary("Atan"),
  Sinh: unary("Sinh"),
  Cosh: unary("Cosh"),
  Asinh: unary("Asinh"),
  Acosh: unary("Acosh", within(1.2, 4)),
  Atanh: unary("Atanh", within(-0.9, 0.9)),
  LeakyRelu: withFloat("LeakyRelu", "alpha", within(-0.5, 0.5)),
  Elu: withFloat("Elu", "alpha", within(0.5, 2)),
  Celu: withFloat("Celu", "alpha", within(0.5, 2)),
  ThresholdedRelu: withFloat("ThresholdedRelu", "alpha", within(0.3, 1.5), (alpha) =>
    awayFrom(alpha, 1),
  ),
  Swish: since(24, withFloat("Swish", "alpha", within(0.5, 2))),
  Selu: selu,
  Shrink: shrink,
  HardSigmoid: hardSigmoid,
  Gelu: gelu,
  PRelu: prelu,
  Clip: clip,
  Where: where,
  Cast: cast,
  CastLike: castLike,
  Dropout: dropout,
};
