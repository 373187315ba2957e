// Upsample and Resize. Before operator set 11 there was one way to find the place of an output element in
// the input, x / scale, and of the nearest ones the one before it where the image grows and the one behind
// it where it shrinks (onnx backend tests resize_downsample_nearest and upsample_nearest of version 10).

import { floatAttribute, type Node, string, stringAttribute } from "../../graph/graph.ts";
import { float32, numbersOf } from "../../graph/tensor.ts";
import { type Change, type StepContext, withAttribute, withDefault, without } from "./step.ts";

/** Upsample-1 to Upsample-7: two scales become a list. */
export const scalesAsList: Change = (node) => {
  const scales = [
    1,
    1,
    floatAttribute(node, "height_scale", 1),
    floatAttribute(node, "width_scale", 1),
  ];
  const linear = stringAttribute(node, "mode", "nearest") === "bilinear";
  const rest = without(node, "height_scale", "width_scale");
  const listed = withAttribute(rest, "scales", { kind: "floats", value: scales });
  return linear ? withAttribute(listed, "mode", string("linear")) : listed;
};

/** Upsample-7 to Upsample-9: the list becomes an input. */
export const scalesAsInput: Change = (node, context) => {
  const scales = node.attributes.get("scales");
  const list = scales?.kind === "floats" ? scales.value : [];
  const name = context.constant(float32([list.length], list), `${node.name}.scales`);
  return { ...without(node, "scales"), inputs: [node.inputs[0] ?? "", name] };
};

/** Upsample is deprecated since operator set 10. */
export const upsampleIsResize: Change = (node) => ({ ...node, op: "Resize" });

/** Resize-10 to Resize-11: what was the only way is one of several. */
export const asymmetric: Change = (node, context) => {
  const [x = "", scales = ""] = node.inputs;
  const named = withDefault(node, "coordinate_transformation_mode", string("asymmetric"));
  if (stringAttribute(node, "mode", "nearest") !== "nearest") {
    return { ...named, inputs: [x, "", scales] };
  }
  const factors = numbersOfConstant(context, scales);
  const growing = factors?.map((factor) => Math.max(factor, 1));
  const shrinking = factors?.map((factor) => Math.min(factor, 1));
  const grows = growing?.some((factor) => factor !== 1) ?? true;
  const shrinks = shrinking?.some((factor) => factor !== 1) ?? false;
  if (!grows || !shrinks || growing === undefined || shrinking === undefined) {
    const nearest = string(shrinks ? "ceil" : "floor");
    return { ...withAttribute(named, "nearest_mode", nearest), inputs: [x, "", scales] };
  }
  // Each axis is looked up by itself, so that one kind after the other is the same.
  const factorsOf = (list: readonly number[]): string =>
    context.constant(float32([list.length], list), `${node.name}.scales`);
  const grown = context.before("Resize", [x, "", factorsOf(growing)], {
    coordinate_transformation_mode: string("asymmetric"),
    nearest_mode: string("floor"),
  });
  return {
    ...withAttribute(named, "nearest_mode", string("ceil")),
    inputs: [grown, "", factorsOf(shrinking)],
  };
};

function numbersOfConstant(context: StepContext, name: string): readonly number[] | undefined {
  const ref = context.constantOf(name);
  return ref && numbersOf(ref);
}

/** Resize-11 to Resize-13: what is not there may be left out; one way of finding places is gone. */
export const optionalInputs: Change = (node, context) => {
  const mode = stringAttribute(node, "coordinate_transformation_mode", "half_pixel");
  if (mode === "tf_half_pixel_for_nn") {
    context.refuse(
      "finds places by tf_half_pixel_for_nn, which operator set 13 no longer has",
      "Export the model again with another way of resizing, as with half_pixel.",
    );
  }
  const [x = "", roi = "", scales = "", sizes = ""] = node.inputs;
  const unused = sizes !== "" || context.constantOf(scales)?.shape[0] === 0;
  const inputs = [x, mode === "tf_crop_and_resize" ? roi : "", unused ? "" : scales];
  return { ...node, inputs: sizes === "" ? inputs : [...inputs, sizes] };
};

/** RoiAlign-10 to RoiAlign-16: the shift by half a pixel is new, and the default. */
export const withoutShift: Change = (node: Node) =>
  withDefault(node, "coordinate_transformation_mode", string("output_half_pixel"));
