// Recurrent networks as one op.

import { intAttribute, stringAttribute } from "../graph/graph.ts";
import { UNKNOWN_DIM } from "../graph/shape.ts";
import type { OpDef, ShapeRule } from "./op.ts";
import { defineOp, NO_RULE, perOutput, typed } from "./rules.ts";

/** Y, the last state of each direction, and for LSTM the last cell (layout 1: the batch in front). */
const recurrentShape: ShapeRule = (c) => {
  const x = c.input(0);
  const hidden = intAttribute(c.node, "hidden_size") ?? c.input(2)?.shape?.[2] ?? UNKNOWN_DIM;
  const directions = stringAttribute(c.node, "direction", "forward") === "bidirectional" ? 2 : 1;
  const batchFirst = intAttribute(c.node, "layout", 0) === 1;
  if (x?.shape?.length !== 3) return [];
  const [first = UNKNOWN_DIM, second = UNKNOWN_DIM] = x.shape;
  const [steps, batch] = batchFirst ? [second, first] : [first, second];
  const all = batchFirst ? [batch, steps, directions, hidden] : [steps, directions, batch, hidden];
  const last = batchFirst ? [batch, directions, hidden] : [directions, batch, hidden];
  const outputs = [typed(x.dtype, all), typed(x.dtype, last)];
  return c.node.op === "LSTM" ? [...outputs, typed(x.dtype, last)] : outputs;
};

/** All ops of this family. */
export const recurrents: readonly OpDef[] = ["RNN", "GRU", "LSTM"].map((type) =>
  defineOp(type, {
    shape: recurrentShape,
    cost: perOutput(8),
    saves: { inputs: [0, 1, 2], outputs: [0] },
    gradient: NO_RULE,
  }),
);
