// What the nodes of a skip say in numbers: the layers of a projection, and the factors that scale.

import {
  floatAttribute,
  intAttribute,
  intsAttribute,
  type Node,
  type ValueName,
} from "../../graph/graph.ts";
import type { Match } from "./describe.ts";
import type { Flow } from "./flow.ts";
import type { Gamma, ProjectionLayer } from "./skip.ts";
import { wordOf } from "./vocabulary.ts";

const CONVOLUTIONS = new Set(["Conv", "FusedConv", "ConvInteger", "ConvTranspose"]);
const FACTORS = new Set(["Mul", "Div"]);

/** The linear layers of the shortcut in order, one that is fused with the sum last. */
export function projectionOf(flow: Flow, { step, operand, fusion }: Match): ProjectionLayer[] {
  const nodes = step.nodes.filter((node) => flow.role(node) === "transform").toReversed();
  const own = operand.fusedTransforms > 0 ? [fusion.node] : [];
  return [...nodes, ...own].map((node) => layerOf(flow, node));
}

function layerOf(flow: Flow, node: Node): ProjectionLayer {
  const op = wordOf(node);
  if (!CONVOLUTIONS.has(op)) return { op, kernel: [], stride: [] };
  const weight = flow.typeOf(node.inputs[node.op === "QLinearConv" ? 3 : 1] ?? "")?.shape;
  const sizes = (weight ?? []).slice(2).filter((dim) => typeof dim === "number");
  const kernel = intsAttribute(node, "kernel_shape") ?? sizes;
  // Strides that are left out are 1 along each axis (ONNX Conv-11).
  const stride = intsAttribute(node, "strides") ?? kernel.map(() => 1);
  const group = intAttribute(node, "group", 1);
  return { op, kernel, stride, ...(group > 1 ? { group } : {}) };
}

/** The factors of the shortcut, then those behind the last layers of the branches. */
export function gammasOf(flow: Flow, { step, branches, fusion }: Match): Gamma[] {
  const shortcut = step.nodes.toReversed().flatMap((node) => gammaOf(flow, node, "shortcut"));
  const ends = branches.flatMap((branch) => {
    const tail = flow.shortcut(branch.value, false).at(-1);
    const last = flow.producer(tail?.value ?? "");
    const nodes = [...(last === undefined ? [] : [last]), ...(tail?.nodes.toReversed() ?? [])];
    const own = new Set(step.nodes);
    return nodes.filter((node) => !own.has(node)).flatMap((node) => gammaOf(flow, node, "branch"));
  });
  const mean: Gamma[] =
    wordOf(fusion.node) === "Mean"
      ? [
          { on: "shortcut", shape: [] },
          { on: "branch", shape: [] },
        ]
      : [];
  return [...shortcut, ...ends, ...mean];
}

/** The factor of a node: a product with what carries no activation, or the factor of a matrix product. */
function gammaOf(flow: Flow, node: Node, on: Gamma["on"]): Gamma[] {
  // The runtime puts a factor into the product before it.
  if (floatAttribute(node, "alpha", 1) !== 1 && flow.role(node) === "transform") {
    return [{ on, shape: [] }];
  }
  if (!FACTORS.has(wordOf(node)) || flow.activationInputs(node).length !== 1) return [];
  const factors = node.inputs.filter((name) => !flow.activations.has(name));
  return factors
    .filter((name) => !isScale(flow, name))
    .map((name) => ({ on, shape: flow.typeOf(name)?.shape }));
}

/** Whether a factor brings a product of integers back to its size: it belongs to the layer. */
function isScale(flow: Flow, name: ValueName): boolean {
  const node = flow.producer(name);
  if (node === undefined) return false;
  if (node.op === "DynamicQuantizeLinear") return true;
  return wordOf(node) === "Mul" && node.inputs.some((input) => isScale(flow, input));
}
