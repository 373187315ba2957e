// Ops that treat each element alone, and those that join arrays element by element.

import { type DType, isFloat } from "../../src/graph/dtype.ts";
import { floatAttribute, intAttribute, stringAttribute } from "../../src/graph/graph.ts";
import { DTYPE_CODES } from "../../src/onnx/dtype-codes.ts";
import {
  type Array64,
  array,
  broadcastShapes,
  filled,
  isInteger,
  spread,
  wrapped,
} from "./array.ts";
import { type Call, type Kernel, type Kernels, operand } from "./kernel.ts";
import { celu, elu, erf, roundHalfEven, sigmoid, softplus, tanhGelu } from "./scalar.ts";

/** One number from one number; attributes are read once a node. */
function unary(make: (call: Call) => (x: number) => number): Kernel {
  return (call) => {
    const x = operand(call, 0);
    return [{ ...x, values: x.values.map(make(call)) }];
  };
}

const plain = (f: (x: number) => number): Kernel => unary(() => f);

/** Operands spread to one shape and joined; the type is the first one's unless given. */
export function joined(
  inputs: readonly Array64[],
  f: (...values: number[]) => number,
  dtype?: DType,
): Array64 {
  const shape = broadcastShapes(inputs.map((x) => x.shape));
  const wide = inputs.map((x) => spread(x, shape));
  const type = dtype ?? inputs[0]?.dtype ?? "float32";
  return filled(type, shape, (i) => f(...wide.map((x) => x.values[i] ?? Number.NaN)));
}

function all(call: Call): Array64[] {
  return call.inputs.map((_, i) => operand(call, i));
}

/** Arithmetic of two operands, exact for integers of any width. */
function arithmetic(
  f: (a: number, b: number) => number,
  whole: (a: bigint, b: bigint) => bigint,
): Kernel {
  return (call) => {
    const [a, b] = [operand(call, 0), operand(call, 1)];
    if (!isInteger(a.dtype)) return [joined([a, b], (x = 0, y = 0) => f(x, y))];
    return [joined([a, b], (x = 0, y = 0) => wrapped(a.dtype, whole(BigInt(x), BigInt(y))))];
  };
}

function bitwise(f: (a: bigint, b: bigint) => bigint): Kernel {
  return (call) => {
    const { dtype } = operand(call, 0);
    return [joined(all(call), (a = 0, b = 0) => wrapped(dtype, f(BigInt(a), BigInt(b))))];
  };
}

/** Truth of a relation of two numbers. */
function relation(f: (a: number, b: number) => boolean): Kernel {
  return (call) => [joined(all(call), (a = 0, b = 0) => Number(f(a, b)), "bool")];
}

function modulo(call: Call): Array64[] {
  const dividend = intAttribute(call.node, "fmod", 0) !== 0;
  return [
    joined(all(call), (a = 0, b = 0) => {
      const rest = a % b;
      return dividend || rest === 0 || rest < 0 === b < 0 ? rest : rest + b;
    }),
  ];
}

function power(call: Call): Array64[] {
  const base = operand(call, 0);
  return [joined(all(call), (x = 0, p = 0) => wrapped(base.dtype, x ** p))];
}

/** A shift by less than 0, or by the width or more, moves all bits out (BitShift-26). */
function shift(call: Call): Array64[] {
  const left = stringAttribute(call.node, "direction", "LEFT") === "LEFT";
  const { dtype } = operand(call, 0);
  return [
    joined(all(call), (a = 0, n = 0) => {
      const by = BigInt(n < 0 || n > 64 ? 64 : n);
      return wrapped(dtype, left ? BigInt(a) << by : BigInt(a) >> by);
    }),
  ];
}

/** A number as another type has it: floats stay double, integers are cut towards zero. */
function converted(x: Array64, dtype: DType): Array64 {
  if (dtype === "bool")
    return { dtype, shape: x.shape, values: x.values.map((v) => Number(v !== 0)) };
  if (isFloat(dtype)) return { ...x, dtype };
  return { dtype, shape: x.shape, values: x.values.map((v) => wrapped(dtype, Math.trunc(v))) };
}

const cast: Kernel = (call) => {
  const dtype = DTYPE_CODES.get(intAttribute(call.node, "to", 0));
  if (dtype === undefined) throw new Error("Cast to a type of no name");
  return [converted(operand(call, 0), dtype)];
};

const clip: Kernel = (call) => {
  const x = operand(call, 0);
  const low = call.inputs[1]?.values[0] ?? floatAttribute(call.node, "min", -Infinity);
  const high = call.inputs[2]?.values[0] ?? floatAttribute(call.node, "max", Infinity);
  return [{ ...x, values: x.values.map((v) => Math.min(Math.max(v, low), high)) }];
};

const where: Kernel = (call) => {
  const [condition, yes, no] = [operand(call, 0), operand(call, 1), operand(call, 2)];
  return [joined([condition, yes, no], (c = 0, a = 0, b = 0) => (c !== 0 ? a : b), yes.dtype)];
};

/** In inference, or with a ratio of 0; random masks have no oracle. */
const dropout: Kernel = (call) => {
  const x = operand(call, 0);
  const training = (call.inputs[2]?.values[0] ?? 0) !== 0;
  if (training && (call.inputs[1]?.values[0] ?? 0.5) !== 0) throw new Error("Dropout is random");
  return [x, filled("bool", x.shape, () => 1)];
};

const hardSigmoid =
  (alpha: number, beta: number) =>
  (x: number): number =>
    Math.max(0, Math.min(1, alpha * x + beta));

const gelu = (approximate: string): ((x: number) => number) =>
  approximate === "tanh" ? tanhGelu : (x) => 0.5 * x * (1 + erf(x / Math.SQRT2));

const shrink = unary(({ node }) => {
  const [bias, lambda] = [floatAttribute(node, "bias", 0), floatAttribute(node, "lambd", 0.5)];
  return (x) => (x < -lambda ? x + bias : x > lambda ? x - bias : 0);
});

const isInfinite = (call: Call): Array64[] => {
  const x = operand(call, 0);
  const up = intAttribute(call.node, "detect_positive", 1) !== 0;
  const down = intAttribute(call.node, "detect_negative", 1) !== 0;
  const found = (v: number): boolean => (up && v === Infinity) || (down && v === -Infinity);
  return [
    array(
      "bool",
      x.shape,
      x.values.map((v) => Number(found(v))),
    ),
  ];
};

const activations: Kernels = {
  Relu: plain((x) => (x > 0 ? x : Number.isNaN(x) ? x : 0)),
  Sigmoid: plain(sigmoid),
  Softplus: plain(softplus),
  Softsign: plain((x) => x / (1 + Math.abs(x))),
  Mish: plain((x) => x * Math.tanh(softplus(x))),
  HardSwish: plain((x) => x * hardSigmoid(1 / 6, 0.5)(x)),
  LeakyRelu: unary(({ node }) => {
    const alpha = floatAttribute(node, "alpha", 0.01);
    return (x) => (x < 0 ? alpha * x : x);
  }),
  ThresholdedRelu: unary(({ node }) => {
    const alpha = floatAttribute(node, "alpha", 1);
    return (x) => (x > alpha ? x : 0);
  }),
  Elu: unary(({ node }) => elu(floatAttribute(node, "alpha", 1))),
  Celu: unary(({ node }) => celu(floatAttribute(node, "alpha", 1))),
  Selu: unary(({ node }) => {
    const alpha = floatAttribute(node, "alpha", 1.6732631921768188);
    const gamma = floatAttribute(node, "gamma", 1.0507010221481323);
    return (x) => gamma * elu(alpha)(x);
  }),
  HardSigmoid: unary(({ node }) =>
    hardSigmoid(floatAttribute(node, "alpha", 0.2), floatAttribute(node, "beta", 0.5)),
  ),
  Gelu: unary(({ node }) => gelu(stringAttribute(node, "approximate", "none"))),
  Swish: unary(({ node }) => {
    const alpha = floatAttribute(node, "alpha", 1);
    return (x) => x * sigmoid(alpha * x);
  }),
  Shrink: shrink,
  PRelu: (call) => [joined(all(call), (x = 0, slope = 0) => (x < 0 ? slope * x : x))],
};

/** All ops of this family. */
export const elementwise: Kernels = {
  ...activations,
  Add: arithmetic(
    (a, b) => a + b,
    (a, b) => a + b,
  ),
  Sub: arithmetic(
    (a, b) => a - b,
    (a, b) => a - b,
  ),
  Mul: arithmetic(
    (a, b) => a * b,
    (a, b) => a * b,
  ),
  Div: arithmetic(
    (a, b) => a / b,
    (a, b) => a / b,
  ),
  Sum: (call) => [joined(all(call), (...values) => values.reduce((a, b) => a + b, 0))],
  Mean: (call) => [
    joined(all(call), (...values) => values.reduce((a, b) => a + b, 0) / values.length),
  ],
  Min: (call) => [joined(all(call), Math.min)],
  Max: (call) => [joined(all(call), Math.max)],
  Pow: power,
  Mod: modulo,
  BitShift: shift,
  BitwiseAnd: bitwise((a, b) => a & b),
  BitwiseOr: bitwise((a, b) => a | b),
  BitwiseXor: bitwise((a, b) => a ^ b),
  BitwiseNot: (call) => {
    const x = operand(call, 0);
    return [{ ...x, values: x.values.map((v) => wrapped(x.dtype, ~BigInt(v))) }];
  },
  Greater: relation((a, b) => a > b),
  GreaterOrEqual: relation((a, b) => a >= b),
  Less: relation((a, b) => a < b),
  LessOrEqual: relation((a, b) => a <= b),
  Equal: relation((a, b) => a === b),
  And: relation((a, b) => a !== 0 && b !== 0),
  Or: relation((a, b) => a !== 0 || b !== 0),
  Xor: relation((a, b) => (a !== 0) !== (b !== 0)),
  Not: plain((x) => Number(x === 0)),
  IsNaN: (call) => {
    const x = operand(call, 0);
    return [
      array(
        "bool",
        x.shape,
        x.values.map((v) => Number(Number.isNaN(v))),
      ),
    ];
  },
  IsInf: isInfinite,
  Abs: plain(Math.abs),
  Neg: plain((x) => (x === 0 ? 0 : -x)),
  Sign: plain(Math.sign),
  Floor: plain(Math.floor),
  Ceil: plain(Math.ceil),
  Round: plain(roundHalfEven),
  Sqrt: plain(Math.sqrt),
  Reciprocal: plain((x) => 1 / x),
  Exp: plain(Math.exp),
  Log: plain(Math.log),
  Erf: plain(erf),
  Sin: plain(Math.sin),
  Cos: plain(Math.cos),
  Tan: plain(Math.tan),
  Asin: plain(Math.asin),
  Acos: plain(Math.acos),
  Atan: plain(Math.atan),
  Sinh: plain(Math.sinh),
  Cosh: plain(Math.cosh),
  Tanh: plain(Math.tanh),
  Asinh: plain(Math.asinh),
  Acosh: plain(Math.acosh),
  Atanh: plain(Math.atanh),
  Identity: (call) => [operand(call, 0)],
  Cast: cast,
  CastLike: (call) => [converted(operand(call, 0), operand(call, 1).dtype)],
  Clip: clip,
  Where: where,
  Dropout: dropout,
};
