// Shortcuts that do more, or carry less, than an identity would (He et al. 2016, "Identity Mappings in Deep
// Residual Networks", section 3).

import { diagnostic } from "../../base/diagnostic.ts";
import { intsAttribute, type Node, type ValueName } from "../../graph/graph.ts";
import { typeOf } from "../../graph/query.ts";
import { formatShape, isStatic, sameShape } from "../../graph/shape.ts";
import { numbersOf } from "../../graph/tensor.ts";
import type { Fusion, Operand } from "../skips/fusion.ts";
import { isActivation, isNorm } from "../skips/vocabulary.ts";
import { placeOf } from "../standing.ts";
import { fusionsIn, integersOf, type Merging, named } from "./nodes.ts";
import type { Rule } from "./rule.ts";

/** The activation functions of layers; roots and powers belong to norms. */
const ACTIVATIONS = new Set([
  ...["Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Clip", "ThresholdedRelu", "Gelu"],
  ...["FastGelu", "QuickGelu", "BiasGelu", "HardSwish", "Swish", "Mish", "Softplus", "Softsign"],
  ...["Tanh", "Sigmoid", "HardSigmoid"],
]);

/** y = a(x) + f(x): an activation that the branch does not share. The census calls it no skip. */
export const activationOnShortcut: Rule = {
  id: "skip/activation-on-shortcut",
  title: "an activation stands on the shortcut",
  check: ({ canonical }) =>
    fusionsIn(canonical).flatMap(({ merging, fusion }) => {
      const node = fusion.operands
        .map((one) => activatedShortcut(merging, fusion, one))
        .find(Boolean);
      if (node === undefined) return [];
      return [
        diagnostic({
          id: "skip/activation-on-shortcut",
          severity: "warning",
          where: placeOf({ ...merging, node: fusion.node }),
          text: `${node.op} stands on the shortcut alone: what it cuts off reaches neither the sum nor, going back, the source`,
          fix: "Move the activation into the branch, or behind the sum.",
        }),
      ];
    }),
};

/** The activation that alone lies between a source and a sum, where another operand transforms the source. */
function activatedShortcut({ flow }: Merging, fusion: Fusion, operand: Operand): Node | undefined {
  if (fusion.form !== "additive") return undefined;
  const node = flow.producer(flow.unrounded(operand.value));
  if (node === undefined || !ACTIVATIONS.has(node.op)) return undefined;
  const [source = ""] = flow.activationInputs(node);
  if (!fusion.nodes.some((sum) => flow.onlyReader(node.outputs[0] ?? "") === sum)) return undefined;
  // Without a second reader there is no second path; this is asked first because it costs nothing.
  if (!flow.forks(source)) return undefined;
  const transformed = fusion.operands.some(
    (other) => other !== operand && (flow.longest(source, other.value) ?? 0) > 0,
  );
  return transformed ? node : undefined;
}

/** Shortcuts without weights that lose or lack a part: option A of He et al. 2015, section 3.3. */
export const lossyShortcut: Rule = {
  id: "skip/lossy-shortcut",
  title: "the shortcut drops elements, or has zeros in place of channels",
  check: ({ skips }) =>
    skips.flatMap(({ skip, found, where, merging }) => {
      if (found.kind === "concat" || found.kind === "projection") return [];
      const losses = named(merging, found.shortcut).flatMap((node) => lossOf(merging, node) ?? []);
      if (losses.length === 0) return [];
      return [
        {
          ...diagnostic({
            id: "skip/lossy-shortcut",
            severity: "info",
            where,
            text: `the shortcut ${losses.join(" and ")}: there the block learns without one`,
            fix: "Project with a 1x1 convolution, behind an average pooling where sizes shrink.",
          }),
          skip: skip.id,
        },
      ];
    }),
};

function lossOf({ graph }: Merging, node: Node): string | undefined {
  if (node.op === "Pad") {
    const widths = intsAttribute(node, "pads") ?? integersOf(graph, node.inputs[1]);
    const rank = typeOf(graph, node.inputs[0] ?? "")?.shape?.length ?? 0;
    const channels = (widths?.[1] ?? 0) + (widths?.[1 + rank] ?? 0);
    return channels > 0 ? `has zeros for ${channels} channels` : undefined;
  }
  if (node.op === "Slice") {
    const steps = graph.initializers.get(node.inputs[4] ?? "");
    const strided = steps !== undefined && numbersOf(steps)?.some((step) => Math.abs(step) > 1);
    return strided === true ? "takes one element of several" : undefined;
  }
  if (node.op !== "MaxPool" && node.op !== "AveragePool") return undefined;
  const kernel = intsAttribute(node, "kernel_shape") ?? [];
  const strides = intsAttribute(node, "strides") ?? [];
  const skips = strides.some((stride, i) => stride > (kernel[i] ?? 1));
  return skips ? "takes one element of several" : undefined;
}

/** A projection where source and sum have one shape: an identity is free. */
export const needlessProjection: Rule = {
  id: "skip/needless-projection",
  title: "a projection where an identity would fit",
  check: ({ skips }) =>
    skips.flatMap(({ skip, found, where, merging }) => {
      if (found.kind !== "projection" || found.encoderDecoder) return [];
      const shape = shapeOf(merging, found.source);
      if (!sameShape(shape, shapeOf(merging, found.mergeOutput))) return [];
      // Two linear paths side by side are one layer in two parts, as in low-rank adapters.
      if (!named(merging, found.main).some((one) => isActivation(one) || isNorm(one))) return [];
      return [
        {
          ...diagnostic({
            id: "skip/needless-projection",
            severity: "info",
            where,
            text: `the shortcut is projected from ${formatShape(shape)} to the same shape: weights and time for what an identity gives`,
            fix: "Use an identity shortcut; the weights must be trained anew.",
          }),
          skip: skip.id,
        },
      ];
    }),
};

function shapeOf({ graph }: Merging, name: ValueName) {
  const shape = typeOf(graph, name)?.shape;
  return isStatic(shape) ? shape : undefined;
}
