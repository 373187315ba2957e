// Norms over parts of one sample: groups of channels, single channels, and axes of one's choice.

import {
  floatAttribute,
  int,
  intAttribute,
  intsAttribute,
  type ValueName,
} from "../graph/graph.ts";
import { normalizeAxis } from "../graph/shape.ts";
import {
  castLike,
  knownShape,
  reduce,
  reshapeLike,
  scalarLike,
  shapeConstant,
  sizesOf,
} from "./construct.ts";
import type { GradientContext, GradientRule, OpDef } from "./op.ts";
import { defineOp, perInput, sameAsInput } from "./rules.ts";
import { inSingle, standardise, unstandardise } from "./standardise.ts";

/** How x is seen while it is normalised: the axes of a norm in it, and those along which scale and bias vary. */
interface View {
  /** x in this view. */
  readonly of: (x: ValueName) => ValueName;
  readonly rank: number;
  readonly normalised: readonly number[];
  readonly scaled: readonly number[];
}

/** x as it is: each channel of a sample by itself. */
function channelView(context: GradientContext, x: ValueName): View {
  const rank = knownShape(context, x, context.node).length;
  const normalised = Array.from({ length: rank - 2 }, (_, i) => i + 2);
  return { of: (v) => v, rank, normalised, scaled: [1] };
}

/** x as `[N, groups, channels of a group, pixels]`; scale and bias are per group before operator set 21. */
function groupView(context: GradientContext, x: ValueName): View {
  const { node } = context;
  const groups = intAttribute(node, "num_groups", 1);
  const perGroup = context.opset < 21;
  const target = groupedShape(context, x, groups);
  return {
    of: (v) => context.emit("Reshape", [v, target]),
    rank: 4,
    normalised: [2, 3],
    scaled: perGroup ? [1] : [1, 2],
  };
}

function groupedShape(context: GradientContext, x: ValueName, groups: number): ValueName {
  const [, channels, ...pixels] = knownShape(context, x, context.node);
  const count = pixels.reduce<number>((n, dim) => (typeof dim === "number" ? n * dim : NaN), 1);
  if (typeof channels === "number") {
    const each = channels / groups;
    // A batch of none has no size that could be left to be found beside another unknown.
    return shapeConstant(
      context,
      Number.isNaN(count) ? [0, groups, each, -1] : [-1, groups, each, count],
    );
  }
  const all = shapeConstant(context, [groups]);
  const each = context.emit("Div", [sizesOf(context, x, [1]), all]);
  const [same, rest] = [shapeConstant(context, [0]), shapeConstant(context, [-1])];
  return context.emit("Concat", [same, all, each, rest], { attributes: { axis: int(0) } });
}

/** The way back through x̂·scale + bias. */
function affineGradient(viewOf: (context: GradientContext, x: ValueName) => View): GradientRule {
  return (context, [dy]) => {
    if (dy === undefined) return [];
    const [x = "", scale = "", bias = ""] = context.node.inputs;
    const view = viewOf(context, x);
    const others = Array.from({ length: view.rank }, (_, i) => i).filter(
      (axis) => !view.scaled.includes(axis),
    );
    const own = (v: ValueName): ValueName => view.of(inSingle(context, v));
    const d = own(dy);
    const of = standardise(context, own(x), {
      axes: view.normalised,
      epsilon: floatAttribute(context.node, "epsilon", 1e-5),
      centre: true,
    });
    const gain = (): ValueName => {
      const like = castLike(context, scale, d);
      if (view.scaled.length === 1) {
        return context.emit("Unsqueeze", [like, shapeConstant(context, others)]);
      }
      const groups = intAttribute(context.node, "num_groups", 1);
      return context.emit("Reshape", [like, shapeConstant(context, [1, groups, -1, 1])]);
    };
    const dx = (): ValueName => {
      const back = unstandardise(context, of, context.emit("Mul", [d, gain()]));
      return castLike(context, reshapeLike(context, back, x), x);
    };
    const total = (v: ValueName, like: ValueName): ValueName => {
      const sum = reduce(context, "ReduceSum", v, others, false);
      return castLike(context, reshapeLike(context, sum, like), like);
    };
    return [
      context.wants(0) ? dx() : undefined,
      context.wants(1) ? total(context.emit("Mul", [d, of.hat]), scale) : undefined,
      context.wants(2) ? total(d, bias) : undefined,
    ];
  };
}

const instanceNormalization = defineOp("InstanceNormalization", {
  shape: sameAsInput,
  cost: perInput(5),
  saves: { inputs: [0, 1], outputs: [] },
  gradient: affineGradient(channelView),
});

const groupNormalization = defineOp("GroupNormalization", {
  shape: sameAsInput,
  cost: perInput(5),
  saves: { inputs: [0, 1], outputs: [] },
  gradient: affineGradient(groupView),
});

/** Added to the deviation (ONNX MeanVarianceNormalization-13, the function's body). */
const MVN_EPSILON = 1e-9;

/**
 * y = (x - mean) / (σ + ε): dx = (dy - mean(dy) - y·mean(dy·y)·(σ + ε)/σ) / (σ + ε). Where σ is 0, so is y,
 * and only the first two terms are left.
 */
const mvnGradient: GradientRule = (context, [given]) => {
  if (given === undefined) return [];
  const input = context.node.inputs[0] ?? "";
  const rank = knownShape(context, input, context.node).length;
  // Neither constant is a number of half precision.
  const [x, dy] = [inSingle(context, input), inSingle(context, given)];
  const axes = (intsAttribute(context.node, "axes") ?? [0, 2, 3]).map(
    (axis) => normalizeAxis(axis, rank) ?? 0,
  );
  const emit = (op: string, ...inputs: ValueName[]): ValueName => context.emit(op, inputs);
  const mean = (v: ValueName): ValueName => reduce(context, "ReduceMean", v, axes, true);
  const centred = emit("Sub", x, mean(x));
  const sigma = emit("Sqrt", mean(emit("Mul", centred, centred)));
  const raised = emit("Add", sigma, scalarLike(context, x, MVN_EPSILON));
  const y = emit("Div", centred, raised);
  // It only keeps 0/0 away.
  const least = emit("Max", sigma, scalarLike(context, x, 1e-30));
  const slope = emit("Div", mean(emit("Mul", dy, y)), least);
  const level = emit("Div", emit("Sub", dy, mean(dy)), raised);
  return [castLike(context, emit("Sub", level, emit("Mul", y, slope)), input)];
};

const meanVarianceNormalization = defineOp("MeanVarianceNormalization", {
  shape: sameAsInput,
  cost: perInput(5),
  saves: { inputs: [0], outputs: [] },
  gradient: mvnGradient,
});

/** Norms over parts of one sample. */
export const groupNorms: readonly OpDef[] = [
  instanceNormalization,
  groupNormalization,
  meanVarianceNormalization,
];
