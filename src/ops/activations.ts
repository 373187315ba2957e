// Activations. At a kink the slope is PyTorch's, so that training from its weights takes the same way.

import { float, floatAttribute, stringAttribute, type ValueName } from "../graph/graph.ts";
import { numbersOf } from "../graph/tensor.ts";
import { type Arithmetic, arithmetic } from "./arithmetic.ts";
import { noGradient, unbroadcast } from "./construct.ts";
import type { GradientContext, GradientRule, OpDef } from "./op.ts";
import { broadcastInputs, defineOp, perOutput, typed } from "./rules.ts";
import { INPUT, OUTPUT, pulledBack, type Slope, slope, unary } from "./unary.ts";

/**
 * 1 where y > 0, else 0. HardSigmoid with a huge slope is that in one pass (5 ms against 8.5 for Greater and
 * Cast and 24 for Where on a feature map of a ResNet-20 step); the runtime has it for float32 alone.
 */
function positive(s: Slope, y: ValueName): ValueName {
  if (s.context.typeOf(y)?.dtype !== "float32") return s.mask(s.greater(y, 0));
  const attributes = { alpha: float(1e30), beta: float(0) };
  return s.context.emit("HardSigmoid", [y], { attributes });
}

/** max(x, 0). The mask comes from the output, so that the input can be freed; 0 at 0. */
const relu = unary(
  "Relu",
  OUTPUT,
  slope((s) => positive(s, s.y)),
);

const leakyRelu = unary(
  "LeakyRelu",
  INPUT,
  slope((s) => s.where(s.greater(s.x, 0), 1, floatAttribute(s.context.node, "alpha", 0.01))),
);

/** Slopes are spread over x, never x over slopes. */
const prelu = unary("PRelu", { inputs: [0, 1], outputs: [] }, (context, [dy]) => {
  if (dy === undefined) return [];
  const [x = "", alpha = ""] = context.node.inputs;
  const s = arithmetic(context, x);
  const isPositive = s.greater(x, 0);
  return [
    context.wants(0) ? s.where(isPositive, dy, s.mul(dy, alpha)) : undefined,
    context.wants(1)
      ? unbroadcast(context, s.where(isPositive, 0, s.mul(dy, x)), alpha, context.node)
      : undefined,
  ];
});

/** α(eˣ - 1) below 0, where the slope is y + α. */
const elu = unary(
  "Elu",
  OUTPUT,
  slope((s) => {
    const alpha = floatAttribute(s.context.node, "alpha", 1);
    return s.where(s.greater(s.y, 0), 1, s.add(s.y, alpha));
  }),
);

/** Klambauer et al. 2017: γ·x above 0, γα(eˣ - 1) below. */
const selu = unary(
  "Selu",
  OUTPUT,
  slope((s) => {
    const alpha = floatAttribute(s.context.node, "alpha", 1.6732632);
    const gamma = floatAttribute(s.context.node, "gamma", 1.050701);
    return s.where(s.greater(s.y, 0), gamma, s.add(s.y, gamma * alpha));
  }),
);

/** α(e^(x/α) - 1) below 0, where the slope is y/α + 1. */
const celu = unary(
  "Celu",
  OUTPUT,
  slope((s) => {
    const alpha = floatAttribute(s.context.node, "alpha", 1);
    return s.where(s.greater(s.y, 0), 1, s.add(s.div(s.y, alpha), 1));
  }),
);

const thresholdedRelu = unary(
  "ThresholdedRelu",
  INPUT,
  slope((s) => s.mask(s.greater(s.x, floatAttribute(s.context.node, "alpha", 1)))),
);

const softplus = unary(
  "Softplus",
  INPUT,
  slope((s) => s.of("Sigmoid", s.x)),
);

const softsign = unary(
  "Softsign",
  INPUT,
  pulledBack((s, dy) => {
    const scale = s.add(s.of("Abs", s.x), 1);
    return s.div(dy, s.mul(scale, scale));
  }),
);

/** clamp(αx + β, 0, 1). */
const hardSigmoid = unary(
  "HardSigmoid",
  OUTPUT,
  slope((s) => {
    const between = s.context.emit("And", [s.greater(s.y, 0), s.greater(1, s.y)]);
    return s.where(between, floatAttribute(s.context.node, "alpha", 0.2), 0);
  }),
);

/** x·clamp(x/6 + 1/2, 0, 1): 0 up to -3, x/3 + 1/2 up to 3, then 1. */
const hardSwish = unary(
  "HardSwish",
  INPUT,
  slope((s) => {
    const upper = s.where(s.greater(s.x, 3), 1, s.add(s.div(s.x, 3), 0.5));
    return s.where(s.greater(s.x, -3), upper, 0);
  }),
);

const ROOT_HALF = Math.SQRT1_2;
const ROOT_2_OVER_PI = Math.sqrt(2 / Math.PI);
/** The cubic term of the tanh form (Hendrycks and Gimpel 2016, section 2). */
const CUBIC = 0.044715;

/** The input of an activation, and arithmetic on it. */
type Argument = Arithmetic & { readonly x: ValueName };

/** Φ(x) + x·φ(x). */
export function geluSlope(s: Argument): ValueName {
  const cdf = s.mul(s.add(s.of("Erf", s.mul(s.x, ROOT_HALF)), 1), 0.5);
  const square = s.mul(s.x, s.x);
  const density = s.mul(s.of("Exp", s.mul(square, -0.5)), ROOT_2_OVER_PI / 2);
  return s.add(cdf, s.mul(s.x, density));
}

/** With u = √(2/π)(x + cx³): ½(1 + tanh u) + ½x(1 - tanh² u)·√(2/π)(1 + 3cx²). */
export function geluTanhSlope(s: Argument): ValueName {
  const square = s.mul(s.x, s.x);
  const inner = s.mul(s.mul(s.x, s.add(s.mul(square, CUBIC), 1)), ROOT_2_OVER_PI);
  const t = s.of("Tanh", inner);
  const innerSlope = s.mul(s.add(s.mul(square, 3 * CUBIC), 1), ROOT_2_OVER_PI);
  const right = s.mul(s.mul(s.x, s.sub(1, s.mul(t, t))), innerSlope);
  return s.mul(s.add(s.add(t, 1), right), 0.5);
}

const gelu = unary(
  "Gelu",
  INPUT,
  slope((s) =>
    stringAttribute(s.context.node, "approximate", "none") === "tanh"
      ? geluTanhSlope(s)
      : geluSlope(s),
  ),
);

/** x·σ(αx), slope σ + α·y·(1 - σ). */
const swish = unary(
  "Swish",
  { inputs: [0], outputs: [0] },
  slope((s) => {
    const alpha = floatAttribute(s.context.node, "alpha", 1);
    const sigma = s.of("Sigmoid", alpha === 1 ? s.x : s.mul(s.x, alpha));
    return s.add(sigma, s.mul(s.mul(s.y, alpha), s.sub(1, sigma)));
  }),
);

/** The gate's swish times the value, of one shape (ONNX SwiGLU-28; Shazeer 2020, 2002.05202). */
const swiglu = defineOp("SwiGLU", {
  shape: broadcastInputs,
  cost: perOutput(5),
  saves: { inputs: [0, 1], outputs: [] },
  gradient: {
    because:
      "it is of an operator set that ONNX Runtime 1.30 does not run (write it as Swish and Mul)",
  },
});

/** x·tanh(softplus x) (Misra 2019). */
const mish = unary("Mish", INPUT, {
  decompose: (context) => {
    const [x = ""] = context.node.inputs;
    const s = arithmetic(context, x);
    return [s.mul(x, s.of("Tanh", s.of("Softplus", x)))];
  },
});

/** x moved towards 0 by a bias outside of ±λ, and 0 inside. */
const shrink = unary(
  "Shrink",
  INPUT,
  slope((s) => s.mask(s.greater(s.of("Abs", s.x), floatAttribute(s.context.node, "lambd", 0.5)))),
);

/** dx = dy where lo ≤ x ≤ hi; what is cut off goes to the bound that cut it. */
const clipGradient: GradientRule = (context, [dy]) => {
  if (dy === undefined) return [];
  const [x = "", lo = "", hi = ""] = context.node.inputs;
  const s = arithmetic(context, x);
  const below = lo === "" ? undefined : s.greater(lo, x);
  const above = hi === "" ? undefined : s.greater(x, hi);
  let dx = dy;
  if (below !== undefined) dx = s.where(below, 0, dx);
  if (above !== undefined) dx = s.where(above, 0, dx);
  const atBound = (i: number, cut: ValueName | undefined, bound: ValueName) =>
    cut !== undefined && context.wants(i)
      ? unbroadcast(context, s.where(cut, dy, 0), bound, context.node)
      : undefined;
  return [context.wants(0) ? dx : undefined, atBound(1, below, lo), atBound(2, above, hi)];
};

const clip = unary("Clip", INPUT, clipGradient);

/** dy where the mask kept the element, over the share that is kept (Dropout-12). */
function dropoutGradient(context: GradientContext, dy: ValueName): ValueName {
  const { node } = context;
  const [, ratio = "", training = ""] = node.inputs;
  const known = (name: ValueName): number | undefined => {
    const ref = context.constantOf(name);
    return ref && numbersOf(ref)?.[0];
  };
  if (training === "" || known(training) === 0 || known(ratio) === 0) return dy;
  const [, mask = ""] = node.outputs;
  if (mask === "") throw noGradient(node, "what it drops is known only from its second output");
  const s = arithmetic(context, dy);
  const kept = s.sub(1, ratio === "" ? 0.5 : ratio);
  return s.div(s.mul(dy, s.mask(mask)), kept);
}

const dropout = defineOp("Dropout", {
  // The mask was of the input's type before operator set 10.
  shape: (context) => {
    const x = context.input(0);
    return [x, typed(context.opset < 10 ? x?.dtype : "bool", x?.shape)];
  },
  cost: perOutput(1),
  saves: { inputs: [], outputs: [1] },
  gradient: (context, [dy]) => [dy === undefined ? undefined : dropoutGradient(context, dy)],
});

/** All ops of this family. */
export const activations: readonly OpDef[] = [
  ...[relu, leakyRelu, prelu, elu, selu, celu, thresholdedRelu, softplus, softsign],
  ...[hardSigmoid, hardSwish, gelu, swish, swiglu, mish, shrink, clip, dropout],
];
