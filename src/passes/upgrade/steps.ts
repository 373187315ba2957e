// All changes between versions of the standard ops that a node has to follow, by op. Whatever is not here
// only took up more types, or arguments that may be left out: `isWider` checks that of every other version.

import { present } from "../../base/assert.ts";
import { isDType } from "../../graph/dtype.ts";
import {
  float,
  floatAttribute,
  int,
  intsAttribute,
  string,
  stringAttribute,
} from "../../graph/graph.ts";
import { bytesOf, int64, scalar, type Tensor, tensor } from "../../graph/tensor.ts";
import { CODE_OF } from "../../onnx/dtype-codes.ts";
import type { OpSchema, SchemaArgument } from "../../ops/schema.ts";
import { alignedAtTheEnd, slopeOfChannels } from "./broadcast.ts";
import {
  maskOfBools,
  perChannel,
  ratioAsInput,
  scaleOfChannels,
  testIsNoTraining,
  trainingIsSaid,
} from "./norm.ts";
import {
  asymmetric,
  optionalInputs,
  scalesAsInput,
  scalesAsList,
  upsampleIsResize,
  withoutShift,
} from "./resize.ts";
import { batchAround } from "./scan.ts";
import { alongOneAxis } from "./softmax.ts";
import {
  all,
  type Change,
  listAsInput,
  renameAttribute,
  type Step,
  type StepContext,
  withAttribute,
  withDefault,
  withInput,
  without,
} from "./step.ts";

/** An empty list of axes meant the same as none. */
const axesOrAll: Change = (node, context) =>
  intsAttribute(node, "axes")?.length === 0
    ? without(node, "axes")
    : listAsInput("axes", 1)(node, context);

const drop =
  (...names: readonly string[]): Change =>
  (node) =>
    without(node, ...names);

/** Cast named its type; types are numbers since operator set 6. */
const typeAsNumber: Change = (node, context) => {
  const name = stringAttribute(node, "to", "").toLowerCase();
  const dtype = name === "float" ? "float32" : name === "double" ? "float64" : name;
  if (!isDType(dtype)) {
    context.refuse(`casts to "${name}", which is no type`, "Export the model again.");
    return node;
  }
  const code = present(CODE_OF.get(dtype), "every element type has a number");
  return withAttribute(node, "to", int(code));
};

/** A number in the type of a value. */
function numberLike(value: number, like: string, context: StepContext): string {
  const known: Tensor | undefined = constantOf(value, context.typeOf(like)?.dtype);
  if (known !== undefined) return context.constant(known, "number");
  return context.before("CastLike", [context.constant(scalar(value), "number"), like]);
}

function constantOf(value: number, dtype: string | undefined): Tensor | undefined {
  if (dtype === "float32") return scalar(value);
  if (dtype === "float64") return tensor("float64", [], bytesOf(Float64Array.of(value)));
  return dtype === "int64" ? int64([], [value]) : undefined;
}

/** The bounds that Clip-6 has where a node names none (numeric_limits of float32). */
const FLOAT_MAX = 3.4028234663852886e38;

/** Before version 6 a bound that was left out was none. */
const boundsOfNone: Change = (node) =>
  withDefault(
    withDefault(node, "min", float(Number.NEGATIVE_INFINITY)),
    "max",
    float(Number.POSITIVE_INFINITY),
  );

const boundsAsInputs: Change = (node, context) => {
  const [x = ""] = node.inputs;
  const bound = (name: string, fallback: number): string =>
    numberLike(floatAttribute(node, name, fallback), x, context);
  const inputs = [x, bound("min", -FLOAT_MAX), bound("max", FLOAT_MAX)];
  return { ...without(node, "min", "max"), inputs };
};

const padsAsInput: Change = (node, context) => {
  const value = floatAttribute(node, "value", 0);
  const padded = listAsInput("pads", 1)(without(node, "value"), context);
  const constant = stringAttribute(node, "mode", "constant") === "constant";
  return value === 0 || !constant
    ? padded
    : withInput(padded, 2, numberLike(value, node.inputs[0] ?? "", context));
};

const rangesAsInputs: Change = all(
  listAsInput("starts", 1),
  listAsInput("ends", 2),
  listAsInput("axes", 3),
);

const countAsInput: Change = (node, context) => {
  const k = node.attributes.get("k");
  const value = k?.kind === "int" ? [Number(k.value)] : [];
  return withInput(without(node, "k"), 1, context.constant(int64([1], value), `${node.name}.k`));
};

/** Parts of equal size are counted since operator set 18. */
const partsAreCounted: Change = (node) =>
  (node.inputs[1] ?? "") === ""
    ? withAttribute(node, "num_outputs", int(node.outputs.length))
    : node;

/** DFT counted its axis from the front, by default 1; now it is an input, by default the last but one. */
const axisAsInput: Change = (node, context) => {
  const axis = node.attributes.get("axis");
  const value = axis?.kind === "int" ? Number(axis.value) : 1;
  const name = context.constant(int64([], [value]), `${node.name}.axis`);
  return withInput(without(node, "axis"), 2, name);
};

const GRID_MODES: ReadonlyMap<string, string> = new Map([
  ["bilinear", "linear"],
  ["bicubic", "cubic"],
]);

const gridModes: Change = (node) => {
  const mode = GRID_MODES.get(stringAttribute(node, "mode", "bilinear"));
  return mode === undefined ? node : withAttribute(node, "mode", string(mode));
};

const wholePower: Change = (node) => {
  const p = floatAttribute(node, "p", 2);
  return node.attributes.has("p") ? withAttribute(node, "p", int(Math.trunc(p))) : node;
};

const step = (since: number, ...changes: readonly Change[]): Step => ({
  since,
  change: all(...changes),
});
const same = (ops: string, ...steps: readonly Step[]): [string, readonly Step[]][] =>
  ops.split(" ").map((op) => [op, steps]);

/** The changes of each op, oldest first. */
export const STEPS: ReadonlyMap<string, readonly Step[]> = new Map([
  ...same("Add Sub Mul Div Pow And Or Xor Equal Greater Less", step(7, alignedAtTheEnd)),
  ...same("Softmax LogSoftmax Hardmax", step(13, alongOneAxis)),
  ...same(
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSumSquare",
    step(18, axesOrAll),
  ),
  ...same("LSTM GRU RNN", step(7, drop("output_sequence"))),
  [
    "BatchNormalization",
    [step(7, testIsNoTraining), step(9, perChannel), step(14, trainingIsSaid)],
  ],
  ["Cast", [step(6, typeAsNumber)]],
  ["Clip", [step(6, boundsOfNone), step(11, boundsAsInputs)]],
  ["Concat", [step(4, (node) => withDefault(node, "axis", int(1)))]],
  ["DFT", [step(20, axisAsInput)]],
  ["Dropout", [step(7, testIsNoTraining), step(10, maskOfBools), step(12, ratioAsInput)]],
  ["Gemm", [step(7, drop("broadcast"))]],
  ["GlobalLpPool", [step(2, wholePower)]],
  ["GridSample", [step(20, gridModes)]],
  ["GroupNormalization", [step(21, scaleOfChannels)]],
  ["LpPool", [step(2, wholePower)]],
  ["PRelu", [step(7, slopeOfChannels)]],
  ["Pad", [step(2, (node) => renameAttribute(node, "paddings", "pads")), step(11, padsAsInput)]],
  ["ReduceSum", [step(13, axesOrAll)]],
  ["Reshape", [step(5, listAsInput("shape", 1))]],
  ["Resize", [step(11, asymmetric), step(13, optionalInputs)]],
  ["RoiAlign", [step(16, withoutShift)]],
  ["Scan", [step(9, batchAround)]],
  ["Scatter", [step(11, (node) => ({ ...node, op: "ScatterElements" }))]],
  ["Selu", [step(6, seluOfOld)]],
  ["Slice", [step(10, rangesAsInputs)]],
  ["Split", [step(13, listAsInput("split", 1)), step(18, partsAreCounted)]],
  ["Squeeze", [step(13, axesOrAll)]],
  ["TopK", [step(10, countAsInput)]],
  ["Unsqueeze", [step(13, listAsInput("axes", 1))]],
  ["Upsample", [step(7, scalesAsList), step(9, scalesAsInput), step(10, upsampleIsResize)]],
]);

/** The constants of Selu had fewer digits. */
function seluOfOld(...[node]: Parameters<Change>): ReturnType<Change> {
  const alpha = withDefault(node, "alpha", float(Math.fround(1.6732)));
  return withDefault(alpha, "gamma", float(Math.fround(1.0507)));
}

/** Whether everything that one version of an op takes means the same in the next, by their schemas. */
export function isWider(before: OpSchema, after: OpSchema): boolean {
  if (after.deprecated && !before.deprecated) return false;
  if (!argumentsWider(before.inputs, after.inputs)) return false;
  if (!argumentsWider(before.outputs, after.outputs)) return false;
  return [...before.attributes].every(([name, attribute]) => {
    if (name === LEFTOVER) return true;
    const other = after.attributes.get(name);
    const same = JSON.stringify(other?.fallback) === JSON.stringify(attribute.fallback);
    return other?.kind === attribute.kind && same && (attribute.required || !other.required);
  });
}

/** A hint about memory that ops had before operator set 6; it never meant anything. */
export const LEFTOVER = "consumed_inputs";

/** Every argument is there at the same place, and what has come may be left out. */
function argumentsWider(
  before: readonly SchemaArgument[],
  after: readonly SchemaArgument[],
): boolean {
  if (after.length < before.length) return false;
  return after.every((argument, i) => {
    const old = before[i];
    if (old === undefined) return argument.option !== "single";
    return argument.option === old.option || argument.option === "optional";
  });
}
