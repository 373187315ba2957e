// All generators of cases. A new rule needs a line in the file of its family.

import type { Generators } from "../case.ts";
import { attentions } from "./attention.ts";
import { contrib } from "./contrib.ts";
import { contribAttentions } from "./contrib-attention.ts";
import { convolutions } from "./conv.ts";
import { elementwise } from "./elementwise.ts";
import { indexing } from "./indexing.ts";
import { losses } from "./losses.ts";
import { matmul } from "./matmul.ts";
import { movement } from "./movement.ts";
import { norm } from "./norm.ts";
import { norms } from "./norms.ts";
import { pool } from "./pool.ts";
import { quantized } from "./quant.ts";
import { recurrent } from "./recurrent.ts";
import { reduce } from "./reduce.ts";
import { spatial } from "./spatial.ts";

/** By op; those of other domains as `domain/type`. */
export const GENERATORS: Generators = {
  ...elementwise,
  ...reduce,
  ...movement,
  ...indexing,
  ...matmul,
  ...convolutions,
  ...pool,
  ...norm,
  ...spatial,
  ...norms,
  ...losses,
  ...recurrent,
  ...quantized,
  ...contrib,
  ...contribAttentions,
  ...attentions,
};
