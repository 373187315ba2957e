// What lies on the way to a value: how many nodes, and along which axis its channels are. Of the operands
// of a merge, the one with the shorter way is the shortcut.

import type { Node, ValueName } from "../graph/graph.ts";

/** Where channels are: on axis 1, as in pictures, or on the last, as in sequences of tokens. */
export type Layout = "channels-first" | "channels-last";

const FIRST = new Set([
  "Conv",
  "ConvTranspose",
  "MaxPool",
  "AveragePool",
  "GlobalAveragePool",
  "BatchNormalization",
  "InstanceNormalization",
  "GroupNormalization",
]);
const LAST = new Set(["MatMul", "Gemm", "LayerNormalization", "RMSNormalization", "Gather"]);
/** After these, what was known of the axes holds no longer. */
const MOVES = new Set(["Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"]);

/** Collects the ways node by node, in topological order. */
export class Ways {
  readonly #lengths = new Map<ValueName, number>();
  readonly #layouts = new Map<ValueName, Layout>();

  /** Takes a node in whose inputs were taken in before. */
  visit(node: Node): void {
    let length = 0;
    let layout: Layout | undefined;
    for (const name of node.inputs) {
      length = Math.max(length, this.lengthTo(name));
      layout ??= this.layoutOf(name);
    }
    if (FIRST.has(node.op)) layout = "channels-first";
    else if (LAST.has(node.op)) layout = "channels-last";
    else if (MOVES.has(node.op)) layout = undefined;
    for (const name of node.outputs) {
      this.#lengths.set(name, length + 1);
      if (layout !== undefined) this.#layouts.set(name, layout);
    }
  }

  /** Nodes on the longest way to a value. */
  lengthTo(name: ValueName): number {
    return this.#lengths.get(name) ?? 0;
  }

  layoutOf(name: ValueName): Layout | undefined {
    return this.#layouts.get(name);
  }
}
