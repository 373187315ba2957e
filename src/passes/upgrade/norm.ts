// BatchNormalization, Dropout and GroupNormalization: whether they train was once seen from how many
// outputs a node has, and the scale of a group was once one number.

import { present } from "../../base/assert.ts";
import { floatAttribute, int, intAttribute, type Node } from "../../graph/graph.ts";
import { int64, scalar, tensor } from "../../graph/tensor.ts";
import { CODE_OF } from "../../onnx/dtype-codes.ts";
import { type Change, type StepContext, withAttribute, withInput, without } from "./step.ts";

/** Before operator set 7 a node trained unless `is_test` was set; later versions say `training_mode`. */
export const testIsNoTraining: Change = (node) => {
  const training = intAttribute(node, "is_test", 0) === 0;
  const plain = without(node, "is_test");
  return training ? withAttribute(plain, "training_mode", int(1)) : plain;
};

/** BatchNormalization-7 to -9: statistics of each place by itself are gone. */
export const perChannel: Change = (node, context) => {
  if (intAttribute(node, "spatial", 1) === 0) {
    context.refuse(
      "normalises each place of the image by statistics of its own (spatial = 0), which operator set 9 no longer has",
      "Export the model again with opset_version=9 or later.",
    );
  }
  return without(node, "spatial");
};

/** BatchNormalization-9 to -14: five outputs meant training; the saved statistics are gone. */
export const trainingIsSaid: Change = (node, context) => {
  const outputs = node.outputs.slice(1).map((name) => (context.isRead(name) ? name : ""));
  const [mean = "", variance = "", ...saved] = outputs;
  if (saved.some((name) => name !== "")) {
    context.refuse(
      "gives the statistics of the batch as further outputs, which operator set 14 no longer has",
      "Export the model for inference, or with opset_version=14 or later.",
    );
  }
  const more = node.outputs.slice(1).some((name) => name !== "");
  const training = more || intAttribute(node, "training_mode", 0) !== 0;
  const [y = ""] = node.outputs;
  if (!training) return { ...without(node, "training_mode"), outputs: [y] };
  const made = (name: string): string =>
    name === "" ? context.fresh(`${node.name}.running`) : name;
  return {
    ...withAttribute(node, "training_mode", int(1)),
    outputs: [y, made(mean), made(variance)],
  };
};

/** Dropout-7 to -10: the mask was of the type of the data, now it is of truth values. */
export const maskOfBools: Change = (node, context) => {
  const [y = "", mask = ""] = node.outputs;
  if (!context.isRead(mask)) return { ...node, outputs: [y] };
  const dtype = context.typeOf(node.inputs[0] ?? "")?.dtype;
  if (dtype === undefined) {
    context.refuse(
      "gives its mask in the type of its input, which is not known",
      "Declare the types of the model's inputs.",
    );
    return node;
  }
  const to = int(present(CODE_OF.get(dtype), "every element type has a number"));
  return { ...node, outputs: [y, context.after(mask, "Cast", (made) => [made], { to })] };
};

/** Dropout-10 to -12: the ratio is an input, and whether it trains is one too. */
export const ratioAsInput: Change = (node, context) => {
  const training = intAttribute(node, "training_mode", 0) !== 0;
  const given = node.attributes.has("ratio");
  let next = without(node, "ratio", "training_mode");
  if (given || training) {
    const ratio = scalar(floatAttribute(node, "ratio", 0.5));
    next = withInput(next, 1, context.constant(ratio, `${node.name}.ratio`));
  }
  if (!training) return next;
  const yes = tensor("bool", [], Uint8Array.of(1));
  return withInput(next, 2, context.constant(yes, `${node.name}.training_mode`));
};

/** GroupNormalization-18 to -21: scale and bias were one number for a group, now they are one for a channel. */
export const scaleOfChannels: Change = (node, context) => {
  const [x = "", scale = "", bias = ""] = node.inputs;
  const groups = intAttribute(node, "num_groups");
  const channels = context.typeOf(x)?.shape?.[1];
  if (groups === undefined || typeof channels !== "number" || channels % groups !== 0) {
    context.refuse(
      "has one scale for a group of channels, and the number of channels is not known to be a multiple of the groups",
      "Declare the channels of the model's inputs, or export it with opset_version=21 or later.",
    );
    return node;
  }
  const each = channels / groups;
  const repeated = (name: string): string => repeatEach(name, { groups, each }, node, context);
  return { ...node, inputs: [x, repeated(scale), repeated(bias)] };
};

function repeatEach(
  name: string,
  { groups, each }: { groups: number; each: number },
  node: Node,
  context: StepContext,
): string {
  if (each === 1) return name;
  const list = (...values: number[]): string =>
    context.constant(int64([values.length], values), `${node.name}.groups`);
  const column = context.before("Reshape", [name, list(groups, 1)]);
  const rows = context.before("Expand", [column, list(groups, each)]);
  return context.before("Reshape", [rows, list(groups * each)]);
}
