// Where an axis of a value is after nodes that only move elements.

import { intsAttribute, type Node } from "../../graph/graph.ts";
import type { Shape } from "../../graph/shape.ts";
import type { Flow } from "./flow.ts";
import { wordOf } from "./vocabulary.ts";

/** Ops that write the same elements in the same order with other sizes. */
const RESHAPING = new Set(["Reshape", "Flatten", "Squeeze", "Unsqueeze"]);

/**
 * The place of an axis behind nodes in order, both counted from the end (-1 is the last); undefined where it
 * is lost: joined with another, or in a node of unknown sizes.
 */
export function axisThrough(flow: Flow, nodes: readonly Node[], axis: number): number | undefined {
  let at: number | undefined = axis;
  for (const node of nodes) {
    if (at === undefined) return undefined;
    if (wordOf(node) === "Transpose") at = transposed(flow, node, at);
    else if (RESHAPING.has(wordOf(node))) at = reshaped(flow, node, at);
  }
  return at;
}

function transposed(flow: Flow, node: Node, axis: number): number | undefined {
  const rank = flow.typeOf(node.inputs[0] ?? "")?.shape?.length;
  if (rank === undefined) return undefined;
  const perm = intsAttribute(node, "perm") ?? Array.from({ length: rank }, (_, i) => rank - 1 - i);
  const found = perm.indexOf(axis + rank);
  return found < 0 ? undefined : found - rank;
}

/** An axis of the same size with as many elements before it. */
function reshaped(flow: Flow, node: Node, axis: number): number | undefined {
  const before = flow.typeOf(node.inputs[0] ?? "")?.shape;
  const after = flow.typeOf(node.outputs[0] ?? "")?.shape;
  const size = before?.at(axis);
  if (before === undefined || after === undefined || size === undefined) return undefined;
  const behind = (shape: Shape, at: number): string =>
    // Sizes that are symbols stand for themselves; ones do not matter.
    shape.slice(at).some((dim) => typeof dim !== "number")
      ? shape
          .slice(at)
          .filter((dim) => dim !== 1)
          .join()
      : String(shape.slice(at).reduce<number>((total, dim) => total * Number(dim), 1));
  const wanted = behind(before, axis + before.length);
  const found = after.findIndex((dim, at) => dim === size && behind(after, at) === wanted);
  return found < 0 ? undefined : found - after.length;
}
