// Ops that ONNX Runtime puts in the place of others when it optimises a graph (onnxruntime,
// docs/ContribOperators.md). Saved graphs hold them.

import {
  float,
  floatAttribute,
  intAttribute,
  type Node,
  stringAttribute,
  type ValueName,
} from "../graph/graph.ts";
import type { Shape } from "../graph/shape.ts";
import { scalarOf } from "../graph/tensor.ts";
import { geluSlope, geluTanhSlope } from "./activations.ts";
import { type Arithmetic, arithmetic } from "./arithmetic.ts";
import { type Activation, activationOf } from "./cell.ts";
import {
  countingAlong,
  knownShape,
  noGradient,
  reduce,
  scalarLike,
  sizesOf,
  transpose,
  unbroadcast,
} from "./construct.ts";
import { contributedAttentions } from "./contrib-attention.ts";
import { groupedAttentions } from "./contrib-grouped.ts";
import { convShape } from "./conv.ts";
import { gemmShape, matmulShape } from "./matmul.ts";
import { matMulNBits } from "./matmul-nbits.ts";
import type { Gradient, GradientRule, NodeContext, OpDef, ShapeRule } from "./op.ts";
import { costOf, defineOp, perInput, perOutput, sameAsInput, typed } from "./rules.ts";

const DOMAIN = "com.microsoft";

/** Rows of three tables, added and normalised; the end of each sequence; the sum itself. */
const embedNormShape: ShapeRule = (c) => {
  const [ids, table] = [c.input(0), c.input(2)];
  const width = table?.shape?.at(-1);
  const shape = ids?.shape && width !== undefined ? [...ids.shape, width] : undefined;
  const rows = typed(table?.dtype, shape);
  return [rows, typed("int32", ids?.shape?.slice(0, 1)), rows];
};

function contributed(type: string, shape: ShapeRule, gradient: Gradient): OpDef {
  return defineOp(type, {
    domain: DOMAIN,
    shape,
    cost: perInput(6),
    saves: { inputs: [0, 1], outputs: [] },
    gradient,
  });
}

/** The activation of a fused node; its numbers stand in a list, or one by one. */
function fusedActivation(node: Node): Activation {
  const name = stringAttribute(node, "activation", "");
  if (name === "") return (_context, x) => x;
  const list = node.attributes.get("activation_params");
  const numbers = list?.kind === "floats" ? list.value : [];
  const number = (i: number, attribute: string) => (): number | undefined =>
    node.attributes.has(attribute) ? floatAttribute(node, attribute, 0) : numbers[i];
  const [first, second] = [number(0, "activation_alpha"), number(1, "activation_beta")];
  if (name === "Clip") {
    const bound = (
      context: Parameters<Activation>[0],
      x: ValueName,
      value: number | undefined,
    ): ValueName => (value === undefined ? "" : scalarLike(context, x, value));
    return (context, x) =>
      context.emit("Clip", [x, bound(context, x, first()), bound(context, x, second())]);
  }
  if (name === "HardSwish") return (context, x) => context.emit("HardSwish", [x]);
  const found = activationOf(name, first, second);
  if (found === undefined) throw noGradient(node, `its activation "${name}" is not known`);
  return found;
}

/** The node's own attributes without those of what is fused to it. */
function plainAttributes({
  attributes,
}: Node): NonNullable<Parameters<NodeContext["emit"]>[2]>["attributes"] {
  return new Map([...attributes].filter(([name]) => !name.startsWith("activation")));
}

/** A convolution or product, then the sum of a skip, then an activation. */
function apart(op: string, operands: number): Gradient {
  return {
    decompose: (context) => {
      const { node } = context;
      const skip = node.inputs[operands] ?? "";
      const attributes = plainAttributes(node);
      const inputs = node.inputs.slice(0, operands);
      const y = context.emit(op, inputs, attributes === undefined ? {} : { attributes });
      const sum = skip === "" ? y : context.emit("Add", [y, skip]);
      return [fusedActivation(node)(context, sum)];
    },
  };
}

/** Convolution, sum and activation in one node; costed as its convolution. */
const fusedConv = defineOp("FusedConv", {
  domain: DOMAIN,
  shape: (c) => [typed(c.input(0)?.dtype, convShape(c))],
  cost: costOf((_node, [, w], [y]) => {
    const taps = w?.shape?.slice(1) ?? ["?"];
    const all = [...taps, ...(y?.shape ?? ["?"])];
    return all.every((dim) => typeof dim === "number") ? all.reduce((a, b) => a * b, 2) : undefined;
  }),
  saves: { inputs: [0, 1], outputs: [0] },
  gradient: apart("Conv", 3),
});

/** An operand of a FusedMatMul, its axes brought to where MatMul has them. */
function matmulOperand(context: NodeContext, i: number, name: string): ValueName {
  const { node } = context;
  const operand = node.inputs[i] ?? "";
  const rank = knownShape(context, operand, node).length;
  const axes = Array.from({ length: rank }, (_, axis) => axis);
  // Its first axis stands for the last but one, with the batch behind it.
  const batched = intAttribute(node, `transBatch${name}`, 0) !== 0 && rank > 2;
  const moved = batched ? [...axes.slice(1, -1), 0, rank - 1] : axes;
  const swapped = intAttribute(node, `trans${name}`, 0) !== 0 && rank > 1;
  const order = swapped ? [...moved.slice(0, -2), ...moved.slice(-2).toReversed()] : moved;
  return order.every((axis, at) => axis === at) ? operand : transpose(context, operand, order);
}

/** A product of matrices, either of them transposed; of transposed batch axes nothing is known. */
const fusedMatMul = defineOp("FusedMatMul", {
  domain: DOMAIN,
  shape: (c) => {
    const operand = (i: number, name: string): Shape | undefined => {
      const shape = c.input(i)?.shape;
      if (shape === undefined || intAttribute(c.node, `transBatch${name}`, 0) !== 0)
        return undefined;
      if (intAttribute(c.node, `trans${name}`, 0) === 0 || shape.length < 2) return shape;
      return [...shape.slice(0, -2), ...shape.slice(-2).toReversed()];
    };
    return [typed(c.input(0)?.dtype, matmulShape(operand(0, "A"), operand(1, "B")))];
  },
  cost: perOutput(2),
  saves: { inputs: [0, 1], outputs: [] },
  gradient: {
    decompose: (context) => {
      const operands = [matmulOperand(context, 0, "A"), matmulOperand(context, 1, "B")];
      const product = context.emit("MatMul", operands);
      const alpha = floatAttribute(context.node, "alpha", 1);
      return [alpha === 1 ? product : arithmetic(context, product).mul(product, alpha)];
    },
  },
});

/** Gemm and an activation in one node. */
const fusedGemm = contributed(
  "FusedGemm",
  (c) => [typed(c.input(0)?.dtype, gemmShape(c))],
  apart("Gemm", 3),
);

/** Of an activation of x + bias, with the slope at that sum. */
function biasedSlope(
  slope: (s: Arithmetic & { readonly x: ValueName }, node: Node) => ValueName,
): GradientRule {
  return (context, [dy]) => {
    if (dy === undefined) return [];
    const { node } = context;
    const [x = "", bias = ""] = node.inputs;
    const sum = bias === "" ? x : context.emit("Add", [x, bias]);
    const a = arithmetic(context, sum);
    const dx = a.mul(dy, slope({ ...a, x: sum }, node));
    return [
      context.wants(0) ? dx : undefined,
      bias !== "" && context.wants(1) ? unbroadcast(context, dx, bias, node) : undefined,
    ];
  };
}

/** x·σ(αx): σ + αxσ(1 - σ). */
const quickGeluSlope: Parameters<typeof biasedSlope>[0] = (s, node) => {
  const scaled = s.mul(s.x, floatAttribute(node, "alpha", 1.702));
  const sigma = s.of("Sigmoid", scaled);
  return s.mul(sigma, s.add(s.mul(scaled, s.sub(1, sigma)), 1));
};

/** Ids, segments, three tables, scale and bias, a mask, and where each id stands. */
const embedLayerNormalization: OpDef = {
  ...contributed("EmbedLayerNormalization", embedNormShape, {
    decompose: (context) => {
      const { node } = context;
      const [ids = "", segments = "", words = "", places = "", kinds = ""] = node.inputs;
      const [scale = "", bias = "", mask = "", positions = ""] = node.inputs.slice(5);
      const at = positions === "" ? countingAlong(context, ids, 1) : positions;
      const rows = [context.emit("Gather", [words, ids]), context.emit("Gather", [places, at])];
      if (segments !== "" && kinds !== "") rows.push(context.emit("Gather", [kinds, segments]));
      const sum = context.emit("Sum", rows);
      const epsilon = float(floatAttribute(node, "epsilon", 1e-12));
      const y = context.emit("LayerNormalization", [sum, scale, bias], { attributes: { epsilon } });
      const told = (node.outputs[1] ?? "") !== "";
      return [y, told ? maskLengths(context, ids, mask) : undefined, sum];
    },
  }),
  saves: { inputs: [], outputs: [2] },
};

/** How many ids of each example a mask keeps, int32; without one, 0. */
function maskLengths(context: NodeContext, ids: ValueName, mask: ValueName): ValueName {
  if (mask === "") {
    const zero = context.constant(scalarOf("int32", 0), "zero");
    return context.emit("Expand", [zero, sizesOf(context, ids, [0])]);
  }
  return reduce(context, "ReduceSum", mask, [1], false);
}

/**
 * The runtime's blocked layout: its tensors keep their four dims, with channels filled up to whole blocks whose
 * size depends on the processor. Shapes are told after the way back alone.
 */
function blocked(type: string): OpDef {
  const because =
    "it is of the runtime's own layout (differentiate the model as it was before the runtime optimised it)";
  return { ...contributed(type, unknownShape, { because }), domain: "com.microsoft.nchwc" };
}

const unknownShape: ShapeRule = (c) => [typed(c.input(0)?.dtype, undefined)];

/** All ops of this family. */
export const contributions: readonly OpDef[] = [
  fusedConv,
  fusedMatMul,
  fusedGemm,
  ...["Conv", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"].map(blocked),
  ...["Upsample", "ReorderInput", "ReorderOutput"].map(blocked),
  embedLayerNormalization,
  matMulNBits,
  ...contributedAttentions,
  ...groupedAttentions,
  contributed("Gelu", sameAsInput, biasedSlope(geluSlope)),
  contributed("BiasGelu", sameAsInput, biasedSlope(geluSlope)),
  contributed("FastGelu", sameAsInput, biasedSlope(geluTanhSlope)),
  contributed("QuickGelu", sameAsInput, biasedSlope(quickGeluSlope)),
];
