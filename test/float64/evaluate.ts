// The float64 oracle: evaluates a graph in double precision, one plain loop an op. For tests alone; it
// shares nothing with the rules under test but the graph.

import type { Graph, Node, ValueName } from "../../src/graph/graph.ts";
import { type Array64, arrayOf } from "./array.ts";
import { attentions } from "./attention.ts";
import { contrib } from "./contrib.ts";
import { contribAttention } from "./contrib-attention.ts";
import { control } from "./control.ts";
import { convolutions } from "./conv.ts";
import { elementwise } from "./elementwise.ts";
import { indexing } from "./indexing.ts";
import type { Call, Kernels } from "./kernel.ts";
import { matmul } from "./matmul.ts";
import { movement } from "./movement.ts";
import { norm } from "./norm.ts";
import { pool } from "./pool.ts";
import { quant } from "./quant.ts";
import { recurrent } from "./recurrent.ts";
import { reduce } from "./reduce.ts";
import { resizing } from "./resize.ts";

/** Every op that the oracle knows. */
export const KERNELS: Kernels = {
  ...elementwise,
  ...reduce,
  ...movement,
  ...matmul,
  ...convolutions,
  ...pool,
  ...norm,
  ...resizing,
  ...indexing,
  ...attentions,
  ...recurrent,
  ...contrib,
  ...contribAttention,
  ...quant,
  ...control,
};

/** By what the table knows the op of a node. */
export function kernelName(node: Pick<Node, "domain" | "op">): string {
  return node.domain === "" ? node.op : `${node.domain}/${node.op}`;
}

/** Every value of a graph, from what is fed. Throws for an op that the oracle does not know. */
export function evaluate(
  graph: Graph,
  feeds: ReadonlyMap<ValueName, Array64>,
  outer: (name: ValueName) => Array64 | undefined = () => undefined,
): Map<ValueName, Array64> {
  const known = new Map<ValueName, Array64>(feeds);
  for (const [name, ref] of graph.initializers) {
    if (!known.has(name)) known.set(name, arrayOf(ref));
  }
  const lookUp = (name: ValueName): Array64 | undefined => known.get(name) ?? outer(name);
  for (const node of graph.nodes) {
    const kernel = KERNELS[kernelName(node)];
    if (kernel === undefined) throw new Error(`the float64 oracle does not know ${node.op}`);
    const outputs = kernel(callOf(node, graph, lookUp));
    for (const [i, name] of node.outputs.entries()) {
      const value = outputs[i];
      if (name !== "" && value !== undefined) known.set(name, value);
    }
  }
  return known;
}

function callOf(node: Node, graph: Graph, lookUp: (name: ValueName) => Array64 | undefined): Call {
  return {
    node,
    opset: graph.opsets.get(node.domain) ?? 1,
    inputs: node.inputs.map((name) => {
      if (name === "") return undefined;
      const value = lookUp(name);
      if (value === undefined) throw new Error(`${node.op} reads "${name}", which has no value`);
      return value;
    }),
    outer: lookUp,
    run: (body, inputs) => {
      const given = new Map(
        body.inputs.flatMap((input, i) => {
          const value = inputs[i];
          return value === undefined ? [] : [[input.name, value] as const];
        }),
      );
      const opsets = body.opsets.size === 0 ? graph.opsets : body.opsets;
      const found = evaluate({ ...body, opsets }, given, lookUp);
      return body.outputs.map(({ name }) => {
        const value = found.get(name) ?? lookUp(name);
        if (value === undefined) throw new Error(`a body has no value "${name}"`);
        return value;
      });
    },
  };
}
