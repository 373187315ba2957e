// The ops of a blocked region as nodes that ONNX Runtime runs: its own blocked ones (com.microsoft.nchwc),
// and views of tensors between them. All sizes are static.

import { present } from "../../base/assert.ts";
import { TypedBuilder } from "../../canonical/typed-builder.ts";
import type { Graph, Node } from "../../graph/graph.ts";
import { BLOCKED_DOMAIN } from "../../ops/blocked.ts";
import { channelSum, scaleChannels } from "./channels.ts";
import { inputGradient } from "./input-gradient.ts";
import { norm, normGradient } from "./norm.ts";
import { blockWeight, convolution, enter, globalPool, leave, plainWeight, spread } from "./ops.ts";
import { type Expansion, NCHWC, Views } from "./views.ts";
import { weightGradient } from "./weight-gradient.ts";

const EXPANSIONS: ReadonlyMap<string, Expansion> = new Map([
  ["Enter", enter],
  ["Leave", leave],
  ["BlockWeight", blockWeight],
  ["PlainWeight", plainWeight],
  ["Conv", convolution],
  ["InputGradient", inputGradient],
  ["WeightGradient", weightGradient],
  ["ChannelSum", channelSum],
  ["ScaleChannels", scaleChannels],
  ["Norm", norm],
  ["NormGradient", normGradient],
  ["GlobalAveragePool", globalPool],
  ["Spread", spread],
]);

/** The graph without ops of skipway's own. The same object where there are none. */
export function expandBlocked(graph: Graph, block: number): Graph {
  if (!graph.nodes.some((node) => node.domain === BLOCKED_DOMAIN)) return graph;
  const builder = new TypedBuilder({ ...graph, nodes: [], outputs: [] });
  const views = new Views(builder, block, freePrefix(graph));
  for (const node of graph.nodes) {
    if (node.domain === BLOCKED_DOMAIN) expansionOf(node)(views, node);
    else builder.append(node);
  }
  for (const output of graph.outputs) builder.output(output);
  const opsets = new Map([...graph.opsets, [NCHWC, 1] as const]);
  return builder.finish(graph.name, opsets, graph.metadata);
}

/** With which no name of the graph begins: nodes that are made first must not take one of a later node. */
function freePrefix(graph: Graph): string {
  let prefix = "blocked";
  const taken = (name: string): boolean => name.startsWith(`${prefix}.`);
  while (graph.nodes.some((node) => taken(node.name) || node.outputs.some(taken))) prefix += "_";
  return prefix;
}

function expansionOf(node: Node): Expansion {
  return present(EXPANSIONS.get(node.op), `${node.op} has an expansion`);
}
