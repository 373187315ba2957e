// Norms of each row by itself: LayerNorm, RMSNorm, and both together with the sum in front of them.

import {
  float,
  floatAttribute,
  int,
  intAttribute,
  type Node,
  type ValueName,
} from "../graph/graph.ts";
import { normalizeAxis } from "../graph/shape.ts";
import { castLike, countAlong, knownShape, scalarLike, sizesOf, unbroadcast } from "./construct.ts";
import type { GradientContext, GradientRule, OpDef, ShapeRule } from "./op.ts";
import { defineOp, perInput, sameAsInput, typed } from "./rules.ts";
import { inSingle, type Standardised, standardise, unstandardise } from "./standardise.ts";

/** The axes that a node normalises: from `axis` to the last. */
function axesFrom(context: GradientContext, x: ValueName): readonly number[] {
  const rank = knownShape(context, x, context.node).length;
  const axis = normalizeAxis(intAttribute(context.node, "axis", -1), rank) ?? rank - 1;
  return Array.from({ length: rank - axis }, (_, i) => axis + i);
}

/**
 * x̂ and r by one fused node, which rounds as the forward does. Its statistics are float32 (ONNX
 * LayerNormalization-17), so double precision is written out.
 */
function layerStandardised(
  context: GradientContext,
  x: ValueName,
  axes: readonly number[],
  epsilon: number,
): Standardised {
  const standard = { axes, epsilon, centre: true };
  if (context.typeOf(x)?.dtype !== "float32") return standardise(context, x, standard);
  const ones = context.emit("Expand", [scalarLike(context, x, 1), sizesOf(context, x, axes)]);
  const [hat = "", , r = ""] = context.emitAll("LayerNormalization", [x, ones], {
    attributes: { axis: int(axes[0] ?? -1), epsilon: float(epsilon) },
    outputCount: 3,
  });
  return { ...standard, hat, r };
}

/** What flows into a norm: into its result, and into the statistics that it tells. */
interface Incoming {
  readonly dy: ValueName | undefined;
  readonly dMean: ValueName | undefined;
  readonly dInverse: ValueName | undefined;
}

/** Gradients of the rows, and of scale and bias. */
interface Outgoing {
  readonly dx: ValueName | undefined;
  readonly dScale: ValueName | undefined;
  readonly dBias: ValueName | undefined;
}

/** Which of them are wanted, and what scale and bias are; "" for none. */
interface Affine {
  readonly scale: ValueName;
  readonly bias: ValueName;
  readonly wantsX: boolean;
  readonly wantsScale: boolean;
  readonly wantsBias: boolean;
}

/** The way back through x̂·scale + bias. */
function throughRows(
  context: GradientContext,
  x: ValueName,
  affine: Affine,
  incoming: Incoming,
  standardised: (x: ValueName) => Standardised,
): Outgoing {
  const { scale, bias, wantsX, wantsScale, wantsBias } = affine;
  const { node } = context;
  const own = inSingle(context, x);
  const dy = incoming.dy === undefined ? undefined : inSingle(context, incoming.dy);
  const of = wantsX || wantsScale ? standardised(own) : undefined;
  const back = (v: ValueName, like: ValueName): ValueName =>
    castLike(context, unbroadcast(context, v, like, node), like);
  const g = dy && wantsX ? context.emit("Mul", [dy, castLike(context, scale, dy)]) : undefined;
  const parts = of && wantsX ? rowsGradient(context, of, g, incoming) : undefined;
  return {
    dx: parts && castLike(context, parts, x),
    dScale: of && dy && wantsScale ? back(context.emit("Mul", [dy, of.hat]), scale) : undefined,
    dBias: dy && wantsBias ? back(dy, bias) : undefined,
  };
}

/** mean = Σ x / n and r = (variance + ε)^-½, so that what flows into them adds (dmean - dr·r²·x̂) / n. */
function rowsGradient(
  context: GradientContext,
  of: Standardised,
  g: ValueName | undefined,
  { dMean, dInverse }: Incoming,
): ValueName | undefined {
  const { hat, r, axes } = of;
  const emit = (op: string, ...inputs: ValueName[]): ValueName => context.emit(op, inputs);
  const count = countAlong(context, hat, axes, hat);
  const own = (d: ValueName): ValueName => castLike(context, d, hat);
  const terms = g === undefined ? [] : [unstandardise(context, of, g)];
  if (dInverse !== undefined) {
    const slope = emit("Div", emit("Mul", own(dInverse), emit("Mul", r, r)), count);
    terms.push(emit("Neg", emit("Mul", hat, slope)));
  }
  if (dMean !== undefined) {
    const share = emit("Div", own(dMean), count);
    terms.push(emit("Expand", share, emit("Shape", hat)));
  }
  return terms.length < 2 ? terms[0] : emit("Sum", ...terms);
}

/** x̂ about the mean, or about zero, as the op of the node has it. */
function standardisedBy(
  context: GradientContext,
  centre: boolean,
  axes: readonly number[],
  usual: number,
): (x: ValueName) => Standardised {
  const epsilon = floatAttribute(context.node, "epsilon", usual);
  return (x) =>
    centre
      ? layerStandardised(context, x, axes, epsilon)
      : standardise(context, x, { axes, epsilon, centre });
}

/** Of the rows that input 0 is, with scale and bias behind it. */
function normGradient(centre: boolean): GradientRule {
  return (context, [dy, first, second]) => {
    const [x = "", scale = "", bias = ""] = context.node.inputs;
    const axes = axesFrom(context, x);
    const { dx, dScale, dBias } = throughRows(
      context,
      x,
      {
        scale,
        bias,
        wantsX: context.wants(0),
        wantsScale: context.wants(1),
        wantsBias: bias !== "" && context.wants(2),
      },
      // RMSNorm has no mean to tell: its second output is the inverse deviation.
      { dy, dMean: centre ? first : undefined, dInverse: centre ? second : first },
      standardisedBy(context, centre, axes, 1e-5),
    );
    return [dx, dScale, dBias];
  };
}

/** The normalised axes are 1 in mean and inverse deviation, which are float32 (ONNX LayerNormalization-17). */
const layerNormShape: ShapeRule = (c) => {
  const x = c.input(0);
  const axis = x?.shape && normalizeAxis(intAttribute(c.node, "axis", -1), x.shape.length);
  const kept = axis === undefined ? undefined : x?.shape?.map((dim, i) => (i < axis ? dim : 1));
  return [x, typed("float32", kept), typed("float32", kept)];
};

/** As that of LayerNorm, without a mean. */
const simplifiedShape: ShapeRule = (c) => {
  const [x, , inverse] = layerNormShape(c);
  return [x, inverse];
};

const layerNormalization = defineOp("LayerNormalization", {
  shape: layerNormShape,
  cost: perInput(5),
  saves: { inputs: [0, 1], outputs: [] },
  gradient: normGradient(true),
});

const rmsNormalization = defineOp("RMSNormalization", {
  shape: sameAsInput,
  cost: perInput(4),
  saves: { inputs: [0, 1], outputs: [] },
  gradient: normGradient(false),
});

/** RMSNorm as ONNX Runtime names it, in the standard's domain (onnxruntime, contrib_defs.cc). */
const simplified = defineOp("SimplifiedLayerNormalization", {
  shape: simplifiedShape,
  cost: perInput(4),
  saves: { inputs: [0, 1], outputs: [] },
  gradient: normGradient(false),
});

/** Normalised sum, mean, inverse deviation, and the sum itself. */
const skipNormShape: ShapeRule = (c) => {
  const x = c.input(0);
  const perRow = x?.shape?.map((dim, axis, all) => (axis === all.length - 1 ? 1 : dim));
  return [x, typed("float32", perRow), typed("float32", perRow), x];
};

/** The sum that a node normalises: its fourth output, or made again. */
function sumOf(context: GradientContext, node: Node, bias: ValueName): ValueName {
  const [x = "", skip = ""] = node.inputs;
  const told = node.outputs[3] ?? "";
  if (told !== "") return told;
  const sum = context.emit("Add", [x, skip]);
  return bias === "" ? sum : context.emit("Add", [sum, bias]);
}

/** The gradient of the sum goes to both operands, and summed over rows to their bias. */
function skipNormGradient(centre: boolean): GradientRule {
  return (context, [dy, dMean, dInverse, dSum]) => {
    const { node } = context;
    const [x = "", skip = "", scale = ""] = node.inputs;
    // Without a mean there is no shift either, and the bias of the sum moves up.
    const at = { shift: 3, bias: centre ? 4 : 3 };
    const shift = centre ? (node.inputs[at.shift] ?? "") : "";
    const bias = node.inputs[at.bias] ?? "";
    const rank = knownShape(context, x, node).length;
    const wantsX = [0, 1, at.bias].some((i) => context.wants(i));
    const wantsBias = shift !== "" && context.wants(at.shift);
    const { dx, dScale, dBias } = throughRows(
      context,
      sumOf(context, node, bias),
      { scale, bias: shift, wantsX, wantsScale: context.wants(2), wantsBias },
      { dy, dMean, dInverse },
      standardisedBy(context, centre, [rank - 1], 1e-12),
    );
    const both = dx && dSum ? context.emit("Add", [dx, dSum]) : (dx ?? dSum);
    const given = (i: number, operand: ValueName): ValueName | undefined =>
      both !== undefined && operand !== "" && context.wants(i)
        ? unbroadcast(context, both, operand, node)
        : undefined;
    const operands = [given(0, x), given(1, skip), dScale];
    return [...operands, ...(centre ? [dBias] : []), given(at.bias, bias)];
  };
}

const skipNorm = (type: string, centre: boolean): OpDef =>
  defineOp(type, {
    domain: "com.microsoft",
    shape: skipNormShape,
    cost: perInput(6),
    saves: { inputs: [0, 1], outputs: [] },
    gradient: skipNormGradient(centre),
  });

/** Norms of each row. */
export const layerNorms: readonly OpDef[] = [
  layerNormalization,
  rmsNormalization,
  simplified,
  skipNorm("SkipLayerNormalization", true),
  skipNorm("SkipSimplifiedLayerNormalization", false),
];
