// Ops that join tensors element by element, and those that change the type of elements alone.

import { intAttribute, type ValueName } from "../graph/graph.ts";
import { numbersOf } from "../graph/tensor.ts";
import { DTYPE_CODES } from "../onnx/dtype-codes.ts";
import { type Arithmetic, arithmetic } from "./arithmetic.ts";
import { castLike as castTo, unbroadcast } from "./construct.ts";
import type { GradientContext, GradientRule, OpDef, SavedForBackward } from "./op.ts";
import {
  broadcastInputs,
  broadcastShape,
  broadcastToBool,
  defineOp,
  free,
  perOutput,
  SAVES_NOTHING,
  sameAsInput,
  typed,
} from "./rules.ts";

const BOTH: SavedForBackward = { inputs: [0, 1], outputs: [] };

/** Operands x and y and result z = x ∘ y of a binary op, with arithmetic in the type of dz. */
interface Join extends Arithmetic {
  readonly x: ValueName;
  readonly y: ValueName;
  readonly z: ValueName;
  readonly context: GradientContext;
}

/** The gradient of one operand before it is summed back to the operand's shape. */
type Side = (join: Join, dz: ValueName) => ValueName;

/** A binary op with broadcasting. */
function binary(type: string, saves: SavedForBackward, left: Side, right: Side): OpDef {
  return defineOp(type, {
    shape: broadcastInputs,
    cost: perOutput(1),
    saves,
    gradient: (context, [dz]) => {
      if (dz === undefined) return [undefined, undefined];
      const [x = "", y = ""] = context.node.inputs;
      const [z = ""] = context.node.outputs;
      const join = { ...arithmetic(context, dz), x, y, z, context };
      const back = (i: number, side: Side, operand: ValueName): ValueName | undefined =>
        context.wants(i) ? unbroadcast(context, side(join, dz), operand, context.node) : undefined;
      return [back(0, left, x), back(1, right, y)];
    },
  });
}

const passThrough: Side = (_join, dz) => dz;

/** x + y. The merge of an additive skip: its gradient flows to both operands unchanged. */
const add = binary("Add", SAVES_NOTHING, passThrough, passThrough);

/** x - y. */
const sub = binary("Sub", SAVES_NOTHING, passThrough, (j, dz) => j.of("Neg", dz));

/** x · y. */
const mul = binary(
  "Mul",
  BOTH,
  (j, dz) => j.mul(dz, j.y),
  (j, dz) => j.mul(dz, j.x),
);

/** x / y; d/dy = -dz · z / y. */
const div = binary(
  "Div",
  { inputs: [1], outputs: [0] },
  (j, dz) => j.div(dz, j.y),
  (j, dz) => j.of("Neg", j.div(j.mul(dz, j.z), j.y)),
);

/** x - y·trunc(x / y), the sign of x kept (C's fmod; without `fmod` it is of integers). */
const mod = binary("Mod", BOTH, passThrough, (j, dz) => {
  const quotient = j.div(j.x, j.y);
  const whole = j.mul(j.of("Sign", quotient), j.of("Floor", j.of("Abs", quotient)));
  return j.of("Neg", j.mul(dz, whole));
});

/** The exponent, where it is one number that is known. */
function knownExponent({ context, y }: Join): number | undefined {
  const ref = context.constantOf(y);
  if (ref === undefined || ref.shape.some((dim) => dim !== 1)) return undefined;
  return numbersOf(ref)?.[0];
}

/** dz·y·x^(y-1), which is 0 for y = 0 also where x is 0 (as in PyTorch). */
function powBase(join: Join, dz: ValueName): ValueName {
  const { x, y, z } = join;
  switch (knownExponent(join)) {
    case 0:
      return join.mul(dz, 0);
    case 0.5:
      return join.div(dz, join.add(z, z));
    case 1:
      return dz;
    case 2:
      return join.mul(dz, join.mul(x, 2));
    case 3:
      return join.mul(dz, join.mul(join.mul(x, x), 3));
    default: {
      const exponent = castTo(join.context, y, z);
      const slope = join.mul(exponent, join.pow(x, join.sub(exponent, 1)));
      return join.mul(dz, join.where(join.equal(exponent, 0), 0, slope));
    }
  }
}

/** x^y; d/dy = z·log x where x is positive, and 0 elsewhere. */
const pow = binary("Pow", { inputs: [0, 1], outputs: [0] }, powBase, (j, dz) => {
  const safe = j.where(j.greater(j.x, 0), j.x, 1);
  return j.mul(dz, j.mul(j.z, j.of("Log", safe)));
});

/** An op of any number of operands, from which each gets its own part of dz. */
function variadic(
  type: string,
  saves: SavedForBackward,
  parts: (context: GradientContext, dz: ValueName) => (i: number) => ValueName,
): OpDef {
  return defineOp(type, {
    shape: broadcastInputs,
    cost: perOutput(1),
    saves,
    gradient: (context, [dz]) => {
      if (dz === undefined) return [];
      const part = parts(context, dz);
      return context.node.inputs.map((operand, i) =>
        context.wants(i) ? unbroadcast(context, part(i), operand, context.node) : undefined,
      );
    },
  });
}

/** x₁ + x₂ + …: the n-ary merge. */
const sum = variadic("Sum", SAVES_NOTHING, (_context, dz) => () => dz);

const mean = variadic("Mean", SAVES_NOTHING, (context, dz) => {
  const share = arithmetic(context, dz).div(dz, context.node.inputs.length);
  return () => share;
});

/** The extreme one gets dz; where several are, they share it evenly. */
const extreme = (type: string): OpDef =>
  variadic(type, BOTH, (context, dz) => {
    const a = arithmetic(context, dz);
    const [z = ""] = context.node.outputs;
    const masks = context.node.inputs.map((operand) => a.mask(a.equal(operand, z)));
    const share = a.div(dz, context.emit("Sum", masks));
    return (i) => a.mul(share, masks[i] ?? "");
  });

const identity = defineOp("Identity", {
  shape: sameAsInput,
  containers: true,
  cost: free,
  gradient: (_context, [dy]) => [dy],
});

/** dy in the type of x. */
const castBack: GradientRule = (context, [dy]) => [
  dy === undefined || !context.wants(0)
    ? undefined
    : castTo(context, dy, context.node.inputs[0] ?? ""),
];

const cast = defineOp("Cast", {
  shape: ({ node, input }) => [
    typed(DTYPE_CODES.get(intAttribute(node, "to", 0)), input(0)?.shape),
  ],
  cost: perOutput(1),
  gradient: castBack,
});

/** The same bits read as another type of the same width. */
const bitCast = defineOp("BitCast", {
  shape: ({ node, input }) => [
    typed(DTYPE_CODES.get(intAttribute(node, "to", 0)), input(0)?.shape),
  ],
  cost: free,
  gradient: "zero",
});

const castLike = defineOp("CastLike", {
  shape: ({ input }) => [typed(input(1)?.dtype, input(0)?.shape)],
  cost: perOutput(1),
  gradient: castBack,
});

const where = defineOp("Where", {
  shape: (context) => [
    typed(context.input(1)?.dtype ?? context.input(2)?.dtype, broadcastShape(context)),
  ],
  cost: perOutput(1),
  saves: { inputs: [0], outputs: [] },
  // What a branch that is not taken holds, NaN for one, does not get into the other's gradient.
  gradient: (context, [dy]) => {
    if (dy === undefined) return [];
    const [condition = "", x = "", y = ""] = context.node.inputs;
    const a = arithmetic(context, dy);
    const back = (i: number, part: () => ValueName, operand: ValueName) =>
      context.wants(i) ? unbroadcast(context, part(), operand, context.node) : undefined;
    return [
      undefined,
      back(1, () => a.where(condition, dy, 0), x),
      back(2, () => a.where(condition, 0, dy), y),
    ];
  },
});

const comparison = (type: string): OpDef =>
  defineOp(type, { shape: broadcastToBool, cost: perOutput(1), gradient: "zero" });
const joinedIntegers = (type: string): OpDef =>
  defineOp(type, { shape: broadcastInputs, cost: perOutput(1), gradient: "zero" });

/** All ops of this family. */
export const elementwise: readonly OpDef[] = [
  ...[add, sub, mul, div, mod, pow, sum, mean, extreme("Max"), extreme("Min")],
  ...[identity, cast, castLike, bitCast, where],
  ...["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"].map(comparison),
  ...["And", "Or", "Xor", "IsNaN", "IsInf"].map(comparison),
  ...["BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor"].map(joinedIntegers),
];
