// Ops that ONNX Runtime puts in the place of others when it optimises a graph (onnxruntime,
// docs/ContribOperators.md). Saved graphs hold them.

import { intAttribute } from "../graph/graph.ts";
import type { Shape } from "../graph/shape.ts";
import { convShape } from "./conv.ts";
import { gemmShape, matmulShape } from "./matmul.ts";
import type { OpDef, ShapeRule } from "./op.ts";
import { costOf, defineOp, NO_RULE, perInput, perOutput, sameAsInput, typed } from "./rules.ts";

const DOMAIN = "com.microsoft";

/** Rows of three tables, added and normalised; the end of each sequence; the sum itself. */
const embedNormShape: ShapeRule = (c) => {
  const [ids, table] = [c.input(0), c.input(2)];
  const width = table?.shape?.at(-1);
  const shape = ids?.shape && width !== undefined ? [...ids.shape, width] : undefined;
  const rows = typed(table?.dtype, shape);
  return [rows, typed("int32", ids?.shape?.slice(0, 1)), rows];
};

function contributed(type: string, shape: ShapeRule): OpDef {
  return defineOp(type, {
    domain: DOMAIN,
    shape,
    cost: perInput(6),
    saves: { inputs: [0, 1], outputs: [] },
    gradient: NO_RULE,
  });
}

/** Convolution, sum and activation in one node; costed as its convolution. */
const fusedConv = defineOp("FusedConv", {
  domain: DOMAIN,
  shape: (c) => [typed(c.input(0)?.dtype, convShape(c))],
  cost: costOf((_node, [, w], [y]) => {
    const taps = w?.shape?.slice(1) ?? ["?"];
    const all = [...taps, ...(y?.shape ?? ["?"])];
    return all.every((dim) => typeof dim === "number") ? all.reduce((a, b) => a * b, 2) : undefined;
  }),
  saves: { inputs: [0, 1], outputs: [0] },
  gradient: NO_RULE,
});

/** A product of matrices, either of them transposed; of transposed batch axes nothing is known. */
const fusedMatMul = defineOp("FusedMatMul", {
  domain: DOMAIN,
  shape: (c) => {
    const operand = (i: number, name: string): Shape | undefined => {
      const shape = c.input(i)?.shape;
      if (shape === undefined || intAttribute(c.node, `transBatch${name}`, 0) !== 0)
        return undefined;
      if (intAttribute(c.node, `trans${name}`, 0) === 0 || shape.length < 2) return shape;
      return [...shape.slice(0, -2), ...shape.slice(-2).toReversed()];
    };
    return [typed(c.input(0)?.dtype, matmulShape(operand(0, "A"), operand(1, "B")))];
  },
  cost: perOutput(2),
  saves: { inputs: [0, 1], outputs: [] },
  gradient: NO_RULE,
});

/** Gemm and an activation in one node. */
const fusedGemm = contributed("FusedGemm", (c) => [typed(c.input(0)?.dtype, gemmShape(c))]);

/**
 * The runtime's blocked layout: its tensors keep their four dims, with channels filled up to whole blocks whose
 * size depends on the processor. Shapes are told after the way back alone.
 */
function blocked(type: string, shape: ShapeRule): OpDef {
  return { ...contributed(type, shape), domain: "com.microsoft.nchwc" };
}

const unknownShape: ShapeRule = (c) => [typed(c.input(0)?.dtype, undefined)];

/** All ops of this family. */
export const contributions: readonly OpDef[] = [
  fusedConv,
  fusedMatMul,
  fusedGemm,
  ...["Conv", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"].map((type) =>
    blocked(type, unknownShape),
  ),
  ...["Upsample", "ReorderInput", "ReorderOutput"].map((type) => blocked(type, unknownShape)),
  {
    ...contributed("EmbedLayerNormalization", embedNormShape),
    saves: { inputs: [], outputs: [2] },
  },
  ...["Gelu", "FastGelu", "QuickGelu", "BiasGelu"].map((type) => contributed(type, sameAsInput)),
];
