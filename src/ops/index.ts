// The table of all ops that skipway knows. Adding one: its object in the file of its family.

import type { Node } from "../graph/graph.ts";
import { activations } from "./activations.ts";
import { attentions } from "./attention.ts";
import { blockedOps } from "./blocked.ts";
import { contributions } from "./contrib.ts";
import { controls } from "./control.ts";
import { convolutions } from "./conv.ts";
import { elementwise } from "./elementwise.ts";
import { indexings } from "./indexing.ts";
import { losses } from "./loss.ts";
import { macros } from "./macro.ts";
import { makings } from "./making.ts";
import { matmuls } from "./matmul.ts";
import { learned } from "./ml.ts";
import { movements } from "./movement.ts";
import { norms } from "./norm.ts";
import type { OpDef } from "./op.ts";
import { pools } from "./pool.ts";
import { quantized } from "./quant.ts";
import { recurrents } from "./recurrent.ts";
import { reductions } from "./reduce.ts";
import { resizings } from "./resize.ts";
import { sequences } from "./sequence.ts";
import { signals } from "./signal.ts";
import { slicings } from "./slicing.ts";
import { spatials } from "./spatial.ts";
import { texts } from "./text.ts";
import { trainings } from "./training.ts";
import { unaries } from "./unary.ts";
import { visions } from "./vision.ts";

const ALL: readonly OpDef[] = [
  ...elementwise,
  ...unaries,
  ...activations,
  ...matmuls,
  ...convolutions,
  ...pools,
  ...norms,
  ...reductions,
  ...movements,
  ...slicings,
  ...indexings,
  ...makings,
  ...losses,
  ...attentions,
  ...quantized,
  ...recurrents,
  ...contributions,
  ...spatials,
  ...resizings,
  ...visions,
  ...controls,
  ...sequences,
  ...texts,
  ...signals,
  ...learned,
  ...trainings,
  ...macros,
  ...blockedOps,
];

/** Ops by `domain/type`; the standard domain is empty. */
export const OPS: ReadonlyMap<string, OpDef> = new Map(
  ALL.map((op) => [`${op.domain}/${op.type}`, op]),
);

/** The op of a node, or undefined for one that skipway does not know. */
export function opOf(node: Node): OpDef | undefined {
  return OPS.get(`${node.domain}/${node.op}`);
}
