// Ops that ONNX Runtime puts in the place of others when it optimises a graph (onnxruntime,
// docs/ContribOperators.md). Saved graphs hold them.

import { convShape } from "./conv.ts";
import type { OpDef, ShapeRule } from "./op.ts";
import { costOf, defineOp, perInput, sameAsInput, typed } from "./rules.ts";

const DOMAIN = "com.microsoft";

/** Normalised sum, mean, inverse deviation, and the sum itself. */
const skipNormShape: ShapeRule = (c) => {
  const x = c.input(0);
  const perRow = x?.shape?.map((dim, axis, all) => (axis === all.length - 1 ? 1 : dim));
  return [x, typed("float32", perRow), typed("float32", perRow), x];
};

function contributed(type: string, shape: ShapeRule): OpDef {
  return defineOp(type, {
    domain: DOMAIN,
    shape,
    cost: perInput(6),
    saves: { inputs: [0, 1], outputs: [] },
    gradient: "unsupported",
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
  gradient: "unsupported",
});

/** All ops of this family. */
export const contributions: readonly OpDef[] = [
  fusedConv,
  ...["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"].map((type) =>
    contributed(type, skipNormShape),
  ),
  ...["Gelu", "FastGelu", "QuickGelu", "BiasGelu"].map((type) => contributed(type, sameAsInput)),
];
