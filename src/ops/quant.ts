// Quantized values: to and from them, and the ops that compute on them.

import type { DType } from "../graph/dtype.ts";
import { intAttribute, type ValueName } from "../graph/graph.ts";
import { broadcast, type Shape } from "../graph/shape.ts";
import { DTYPE_CODES } from "../onnx/dtype-codes.ts";
import { arithmetic } from "./arithmetic.ts";
import { castLike, noGradient } from "./construct.ts";
import { convShape } from "./conv.ts";
import { gemmShape, matmulShape } from "./matmul.ts";
import { concatShape } from "./movement.ts";
import type { GradientRule, OpDef, ShapeContext } from "./op.ts";
import { defineOp, perInput, perOutput, typed } from "./rules.ts";
import { gathered, spread } from "./scaling.ts";

/** Least and greatest number of each type that values are quantized to; of floats, the greatest finite ones. */
const RANGES: Readonly<Partial<Record<DType, readonly [number, number]>>> = {
  uint8: [0, 255],
  int8: [-128, 127],
  uint16: [0, 65535],
  int16: [-32768, 32767],
  uint4: [0, 15],
  int4: [-8, 7],
  uint2: [0, 3],
  int2: [-2, 1],
  float8e4m3fn: [-448, 448],
  float8e4m3fnuz: [-240, 240],
  float8e5m2: [-57344, 57344],
  float8e5m2fnuz: [-57344, 57344],
};

/**
 * The rounding is passed straight through (Bengio et al. 2013, 1308.3432): with v = x/s + z, dx = dy/s and
 * ds = Σ -dy·x/s² where v is in range, and nothing beyond. Together with what flows into the scale of the
 * DequantizeLinear behind, that is the gradient of a learned step size (Esser et al. 2020, 1902.08153, equation
 * 3), without its factor 1/√(n·qmax), which belongs to the learning rate.
 */
const quantizeGradient: GradientRule = (context, [dy]) => {
  if (dy === undefined) return [];
  const { node } = context;
  const [x = "", scale = "", zero = ""] = node.inputs;
  const range = RANGES[context.typeOf(node.outputs[0] ?? "")?.dtype ?? "uint8"];
  if (range === undefined)
    throw noGradient(node, "the range of the type it quantizes to is not known");
  const a = arithmetic(context, x);
  const step = spread(context, castLike(context, scale, x), x);
  const steps = a.div(x, step);
  const v = zero === "" ? steps : a.add(steps, spread(context, castLike(context, zero, x), x));
  const beyond = context.emit("Or", [a.greater(range[0], v), a.greater(v, range[1])]);
  const passed = a.div(a.where(beyond, 0, castLike(context, dy, x)), step);
  const dScale = (): ValueName => gathered(context, a.of("Neg", a.mul(passed, steps)), scale);
  return [
    context.wants(0) ? passed : undefined,
    context.wants(1) ? castLike(context, dScale(), scale) : undefined,
  ];
};

/** y = (x - z)·s: dx = dy·s of a value in steps, ds = Σ dy·(x - z). */
const dequantizeGradient: GradientRule = (context, [dy]) => {
  if (dy === undefined) return [];
  const { node } = context;
  const [, scale = ""] = node.inputs;
  const [y = ""] = node.outputs;
  const a = arithmetic(context, dy);
  const step = spread(context, castLike(context, scale, dy), dy);
  const dScale = (): ValueName => gathered(context, a.mul(dy, a.div(y, step)), scale);
  return [
    context.wants(0) ? a.mul(dy, step) : undefined,
    context.wants(1) ? castLike(context, dScale(), scale) : undefined,
  ];
};

const quantizeLinear = defineOp("QuantizeLinear", {
  shape: (c) => {
    const code = intAttribute(c.node, "output_dtype", 0);
    const zeroPoint = c.input(2)?.dtype;
    const dtype = zeroPoint ?? (code === 0 ? "uint8" : DTYPE_CODES.get(code));
    return [typed(dtype, c.input(0)?.shape)];
  },
  cost: perInput(2),
  gradient: quantizeGradient,
  saves: { inputs: [0], outputs: [] },
  inSteps: true,
});

const dequantizeLinear = defineOp("DequantizeLinear", {
  shape: (c) => {
    const code = intAttribute(c.node, "output_dtype", 0);
    return [typed(code === 0 ? c.input(1)?.dtype : DTYPE_CODES.get(code), c.input(0)?.shape)];
  },
  cost: perInput(2),
  gradient: dequantizeGradient,
});

/** For ops on integers: no number there moves with a small change of another. */
const gradient = {
  because:
    "it computes with integers (write it as DequantizeLinear, the op on floats and QuantizeLinear: gradients flow through those)",
} as const;

const dynamicQuantizeLinear = defineOp("DynamicQuantizeLinear", {
  shape: (c) => [typed("uint8", c.input(0)?.shape), typed("float32", []), typed("uint8", [])],
  cost: perInput(3),
  gradient: {
    because:
      "its scale is taken from the values themselves, for a product of integers (use QuantizeLinear and DequantizeLinear with scales of their own)",
  },
  inSteps: true,
});

const qLinearMatMul = defineOp("QLinearMatMul", {
  shape: (c) => [typed(c.input(7)?.dtype, matmulShape(c.input(0)?.shape, c.input(3)?.shape))],
  cost: perOutput(2),
  gradient,
  inSteps: true,
});

const matMulInteger = defineOp("MatMulInteger", {
  shape: (c) => [typed("int32", matmulShape(c.input(0)?.shape, c.input(1)?.shape))],
  cost: perOutput(2),
  gradient,
  inSteps: true,
});

const convInteger = defineOp("ConvInteger", {
  shape: (c) => [typed("int32", convShape(c))],
  cost: perOutput(2),
  gradient,
  inSteps: true,
});

const qLinearConv = defineOp("QLinearConv", {
  shape: (c) => [typed(c.input(7)?.dtype, convShape(c, 3))],
  cost: perOutput(2),
  gradient,
  inSteps: true,
});

/** Where the first operand is, if other inputs stand in front of it. */
const FIRST: ReadonlyMap<string, number> = new Map([
  ["QLinearConcat", 2],
  ["QLinearWhere", 1],
]);

/** An op on quantized operands, each followed by its scale and zero point (ONNX Runtime, contributed ops). */
function qLinear(type: string, shape: (c: ShapeContext) => Shape | undefined): OpDef {
  return defineOp(type, {
    domain: "com.microsoft",
    shape: (c) => [typed(c.input(FIRST.get(type) ?? 0)?.dtype, shape(c))],
    cost: perOutput(2),
    gradient,
    inSteps: true,
  });
}

function joined(c: ShapeContext): Shape | undefined {
  const [a, b] = [c.input(0)?.shape, c.input(3)?.shape];
  return a && b && broadcast(a, b);
}

/** Scale and zero point of the result stand in front here. */
function concatenated(c: ShapeContext): Shape | undefined {
  const shapes = c.node.inputs.flatMap((_, i) => (i % 3 === 2 ? [c.input(i)?.shape] : []));
  return concatShape(shapes, intAttribute(c.node, "axis", 0));
}

function averaged(c: ShapeContext): Shape | undefined {
  const channelAt = (rank: number): number =>
    intAttribute(c.node, "channels_last", 0) === 0 ? 1 : rank - 1;
  const kept = (axis: number, rank: number): boolean => axis === 0 || axis === channelAt(rank);
  return c.input(0)?.shape?.map((dim, axis, all) => (kept(axis, all.length) ? dim : 1));
}

/** Without a scale of the result it is one of floats. */
const qGemm = defineOp("QGemm", {
  domain: "com.microsoft",
  shape: (c) => {
    const scale = c.node.inputs[7] ?? "";
    return [typed(scale === "" ? "float32" : c.input(0)?.dtype, gemmShape(c, 3))];
  },
  cost: perOutput(2),
  gradient,
  inSteps: true,
});

/** The convolution of the standard, or the same with channels behind. */
const contributedConv = defineOp("QLinearConv", {
  domain: "com.microsoft",
  shape: (c) => [typed(c.input(7)?.dtype, lastChannels(c) ? channelsLast(c) : convShape(c, 3))],
  cost: perOutput(2),
  gradient,
  inSteps: true,
});

function lastChannels(c: ShapeContext): boolean {
  return intAttribute(c.node, "channels_last", 0) !== 0;
}

function channelsLast(c: ShapeContext): Shape | undefined {
  const x = c.input(0);
  const [batch, ...rest] = x?.shape ?? [];
  const channels = rest.pop();
  if (x === undefined || batch === undefined || channels === undefined) return undefined;
  const front = { ...x, shape: [batch, channels, ...rest] };
  const [first, made, ...spatial] =
    convShape(
      {
        ...{ node: c.node, opset: c.opset },
        input: (i) => (i === 0 ? front : c.input(i)),
        constant: (i) => c.constant(i),
        entries: (i) => c.entries(i),
      },
      3,
    ) ?? [];
  return first === undefined || made === undefined ? undefined : [first, ...spatial, made];
}

/** Of a condition, and two operands with their scales and zero points. */
function choosing(c: ShapeContext): Shape | undefined {
  const [condition, a, b] = [c.input(0)?.shape, c.input(1)?.shape, c.input(4)?.shape];
  const both = a && b && broadcast(a, b);
  return condition && both && broadcast(condition, both);
}

/** All ops of this family. */
export const quantized: readonly OpDef[] = [
  quantizeLinear,
  dequantizeLinear,
  dynamicQuantizeLinear,
  qLinearMatMul,
  matMulInteger,
  convInteger,
  qLinearConv,
  contributedConv,
  qGemm,
  qLinear("QLinearAdd", joined),
  qLinear("QLinearMul", joined),
  qLinear("QLinearConcat", concatenated),
  qLinear("QLinearWhere", choosing),
  qLinear("QLinearGlobalAveragePool", averaged),
  ...["QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax"].map((type) =>
    qLinear(type, (c) => c.input(0)?.shape),
  ),
];
