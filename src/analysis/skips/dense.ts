// Dense blocks: chains of concatenations in which every layer reads all before it (Huang et al. 2017).

import type { Flow } from "./flow.ts";
import type { Fusion } from "./fusion.ts";
import type { Found } from "./skip.ts";

/** Skips with dense blocks marked, and the number of direct links that those blocks make. */
export interface DenseResult {
  readonly skips: readonly Found[];
  readonly links: number;
}

/**
 * Groups concatenations into chains: each takes up the result of the one before, or all its operands
 * and one more. A chain of n merges makes n(n+1)/2 direct links.
 */
export function markDense(
  flow: Flow,
  skips: readonly Found[],
  fusions: readonly Fusion[],
): DenseResult {
  const operandsOf = new Map(
    fusions.map((fusion) => [
      fusion.node.name,
      fusion.operands.map((operand) => flow.unrounded(operand.value)),
    ]),
  );
  const chains: Found[][] = [];
  const lastOf = new Map<string, Found[]>();
  for (const skip of skips) {
    // Those of bodies were grouped there.
    if (skip.kind !== "concat" || skip.body !== undefined) continue;
    if (skip.encoderDecoder || skip.block === "partial") continue;
    const operands = operandsOf.get(skip.merge) ?? [];
    const before =
      lastOf.get(flow.unrounded(skip.source)) ?? lastOf.get(keyOf(operands.slice(0, -1)));
    const chain = before ?? [];
    if (before === undefined) chains.push(chain);
    chain.push(skip);
    lastOf.set(skip.mergeOutput, chain);
    lastOf.set(keyOf(operands), chain);
  }
  const dense = chains.filter((chain) => chain.length > 1);
  const members = new Set(dense.flat());
  const links = dense.reduce((total, { length }) => total + (length * (length + 1)) / 2, 0);
  return {
    links,
    skips: skips.map((skip) => (members.has(skip) ? { ...skip, block: "dense" } : skip)),
  };
}

function keyOf(operands: readonly string[]): string {
  return JSON.stringify(operands);
}
