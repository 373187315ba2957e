// Ops that treat each element alone, and those that join tensors element by element.

import type { ValueName } from "../graph/graph.ts";
import { float, floatAttribute, intAttribute } from "../graph/graph.ts";
import { scalar } from "../graph/tensor.ts";
import { DTYPE_CODES } from "../onnx/dtype-codes.ts";
import { unbroadcast } from "./construct.ts";
import type {
  Emitter,
  Gradient,
  GradientContext,
  GradientRule,
  OpDef,
  SavedForBackward,
} from "./op.ts";
import {
  broadcastInputs,
  broadcastShape,
  broadcastToBool,
  defineOp,
  free,
  NO_RULE,
  perOutput,
  SAVES_NOTHING,
  sameAsInput,
  typed,
} from "./rules.ts";

const INPUT: SavedForBackward = { inputs: [0], outputs: [] };
const OUTPUT: SavedForBackward = { inputs: [], outputs: [0] };
const BOTH: SavedForBackward = { inputs: [0, 1], outputs: [] };

function name(context: GradientContext, kind: "input" | "output", i = 0): ValueName {
  return (kind === "input" ? context.node.inputs[i] : context.node.outputs[i]) ?? "";
}

/** dx = dy · slope, with the slope built from the input x and the output y. */
function slope(
  build: (b: Emitter, x: ValueName, y: ValueName, context: GradientContext) => ValueName,
): GradientRule {
  return (context, [dy]) => {
    if (dy === undefined) return [undefined];
    const d = build(context, name(context, "input"), name(context, "output"), context);
    return [context.emit("Mul", [dy, d])];
  };
}

function unary(type: string, saves: SavedForBackward, gradient: Gradient): OpDef {
  return defineOp(type, { shape: sameAsInput, gradient, cost: perOutput(1), saves });
}

/** A binary op with broadcasting; `left` and `right` give the gradients before they are summed back. */
function binary(
  type: string,
  saves: SavedForBackward,
  left: (context: GradientContext, dy: ValueName) => ValueName,
  right: (context: GradientContext, dy: ValueName) => ValueName,
): OpDef {
  return defineOp(type, {
    shape: broadcastInputs,
    cost: perOutput(1),
    saves,
    gradient: (context, [dy]) => {
      if (dy === undefined) return [undefined, undefined];
      const back = (i: number, build: typeof left): ValueName | undefined =>
        context.wants(i)
          ? unbroadcast(context, build(context, dy), name(context, "input", i), context.node)
          : undefined;
      return [back(0, left), back(1, right)];
    },
  });
}

const passThrough = (_context: GradientContext, dy: ValueName): ValueName => dy;

/** x + y. The merge of an additive skip: its gradient flows to both operands unchanged. */
export const add: OpDef = binary("Add", SAVES_NOTHING, passThrough, passThrough);

/** x - y. */
export const sub: OpDef = binary("Sub", SAVES_NOTHING, passThrough, (b, dy) => b.emit("Neg", [dy]));

/** x · y. */
export const mul: OpDef = binary(
  "Mul",
  BOTH,
  (b, dy) => b.emit("Mul", [dy, name(b, "input", 1)]),
  (b, dy) => b.emit("Mul", [dy, name(b, "input", 0)]),
);

/** x / y; d/dy = -dz · z / y. */
export const div: OpDef = binary(
  "Div",
  { inputs: [1], outputs: [0] },
  (b, dy) => b.emit("Div", [dy, name(b, "input", 1)]),
  (b, dy) => {
    const product = b.emit("Mul", [dy, name(b, "output")]);
    return b.emit("Neg", [b.emit("Div", [product, name(b, "input", 1)])]);
  },
);

/** x₁ + x₂ + …: the n-ary merge. */
export const sum: OpDef = defineOp("Sum", {
  shape: broadcastInputs,
  cost: perOutput(1),
  gradient: (context, [dy]) =>
    context.node.inputs.map((input, i) =>
      dy !== undefined && context.wants(i)
        ? unbroadcast(context, dy, input, context.node)
        : undefined,
    ),
});

/**
 * max(x, 0). The mask comes from the output, so that the input can be freed: y > 0 exactly where
 * x > 0. HardSigmoid with a huge slope is that mask in one pass (0 at 0, as PyTorch has it).
 */
export const relu: OpDef = unary(
  "Relu",
  OUTPUT,
  slope((b, _x, y) =>
    b.emit("HardSigmoid", [y], { attributes: { alpha: float(1e30), beta: float(0) } }),
  ),
);

const sigmoid = unary(
  "Sigmoid",
  OUTPUT,
  slope((b, _x, y) => b.emit("Mul", [y, b.emit("Sub", [b.constant(scalar(1), "one"), y])])),
);

const tanh = unary(
  "Tanh",
  OUTPUT,
  slope((b, _x, y) => b.emit("Sub", [b.constant(scalar(1), "one"), b.emit("Mul", [y, y])])),
);

const exp = unary(
  "Exp",
  OUTPUT,
  slope((_b, _x, y) => y),
);
const log = unary("Log", INPUT, (context, [dy]) =>
  dy === undefined ? [undefined] : [context.emit("Div", [dy, name(context, "input")])],
);
const sqrt = unary("Sqrt", OUTPUT, (context, [dy]) => {
  if (dy === undefined) return [undefined];
  const twice = context.emit("Add", [name(context, "output"), name(context, "output")]);
  return [context.emit("Div", [dy, twice])];
});
const reciprocal = unary(
  "Reciprocal",
  OUTPUT,
  slope((b, _x, y) => b.emit("Neg", [b.emit("Mul", [y, y])])),
);
const neg = unary("Neg", SAVES_NOTHING, (context, [dy]) =>
  dy === undefined ? [undefined] : [context.emit("Neg", [dy])],
);
const abs = unary(
  "Abs",
  INPUT,
  slope((b, x) => b.emit("Sign", [x])),
);
const leakyRelu = unary(
  "LeakyRelu",
  INPUT,
  slope((b, x, _y, context) => {
    const alpha = floatAttribute(context.node, "alpha", 0.01);
    const positive = b.emit("Greater", [x, b.constant(scalar(0), "zero")]);
    return b.emit("Where", [positive, b.constant(scalar(1), "one"), b.constant(scalar(alpha))]);
  }),
);

const identity = defineOp("Identity", {
  shape: sameAsInput,
  containers: true,
  cost: free,
  gradient: (_context, [dy]) => [dy],
});

const cast = defineOp("Cast", {
  shape: ({ node, input }) => [
    typed(DTYPE_CODES.get(intAttribute(node, "to", 0)), input(0)?.shape),
  ],
  cost: perOutput(1),
  gradient: NO_RULE,
});

/** The same bits read as another type of the same width. */
const bitCast = defineOp("BitCast", {
  shape: ({ node, input }) => [
    typed(DTYPE_CODES.get(intAttribute(node, "to", 0)), input(0)?.shape),
  ],
  cost: free,
  gradient: "zero",
});

/** Slopes are spread over x, never x over slopes. */
const prelu = unary("PRelu", BOTH, NO_RULE);

const castLike = defineOp("CastLike", {
  shape: ({ input }) => [typed(input(1)?.dtype, input(0)?.shape)],
  cost: perOutput(1),
  gradient: NO_RULE,
});

const where = defineOp("Where", {
  shape: (context) => [
    typed(context.input(1)?.dtype ?? context.input(2)?.dtype, broadcastShape(context)),
  ],
  cost: perOutput(1),
  saves: INPUT,
  gradient: NO_RULE,
});

const dropout = defineOp("Dropout", {
  // The mask was of the input's type before operator set 10.
  shape: (context) => {
    const x = context.input(0);
    return [x, typed(context.opset < 10 ? x?.dtype : "bool", x?.shape)];
  },
  cost: perOutput(1),
  gradient: NO_RULE,
});

const unsupported = (type: string): OpDef => unary(type, INPUT, NO_RULE);
const constantAlmostEverywhere = (type: string): OpDef => unary(type, SAVES_NOTHING, "zero");
const comparison = (type: string): OpDef =>
  defineOp(type, { shape: broadcastToBool, cost: perOutput(1), gradient: "zero" });
const joined = (type: string): OpDef =>
  defineOp(type, {
    shape: broadcastInputs,
    cost: perOutput(1),
    gradient: NO_RULE,
    saves: BOTH,
  });

const joinedIntegers = (type: string): OpDef =>
  defineOp(type, { shape: broadcastInputs, cost: perOutput(1), gradient: "zero" });

/** All ops of this family. */
export const elementwise: readonly OpDef[] = [
  add,
  sub,
  mul,
  div,
  sum,
  relu,
  sigmoid,
  tanh,
  exp,
  log,
  sqrt,
  reciprocal,
  neg,
  abs,
  leakyRelu,
  identity,
  cast,
  castLike,
  bitCast,
  prelu,
  where,
  dropout,
  ...["Erf", "Gelu", "Elu", "Selu", "Celu", "Softplus", "Softsign", "HardSigmoid"].map(unsupported),
  ...["HardSwish", "Mish", "Clip", "Sin", "Cos", "Tan", "Atan", "ThresholdedRelu"].map(unsupported),
  ...["Floor", "Ceil", "Round", "Sign", "Not"].map(constantAlmostEverywhere),
  ...["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"].map(comparison),
  ...["And", "Or", "Xor", "IsNaN", "IsInf"].map(comparison),
  ...["BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor"].map(joinedIntegers),
  constantAlmostEverywhere("BitwiseNot"),
  ...["Sinh", "Cosh", "Asin", "Acos", "Asinh", "Acosh", "Atanh", "Swish", "Shrink"].map(
    unsupported,
  ),
  ...["Min", "Max", "Mean", "Pow", "Mod", "SwiGLU"].map(joined),
];
