// A batch size that is written into the file becomes a symbol, where it can be shown that nothing but the batch changes.

import type { Graph } from "../../graph/graph.ts";
import { batchOf, Freeing } from "./freeing.ts";
import { type Attempt, IN_FUNCTION } from "./outcome.ts";
import { whyUnproven } from "./proof.ts";

const ID = "batch/fixed-size";

/** Batches that no dim of a network is likely to have by chance: what scales with it, is the batch. */
const OTHER_BATCHES = [1009, 1013];

/**
 * Makes the first axis of the inputs a symbol. Done only where it can be shown: with the old size inference
 * gives the old shapes of the outputs, and with another size the same shapes but for their first axes.
 */
export function repairBatch(graph: Graph): Attempt {
  const fixed = graph.inputs.find(
    (value) => !graph.initializers.has(value.name) && batchOf(value) !== undefined,
  );
  const batch = fixed === undefined ? undefined : batchOf(fixed);
  if (fixed === undefined || batch === undefined)
    return { graph, fixed: [], unfixed: [], inside: new Set() };
  const where = `input ${fixed.name}`;
  const other = OTHER_BATCHES.find((one) => one !== batch) ?? 0;
  const sizes = { batch, symbol: freeSymbol(graph), other };
  const { freed, inside, refused, targets, constants } = new Freeing(graph, sizes).run();
  const unproven = inside.size > 0 ? IN_FUNCTION : whyUnproven(graph, freed, sizes);
  if (unproven !== undefined) {
    // Where a node was seen that stays as it is, it says more than what follows from it.
    const reason = inside.size > 0 ? unproven : (refused[0] ?? unproven);
    return { graph, fixed: [], unfixed: [{ id: ID, where, reason }], inside };
  }
  const also = [
    targets === 0 ? [] : `${targets} targets of Reshape, Expand and Resize`,
    constants === 0 ? [] : `${constants} constants with a row for each example`,
  ].flat();
  const places = also.length === 0 ? "" : ` in the inputs, ${also.join(" and ")}`;
  const text = `The batch size ${batch} is the symbol ${sizes.symbol} now${places}.`;
  return { graph: freed, fixed: [{ id: ID, where, text }], unfixed: [], inside };
}

/** `N`, or what comes after it where a dim has that name. */
function freeSymbol(graph: Graph): string {
  const all = [...graph.inputs, ...graph.outputs, ...graph.values.values()];
  const taken = new Set(all.flatMap(({ shape }) => shape ?? []));
  let symbol = "N";
  while (taken.has(symbol)) symbol = `${symbol}N`;
  return symbol;
}
