// Products and sums with constants: a batch norm in inference form written out, and the bias of a linear
// layer.

import { limits } from "../../base/limits.ts";
import { float, type Node, type ValueName } from "../../graph/graph.ts";
import { elementCount } from "../../graph/shape.ts";
import { float32, numbersOf, type TensorRef } from "../../graph/tensor.ts";
import { MACRO_DOMAIN } from "../../ops/macro.ts";
import { perChannel } from "./parameter.ts";
import type { Idiom, Match, NewConstant, View } from "./view.ts";

const ARITHMETIC = ["Add", "Sub", "Mul", "Div"] as const;
/** Mean, deviation, gain and offset; one more for good measure. */
const STEPS_MAX = 5;

/** One step of a chain: the value that it changes, and the constant that it does so with. */
interface Step {
  readonly node: Node;
  readonly value: ValueName;
  readonly constant: ValueName;
}

function stepOf(view: View, name: ValueName): Step | undefined {
  const node = view.made(name, ...ARITHMETIC);
  if (node === undefined) return undefined;
  for (const [value, constant] of view.operands(node)) {
    const swaps = value !== node.inputs[0];
    if (swaps && (node.op === "Sub" || node.op === "Div")) continue;
    if (view.constant(constant) !== undefined && view.constant(value) === undefined) {
      return { node, value, constant };
    }
  }
  return undefined;
}

/**
 * A batch norm in inference form: at least one factor and one offset for each channel. As
 * BatchNormalization with mean 0 and variance 1.
 */
export const batchNorm: Idiom = {
  name: "BatchNorm by products and sums",
  roots: ["Add", "Sub", "Mul", "Div"],
  *match(view, root): Generator<Match> {
    const steps: Step[] = [];
    let name = root.outputs[0] ?? "";
    for (let step = stepOf(view, name); step !== undefined; step = stepOf(view, name)) {
      if (steps.length === STEPS_MAX || (steps.length > 0 && !view.readOnce(name))) break;
      steps.push(step);
      name = step.value;
    }
    const shape = view.shape(name);
    const channels = shape?.[1];
    if (shape === undefined || typeof channels !== "number" || view.dtype(name) !== "float32")
      return;
    const parts = composed(view, steps.toReversed(), { rank: shape.length, channels });
    if (parts === undefined) return;
    yield {
      op: "BatchNormalization",
      inputs: [name, parts.scale, parts.offset, filled(channels, 0), filled(channels, 1)],
      attributes: { epsilon: float(0) },
      nodes: steps.map((step) => step.node),
    };
  },
};

function filled(channels: number, value: number): NewConstant {
  const ref = float32([channels], new Float32Array(channels).fill(value));
  return { ref, stem: value === 0 ? "zeros" : "ones" };
}

interface Layout {
  readonly rank: number;
  readonly channels: number;
}

/** Factor and offset of a chain, computed where the file has the numbers, else of known size. */
function composed(view: View, steps: readonly Step[], layout: Layout) {
  const { channels, rank } = layout;
  if (channels > limits.foldedConstantMax) return undefined;
  const isSum = ({ node }: Step): boolean => node.op === "Add" || node.op === "Sub";
  if (!steps.some(isSum) || steps.every(isSum)) return undefined;
  if (!view.spend(channels * (steps.length + 4))) return undefined;
  let known = true;
  let isVector = false;
  let scale = new Array<number>(channels).fill(1);
  let offset = new Array<number>(channels).fill(0);
  for (const { node, constant } of steps) {
    const number = view.scalar(constant);
    const vector =
      number === undefined
        ? perChannel(view, constant, rank, { channels, fill: 0, like: constant })
        : undefined;
    const ref = typeof vector === "string" ? view.constant(vector) : vector?.ref;
    if (number === undefined && ref === undefined) return undefined;
    isVector ||= ref !== undefined;
    const values =
      ref === undefined ? new Array<number>(channels).fill(number ?? 0) : numbersOf(ref);
    known &&= values !== undefined;
    const at = (i: number): number => values?.[i] ?? 0;
    if (node.op === "Add") offset = offset.map((one, i) => one + at(i));
    else if (node.op === "Sub") offset = offset.map((one, i) => one - at(i));
    else {
      const apply = (one: number, i: number): number =>
        node.op === "Mul" ? one * at(i) : one / at(i);
      scale = scale.map(apply);
      offset = offset.map(apply);
    }
  }
  if (!isVector) return undefined;
  const made = (numbers: readonly number[]): TensorRef =>
    known
      ? float32([channels], Float32Array.from(numbers))
      : { dtype: "float32", shape: [channels], data: { kind: "absent" } };
  const stem = steps[0]?.constant ?? "";
  return {
    scale: { ref: made(scale), stem: `${stem}/scale` },
    offset: { ref: made(offset), stem: `${stem}/offset` },
  };
}

/** A product with a matrix of weights, and a bias over its last axis. With two axes it is a Gemm. */
export const linear: Idiom = {
  name: "bias of a linear layer",
  roots: ["Add"],
  *match(view, root): Generator<Match> {
    for (const [value, bias] of view.operands(root)) {
      const product = view.made(value, "MatMul");
      const [x = "", w = ""] = product?.inputs ?? [];
      const [weight, offset] = [view.constant(w), view.constant(bias)];
      if (product === undefined || weight?.shape.length !== 2 || offset === undefined) continue;
      const width = weight.shape[1] ?? 0;
      if (elementCount(offset.shape) !== width || offset.shape.at(-1) !== width) continue;
      const rank = view.shape(x)?.length;
      if (rank === undefined || rank < 2 || offset.shape.length > rank) continue;
      const flat = { ref: { ...offset, shape: [width] }, stem: `${bias}/flat` };
      const inputs = [x, w, offset.shape.length === 1 ? bias : flat];
      const nodes = [product];
      if (rank === 2) yield { op: "Gemm", inputs, nodes };
      else yield { op: "Linear", domain: MACRO_DOMAIN, inputs, nodes };
    }
  },
};
