// What --batch means for a model whose batch size is written into the file.

import { batchSymbol } from "../analysis/memory.ts";
import type { Graph } from "../graph/graph.ts";
import type { CommonOptions, Io } from "./io.ts";
import { wholeNumber } from "./options.ts";

/** Reads a batch size; what is beyond a million is a slip of the fingers. */
export const readBatch: (text: string) => number = wholeNumber(1, 1_000_000);

/** Says that another batch size than the file's was asked for in vain. */
export function noteFixedBatch(
  io: Io,
  graph: Graph,
  { batch, quiet }: CommonOptions & { readonly batch: number },
): void {
  if (batch === 1 || quiet === true || batchSymbol(graph) !== undefined) return;
  io.err("the batch size is written into the model: --batch changes nothing\n");
}
