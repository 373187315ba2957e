// Merges of quantized models: operands that are not on a grid, or on grids that do not fit together. Read from
// the scales in the file; no data is needed.

import { diagnostic } from "../../base/diagnostic.ts";
import type { Node, ValueName } from "../../graph/graph.ts";
import { numbersOf } from "../../graph/tensor.ts";
import type { Fusion } from "../skips/fusion.ts";
import { isRounding, roleOf, wordOf } from "../skips/vocabulary.ts";
import { placeOf } from "../standing.ts";
import { fusionsIn, type Merging, named } from "./nodes.ts";
import type { Examined, ExaminedSkip, Finding, Rule } from "./rule.ts";

/** From a factor of 8 between two scales on, the finer operand keeps 5 of 8 bits or fewer. */
const BITS_LOST = 3;
/** Scales within a thousandth are one: float16 keeps eleven bits. */
const TOLERANCE = 1e-3;
/** A stream whose scale grows 16-fold leaves 4 of 8 bits to what its first blocks gave. */
const GROWTH = 16;

/** Ops that bring a value to a grid, or back from it. Other types and layouts (Cast, ReorderInput) bring it to none. */
const QUANTIZING = new Set([
  ...["QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "FakeQuantize"],
]);

/** Ops whose results lie on the grid of their operand. */
const KEEPS_GRID = new Set([
  ...["Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split"],
  ...["MaxPool", "Relu", "DepthToSpace", "SpaceToDepth", "Gather", "Expand"],
]);

/** What is known of the grid of a value; `scale` is undefined where it is not one number in the file. */
interface Grid {
  readonly scale: number | undefined;
}

/** The grid to which a value was rounded, or undefined where it was not. */
function gridOf(merging: Merging, value: ValueName): Grid | undefined {
  const { flow } = merging;
  for (let name = value; ; ) {
    const node = flow.producer(name);
    if (node === undefined) return undefined;
    if (QUANTIZING.has(wordOf(node))) return { scale: scaleOf(merging, node.inputs[1]) };
    // What an op on integers gives is on a grid; its scale is the operand in front of the last.
    if (node.op.startsWith("QLinear")) return { scale: undefined };
    const [input, ...more] = flow.activationInputs(node);
    if (input === undefined || more.length > 0) return undefined;
    if (!KEEPS_GRID.has(node.op) && !isRounding(node)) return undefined;
    name = input;
  }
}

function scaleOf({ graph }: Merging, name: ValueName | undefined): number | undefined {
  const ref = graph.initializers.get(name ?? "");
  const values = ref === undefined || ref.shape.some((dim) => dim !== 1) ? [] : numbersOf(ref);
  const [scale] = values ?? [];
  return scale !== undefined && scale > 0 && Number.isFinite(scale) ? scale : undefined;
}

/** Positions of values and of their scales among the inputs of ONNX Runtime's integer ops. */
function integerOperands(node: Node): readonly (readonly [number, number])[] | undefined {
  if (node.op === "QLinearAdd") {
    return [
      [0, 1],
      [3, 4],
    ];
  }
  if (node.op !== "QLinearConcat") return undefined;
  // Scale and zero point of the result, then three inputs for each operand.
  const count = Math.floor((node.inputs.length - 2) / 3);
  return Array.from({ length: count }, (_, i) => [2 + 3 * i, 3 + 3 * i]);
}

/** The grids of all operands of a merge. */
function gridsOf(merging: Merging, fusion: Fusion): readonly (Grid | undefined)[] {
  const integers = integerOperands(fusion.node);
  if (integers !== undefined) {
    return integers.map(([, scale]) => ({ scale: scaleOf(merging, fusion.node.inputs[scale]) }));
  }
  return fusion.operands.map(({ value }) => gridOf(merging, value));
}

/** One operand is rounded, another is not: the merge runs in floats, and the model has casts around it. */
export const missingPair: Rule = {
  id: "quant/missing-pair",
  title: "an operand of a merge in a quantized model is not quantized",
  check: ({ skips }) =>
    skips.flatMap((one) => {
      const fusion = one.merging.fusions.get(one.found.merge);
      const found = fusion === undefined ? undefined : floatMerge(one, fusion);
      return found === undefined ? [] : [{ ...found, skip: one.skip.id }];
    }),
};

function floatMerge({ found, where, merging }: ExaminedSkip, fusion: Fusion): Finding | undefined {
  const grids = gridsOf(merging, fusion);
  const open = fusion.operands.filter((_, i) => grids[i] === undefined);
  const shared = { id: "quant/missing-pair", where };
  if (open.length === 0 || integerOperands(fusion.node) !== undefined) return undefined;
  if (open.length < grids.length) {
    const positions = open.map(({ position }) => position).join(" and ");
    return diagnostic({
      ...shared,
      severity: "warning",
      text: `operand ${positions} of the merge is not quantized, the others are: the merge falls back to floats`,
      fix: `Insert QuantizeLinear and DequantizeLinear on operand ${positions}.`,
    });
  }
  const layers = named(merging, found.main).filter((node) => roleOf(node, 1) === "transform");
  const rounded = layers.some((node) =>
    merging.flow.activationInputs(node).some((name) => gridOf(merging, name) !== undefined),
  );
  if (!rounded) return undefined;
  return diagnostic({
    ...shared,
    severity: "info",
    text: "the layers of the branch are quantized, no operand of the merge is: it runs in floats, and the skip is kept in floats",
    fix: "Insert QuantizeLinear and DequantizeLinear on every operand, unless the stream is kept in floats on purpose.",
  });
}

/** Two operands of a sum on grids of very different steps. */
export const unequalScales: Rule = {
  id: "quant/unequal-scales",
  title: "the operands of a sum have very different scales",
  check: (model) =>
    mergesOf(model, "additive").flatMap(({ fusion, ratio, place }) => {
      const bits = Math.log2(ratio);
      if (bits < BITS_LOST) return [];
      return [
        diagnostic({
          id: "quant/unequal-scales",
          severity: "warning",
          where: place,
          text: `the scales of the ${fusion.operands.length} operands differ by a factor of about 2^${Math.floor(bits)}: on the grid of the coarser one, the finer one loses ${Math.floor(bits)} bits`,
          fix: "Equalise the ranges of the layers before the sum, use 16 bits for it, or keep it in floats.",
        }),
      ];
    }),
};

/** Operands of a concatenation that have to be brought to one grid first. */
export const unequalConcat: Rule = {
  id: "quant/unequal-concat",
  title: "the operands of a concatenation have different scales",
  check: (model) =>
    mergesOf(model, "concat").flatMap(({ ratio, place }) => {
      if (ratio <= 1 + TOLERANCE) return [];
      const bits = Math.floor(Math.log2(ratio));
      const lost = bits < 1 ? "less than one bit is lost" : `${bits} bits are lost`;
      return [
        diagnostic({
          id: "quant/unequal-concat",
          severity: bits < 1 ? "info" : "warning",
          where: place,
          text: `the operands are rounded with different scales: in each run they are rounded again, and ${lost}`,
          fix: "Tie the scales of all operands and of the result.",
        }),
      ];
    }),
};

interface ScaledMerge {
  readonly fusion: Fusion;
  /** Largest scale by smallest. */
  readonly ratio: number;
  readonly place: string;
}

function mergesOf({ canonical }: Examined, form: Fusion["form"]): ScaledMerge[] {
  return fusionsIn(canonical).flatMap(({ merging, fusion }) => {
    const scales = gridsOf(merging, fusion).flatMap((grid) => grid?.scale ?? []);
    if (fusion.form !== form || scales.length < 2) return [];
    const ratio = Math.max(...scales) / Math.min(...scales);
    return [{ fusion, ratio, place: placeOf({ ...merging, node: fusion.node }) }];
  });
}

/** The scale of the stream along a chain of skips. */
export const rangeGrowth: Rule = {
  id: "quant/range-growth",
  title: "the range of the stream grows along the blocks",
  check: ({ skips }) => {
    const starts = new Map<ValueName, { readonly scale: number; readonly blocks: number }>();
    let worst:
      | { readonly factor: number; readonly blocks: number; readonly where: string }
      | undefined;
    for (const { found, where, merging } of skips) {
      const fusion = merging.fusions.get(found.merge);
      const operand =
        fusion?.operands.findIndex(({ position }) => position === found.operand) ?? -1;
      if (fusion?.form !== "additive" || found.kind !== "identity" || operand < 0) continue;
      const scale = gridsOf(merging, fusion)[operand]?.scale;
      if (scale === undefined) continue;
      const before = starts.get(merging.flow.unrounded(found.source));
      const start = { scale: before?.scale ?? scale, blocks: (before?.blocks ?? 0) + 1 };
      starts.set(found.mergeOutput, start);
      const factor = scale / start.scale;
      if (factor > (worst?.factor ?? 1)) worst = { factor, blocks: start.blocks, where };
    }
    if (worst === undefined || worst.factor < GROWTH) return [];
    return [
      diagnostic({
        id: "quant/range-growth",
        severity: "info",
        where: worst.where,
        text: `over ${worst.blocks} blocks the scale of the stream grows ${worst.factor.toFixed(0)}-fold: late blocks round away what early ones gave`,
        fix: "Keep the stream in 16 bits or floats, and quantize the branches.",
      }),
    ];
  },
};
