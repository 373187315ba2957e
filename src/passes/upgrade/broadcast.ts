// Before operator set 7 the second operand of arithmetic was stretched only where `broadcast` said so, from
// an `axis` of the first on (ONNX Add-6); since then both are, aligned at their last axes.

import { intAttribute, type Node } from "../../graph/graph.ts";
import { normalizeAxis } from "../../graph/shape.ts";
import { int64 } from "../../graph/tensor.ts";
import { type Change, type StepContext, without } from "./step.ts";

/** Gives the second operand the axes of size 1 behind its own with which it is aligned as before. */
export const alignedAtTheEnd: Change = (node, context) => {
  const plain = without(node, "broadcast", "axis");
  const axis = intAttribute(node, "axis");
  if (intAttribute(node, "broadcast", 0) === 0 || axis === undefined) return plain;
  const [a = "", b = ""] = node.inputs;
  const [ranks, others] = [context.typeOf(a)?.shape?.length, context.typeOf(b)?.shape?.length];
  if (ranks === undefined || others === undefined) {
    context.refuse(
      "aligns its second operand at an axis of the first, and the rank of one of them is not known",
      "Declare the shapes of the model's inputs, or export it with opset_version=7 or later.",
    );
    return plain;
  }
  // A single number fits everywhere.
  const behind = others === 0 ? 0 : ranks - (normalizeAxis(axis, ranks) ?? axis) - others;
  if (behind <= 0) return plain;
  return { ...plain, inputs: [a, stretched(b, { rank: others, behind }, node, context)] };
};

/** A slope for each channel was a vector (ONNX PRelu-6); now it is broadcast like any operand. */
export const slopeOfChannels: Change = (node, context) => {
  const [x = "", slope = ""] = node.inputs;
  const shape = context.typeOf(slope)?.shape;
  if (shape?.length !== 1 || shape[0] === 1) return node;
  const rank = context.typeOf(x)?.shape?.length;
  if (rank === undefined) {
    context.refuse(
      "has a slope for each channel, and the rank of its input is not known",
      "Declare the shapes of the model's inputs, or export it with opset_version=7 or later.",
    );
    return node;
  }
  if (rank <= 2) return node;
  return { ...node, inputs: [x, stretched(slope, { rank: 1, behind: rank - 2 }, node, context)] };
};

function stretched(
  name: string,
  { rank, behind }: { rank: number; behind: number },
  node: Node,
  context: StepContext,
): string {
  const axes = Array.from({ length: behind }, (_, i) => rank + i);
  const list = context.constant(int64([behind], axes), `${node.name}.axes`);
  return context.before("Unsqueeze", [name, list]);
}
