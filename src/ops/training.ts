// Optimizers and gradients as ops (domain ai.onnx.preview.training). Files hold them; the training that
// skipway builds is made of plain ops.

import type { OpDef, ShapeRule } from "./op.ts";
import { defineOp, perInput, typed } from "./rules.ts";

function op(type: string, shape: ShapeRule, flops: number): OpDef {
  return defineOp(type, {
    domain: "ai.onnx.preview.training",
    shape,
    cost: perInput(flops),
    gradient: {
      because: "it is a step of training itself, which ONNX Runtime does not run",
    },
  });
}

/**
 * After rate and count come groups of as many tensors: weights, gradients, then `states` groups of state.
 * The results are the weights and states, typed as what they replace.
 */
const optimizer =
  (states: number): ShapeRule =>
  (c) => {
    const count = (c.node.inputs.length - 2) / (2 + states);
    if (!Number.isInteger(count)) return [];
    return c.node.outputs.map((_, i) => {
      const replaced = c.input(i < count ? 2 + i : 2 + count + i);
      return typed(replaced?.dtype, replaced?.shape);
    });
  };

/** Each gradient is shaped as the input at its place. */
const gradient: ShapeRule = (c) => c.node.outputs.map((_, i) => c.input(i));

/** All ops of this family. */
export const trainings: readonly OpDef[] = [
  op("Adagrad", optimizer(1), 6),
  op("Momentum", optimizer(1), 4),
  op("Adam", optimizer(2), 10),
  op("Gradient", gradient, 2),
];
