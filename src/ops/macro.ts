// Ops of skipway's own: what several nodes of a file compute together where the standard has no op that
// computes exactly that. They stand in canonical graphs only, and no file holds them.

import { intAttribute } from "../graph/graph.ts";
import { elementCount, type Shape } from "../graph/shape.ts";
import { matmulShape } from "./matmul.ts";
import type { OpDef, Unsupported } from "./op.ts";
import { costOf, defineOp, perInput, sameAsInput, typed } from "./rules.ts";

/** The domain of these ops. */
export const MACRO_DOMAIN = "skipway";

/** Gradients are built of what stands in files. */
const IN_NO_FILE: Unsupported = {
  because: "it stands for several nodes of a file (differentiate the graph as it was read)",
};

/** x · w + b, with a weight of two axes and a bias over the last: Gemm for any number of leading axes. */
const linear = defineOp("Linear", {
  domain: MACRO_DOMAIN,
  shape: (c) => [typed(c.input(0)?.dtype, matmulShape(c.input(0)?.shape, c.input(1)?.shape))],
  cost: costOf((_node, [, w], [y]) => {
    const [count, width] = [elementCount(y?.shape), w?.shape?.[0]];
    return count === undefined || typeof width !== "number" ? undefined : count * (2 * width + 1);
  }),
  saves: { inputs: [0, 1], outputs: [] },
  gradient: IN_NO_FILE,
});

function swapped(shape: Shape | undefined): Shape | undefined {
  if (shape === undefined || shape.length < 2) return undefined;
  return [...shape.slice(0, -2), ...shape.slice(-2).toReversed()];
}

/**
 * softmax(scale · q·kᵀ, masked) · v over any leading axes. `transposed`: k comes with its last two axes
 * exchanged already. `heads`: for the mask, the first axis of the scores is taken apart into batch and heads.
 * `mask`: "add" adds input 3 to the scores; "keep" and "drop" put `masked` where it is
 * false, or true. `nan_to_zero`: weights that are no number, of rows that are masked altogether, become 0.
 */
const attention = defineOp("Attention", {
  domain: MACRO_DOMAIN,
  shape: (c) => {
    const k = c.input(1)?.shape;
    const kt = intAttribute(c.node, "transposed", 0) === 0 ? swapped(k) : k;
    const scores = matmulShape(c.input(0)?.shape, kt);
    return [typed(c.input(0)?.dtype, matmulShape(scores, c.input(2)?.shape))];
  },
  cost: perInput(4),
  saves: { inputs: [0, 1, 2], outputs: [0] },
  gradient: IN_NO_FILE,
});

/**
 * Rotary position embedding (Su et al. 2021): x·cos + turned(x)·sin, with cos and sin broadcast against x
 * or, half as wide, against each half of it. `interleaved`: pairs stand side by side, else half the width apart.
 */
const rotary = defineOp("RotaryEmbedding", {
  domain: MACRO_DOMAIN,
  shape: sameAsInput,
  cost: perInput(3),
  saves: { inputs: [1, 2], outputs: [] },
  gradient: IN_NO_FILE,
});

/** A value rounded to a grid and back: QuantizeLinear and DequantizeLinear with one scale and zero point. */
const fakeQuantize = defineOp("FakeQuantize", {
  domain: MACRO_DOMAIN,
  shape: sameAsInput,
  cost: perInput(4),
  gradient: IN_NO_FILE,
});

/** All ops of this family. */
export const macros: readonly OpDef[] = [linear, attention, rotary, fakeQuantize];
