// Normalisation, and the softmax family.

import { floatAttribute, intAttribute, type ValueName } from "../graph/graph.ts";
import { batchNormalization } from "./batch-norm.ts";
import { knownShape, noGradient, reduce, scalarLike, shapeConstant, sizesOf } from "./construct.ts";
import { groupNorms } from "./group-norm.ts";
import { layerNorms } from "./layer-norm.ts";
import type { OpDef } from "./op.ts";
import { defineOp, perInput, sameAsInput } from "./rules.ts";

/** dx = y·(dy - Σ dy·y) along the axis. */
const softmax = defineOp("Softmax", {
  shape: sameAsInput,
  cost: perInput(5),
  saves: { inputs: [], outputs: [0] },
  gradient: (context, [dy]) => {
    if (dy === undefined) return [undefined];
    const y = context.node.outputs[0] ?? "";
    const axis = intAttribute(context.node, "axis", -1);
    const along = reduce(context, "ReduceSum", context.emit("Mul", [dy, y]), [axis], true);
    return [context.emit("Mul", [y, context.emit("Sub", [dy, along])])];
  },
});

/** dx = dy - exp(y)·Σ dy along the axis. */
const logSoftmax = defineOp("LogSoftmax", {
  shape: sameAsInput,
  cost: perInput(5),
  saves: { inputs: [], outputs: [0] },
  gradient: (context, [dy]) => {
    if (dy === undefined) return [undefined];
    const y = context.node.outputs[0] ?? "";
    const axis = intAttribute(context.node, "axis", -1);
    const along = reduce(context, "ReduceSum", dy, [axis], true);
    const share = context.emit("Mul", [context.emit("Exp", [y]), along]);
    return [context.emit("Sub", [dy, share])];
  },
});

/**
 * y = x / ‖x‖: dx = (dy - d‖x‖/dx · Σ dy·y) / ‖x‖, with y or the sign of x for the slope of the norm. A row of
 * zeros, whose result is zeros, has gradient 0.
 */
const lpNormalization = defineOp("LpNormalization", {
  shape: sameAsInput,
  cost: perInput(3),
  saves: { inputs: [0], outputs: [0] },
  gradient: (context, [dy]) => {
    if (dy === undefined) return [];
    const { node } = context;
    const [x = ""] = node.inputs;
    const y = node.outputs[0] ?? "";
    const axis = intAttribute(node, "axis", -1);
    const squares = intAttribute(node, "p", 2) === 2;
    const emit = (op: string, ...inputs: ValueName[]): ValueName => context.emit(op, inputs);
    const along = (op: string, v: ValueName): ValueName => reduce(context, op, v, [axis], true);
    const norm = squares
      ? emit("Sqrt", along("ReduceSumSquare", x))
      : along("ReduceSum", emit("Abs", x));
    const zero = scalarLike(context, x, 0);
    const inverse = emit("Where", emit("Equal", norm, zero), zero, emit("Reciprocal", norm));
    const direction = squares ? y : emit("Sign", x);
    const share = emit("Mul", direction, along("ReduceSum", emit("Mul", dy, y)));
    return [emit("Mul", emit("Sub", dy, share), inverse)];
  },
});

/** A window of LRN beyond this many channels is taken for a mistake: published networks have 5. */
const LRN_SIZE_MAX = 256;

/**
 * y = x · (bias + α/size · Σ x²)^-β, the sum over `size` channels of which one more lies behind the own one
 * than before it where size is even (ONNX LRN-13).
 */
const lrn = defineOp("LRN", {
  shape: sameAsInput,
  cost: perInput(5),
  saves: { inputs: [0], outputs: [] },
  gradient: {
    decompose: (context) => {
      const { node } = context;
      const [x = ""] = node.inputs;
      const rank = knownShape(context, x, node).length;
      const size = intAttribute(node, "size", 1);
      if (size > LRN_SIZE_MAX) throw noGradient(node, `its window of ${size} channels is too wide`);
      const emit = (op: string, ...inputs: ValueName[]): ValueName => context.emit(op, inputs);
      const pads = new Array<number>(2 * rank).fill(0);
      pads[1] = Math.floor((size - 1) / 2);
      pads[rank + 1] = Math.ceil((size - 1) / 2);
      const padded = emit("Pad", emit("Mul", x, x), shapeConstant(context, pads));
      const channels = sizesOf(context, x, [1]);
      const shifted = Array.from({ length: size }, (_, i) => {
        const from = shapeConstant(context, [i]);
        return emit(
          "Slice",
          padded,
          from,
          emit("Add", channels, from),
          shapeConstant(context, [1]),
        );
      });
      const scale = scalarLike(context, x, floatAttribute(node, "alpha", 1e-4) / size);
      const weighted = emit("Mul", emit("Sum", ...shifted), scale);
      const base = emit("Add", weighted, scalarLike(context, x, floatAttribute(node, "bias", 1)));
      const exponent = scalarLike(context, x, -floatAttribute(node, "beta", 0.75));
      const factor = emit("Exp", emit("Mul", emit("Log", base), exponent));
      return [emit("Mul", x, factor)];
    },
  },
});

/** One where the greatest element is, else zero: constant almost everywhere. */
const hardmax = defineOp("Hardmax", { shape: sameAsInput, cost: perInput(5), gradient: "zero" });

/** All ops of this family. */
export const norms: readonly OpDef[] = [
  batchNormalization,
  ...layerNorms,
  ...groupNorms,
  softmax,
  logSoftmax,
  hardmax,
  lpNormalization,
  lrn,
];
