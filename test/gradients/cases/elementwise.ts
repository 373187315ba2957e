// Cases of ops that treat each element alone, and of those that join arrays element by element.

import type { Random } from "../../../src/base/random.ts";
import { float, int, string } from "../../../src/graph/graph.ts";
import { float32, int64, tensor } from "../../../src/graph/tensor.ts";
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
  oneOf,
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
  opset = 20,
): Generator {
  return (random, variant) => {
    const value = Math.fround(draw(random));
    const given = variant % 3 !== 0;
    return {
      op,
      opset,
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

/** A base and an exponent: numbers that rules know, of one element or many, and drawn ones. */
const pow: Generator = (random, variant) => {
  const known = turn(variant, [2, 3, 0.5, 1, 0, -1, 2.5, undefined, undefined, undefined] as const);
  if (known !== undefined) {
    const shape = variant % 2 === 0 ? [] : [1];
    const exponent = constant(float32(shape, [known]));
    const domain = Number.isInteger(known) ? awayFrom(0) : positive;
    const base = x(shapeOf(random, between(random, 1, 4)), domain);
    return { op: "Pow", form: `to the ${known}`, inputs: [base, exponent] };
  }
  const { form, shapes } = broadcasting(random, variant);
  if (variant % 3 !== 0) {
    return { op: "Pow", form, inputs: [x(shapes[0], positive), x(shapes[1])] };
  }
  const whole = fed(int64(shapes[1], shapes[1].length === 0 ? [3] : numbersFor(random, shapes[1])));
  return { op: "Pow", form: `integers, ${form}`, inputs: [x(shapes[0], awayFrom(0)), whole] };
};

function numbersFor(random: Random, shape: readonly number[]): number[] {
  const count = shape.reduce((a, b) => a * b, 1);
  return Array.from({ length: count }, () => between(random, -2, 4));
}

/** Quotients that lie between two whole numbers. */
const mod: Generator = (random, variant) => {
  const { form, shapes } = broadcasting(random, variant);
  const divisor = constant(float32([], [oneOf(random, [1.5, -1.5, 2.25])]));
  return {
    op: "Mod",
    form,
    inputs: [x(shapes[0], within(0.1, 1.4)), divisor],
    attributes: { fmod: int(1) },
  };
};

const where: Generator = (random, variant) => {
  const { form, shapes } = broadcasting(random, variant);
  const shape = variant % 3 === 0 ? shapes[0] : shapes[1];
  const count = shape.reduce((a, b) => a * b, 1);
  const bits = Uint8Array.from({ length: count }, () => random.integer(2));
  return {
    op: "Where",
    form,
    inputs: [fed(tensor("bool", shape, bits)), x(shapes[0]), x(shapes[1])],
  };
};

const clip: Generator = (random, variant) => {
  const { form, lo, hi } = turn(variant, [
    { form: "both bounds", lo: -0.7, hi: 0.9 },
    { form: "lower", lo: -0.3, hi: undefined },
    { form: "upper", lo: undefined, hi: 0.4 },
    { form: "no bound", lo: undefined, hi: undefined },
    { form: "bounds differentiated", lo: -0.7, hi: 0.9 },
  ]);
  const domain = awayFrom(...[lo, hi].filter((bound) => bound !== undefined));
  const bound = (value: number | undefined): CaseInput => {
    if (value === undefined) return omitted;
    return form === "bounds differentiated" ? x([], () => value) : constant(float32([], [value]));
  };
  return {
    op: "Clip",
    form,
    inputs: [x(shapeOf(random, between(random, 0, 4)), domain), bound(lo), bound(hi)],
  };
};

const gelu: Generator = (random, variant) => {
  const approximate = turn(variant, ["none", "tanh"] as const);
  const input = x(shapeOf(random, variant % 5));
  return {
    op: "Gelu",
    form: approximate,
    inputs: [input],
    attributes: { approximate: string(approximate) },
  };
};

const prelu: Generator = (random, variant) => {
  const [a = 1, b = 1, c = 1] = shapeOf(random, 3);
  const { form, slope } = turn(variant, [
    { form: "one slope", slope: [1] },
    { form: "a slope a channel", slope: [b, 1] },
    { form: "last axis", slope: [c] },
    { form: "same shape", slope: [a, b, c] },
  ]);
  return { op: "PRelu", form, inputs: [x([a, b, c], awayFrom(0)), x(slope)] };
};

/** Between two types of floats and back: nothing is lost of what float16 has exactly. */
const cast: Generator = (random, variant) => ({
  op: "Cast",
  form: variant % 2 === 0 ? "to double" : "to itself",
  inputs: [x(shapeOf(random, variant % 4))],
  build: (builder, [given = ""]) => {
    const to = int(variant % 2 === 0 ? 11 : 1);
    const wide = builder.emit("Cast", [given], { attributes: { to } });
    return [
      builder.emit("Cast", [builder.emit("Mul", [wide, wide])], { attributes: { to: int(1) } }),
    ];
  },
});

const castLike: Generator = (random, variant) => ({
  op: "CastLike",
  form: "to double and back",
  inputs: [x(shapeOf(random, variant % 4))],
  build: (builder, [given = ""]) => {
    const like = builder.constant(tensor("float64", [], new Uint8Array(8)));
    const wide = builder.emit("CastLike", [given, like]);
    return [builder.emit("CastLike", [builder.emit("Mul", [wide, wide]), given])];
  },
});

const dropout: Generator = (random, variant) => {
  const training = variant % 2 === 1;
  const ratio = constant(float32([], [0]));
  const flag = constant(tensor("bool", [], Uint8Array.of(training ? 1 : 0)));
  return {
    op: "Dropout",
    form: training ? "training, nothing dropped" : "inference",
    inputs: [
      x(shapeOf(random, between(random, 1, 4))),
      ...(variant % 4 < 2 ? [ratio, flag] : training ? [ratio, flag] : []),
    ],
    outputs: 2,
    reads: [0],
  };
};

/** All of this family. */
export const elementwise: Generators = {
  Erf: unary("Erf"),
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
  Softplus: unary("Softplus"),
  Softsign: unary("Softsign", awayFrom(0)),
  HardSwish: unary("HardSwish", awayFrom(-3, 3)),
  Mish: unary("Mish"),
  Elu: withFloat("Elu", "alpha", within(0.2, 2)),
  Celu: withFloat("Celu", "alpha", within(0.2, 2)),
  Selu: withFloat("Selu", "gamma", within(0.5, 2)),
  ThresholdedRelu: withFloat("ThresholdedRelu", "alpha", within(0.2, 1), (alpha) =>
    awayFrom(alpha, 1),
  ),
  HardSigmoid: withFloat("HardSigmoid", "alpha", within(0.1, 0.3), (alpha) =>
    awayFrom(-0.5 / alpha, 0.5 / alpha, -2.5, 2.5),
  ),
  Shrink: withFloat("Shrink", "lambd", within(0.4, 0.6), (lambd) =>
    awayFrom(-0.5, 0.5, -lambd, lambd),
  ),
  Gelu: gelu,
  PRelu: prelu,
  Clip: clip,
  Dropout: dropout,
  Cast: cast,
  CastLike: castLike,
  Where: where,
  Pow: pow,
  Mod: mod,
  Min: variadic("Min", distinct),
  Max: variadic("Max", distinct),
  Mean: variadic("Mean"),
  Swish: withFloat("Swish", "alpha", within(0.5, 2), () => normal, 24),
  Add: binary("Add"),
  Sub: binary("Sub"),
  Mul: binary("Mul"),
  Div: binary("Div", normal, positive),
  Sum: variadic("Sum"),
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
  LeakyRelu: withFloat("LeakyRelu", "alpha", within(-0.5, 0.5)),
};
