// Softmax, LogSoftmax and Hardmax before operator set 13 read their input as a matrix: the axes before
// `axis` are its rows, all others its columns (ONNX Softmax-11). Since then they go along one axis.

import { int, intAttribute, type Node } from "../../graph/graph.ts";
import { isStatic, normalizeAxis, type Shape } from "../../graph/shape.ts";
import { int64 } from "../../graph/tensor.ts";
import { type Change, type StepContext, withAttribute } from "./step.ts";

/** The same op along one axis where that is the same, else over the matrix that the input was read as. */
export const alongOneAxis: Change = (node, context) => {
  const axis = intAttribute(node, "axis", 1);
  const [x = ""] = node.inputs;
  const shape = context.typeOf(x)?.shape;
  const single = shape && singleAxis(shape, axis);
  if (single !== undefined) return withAttribute(node, "axis", int(single));
  return asMatrix(node, axis, context);
};

/** The only axis from `axis` on that is longer than 1, if there is no other. */
function singleAxis(shape: Shape, given: number): number | undefined {
  const axis = normalizeAxis(given, shape.length);
  if (axis === undefined) return undefined;
  const long = shape.flatMap((dim, i) => (i >= axis && dim !== 1 ? [i] : []));
  return long.length > 1 ? undefined : (long[0] ?? axis);
}

function asMatrix(node: Node, axis: number, context: StepContext): Node {
  const [x = ""] = node.inputs;
  const [y = ""] = node.outputs;
  const shape = context.typeOf(x)?.shape;
  const sizes =
    isStatic(shape) && !shape.includes(0)
      ? context.constant(int64([shape.length], shape), `${node.name}.shape`)
      : context.before("Shape", [x]);
  const matrix = context.before("Flatten", [x], { axis: int(axis) });
  // With allowzero, a 0 among the sizes is one.
  const made = context.after(y, "Reshape", (name) => [name, sizes], { allowzero: int(1) });
  return { ...withAttribute(node, "axis", int(1)), inputs: [matrix], outputs: [made] };
}
