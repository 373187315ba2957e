// What stands in functions: looked at through the calls of them, and brought into the graph where it has to be
// mended. A function whose calls are served as it is stays a function.

import type { FreshNames } from "../../canonical/fresh-names.ts";
import { inlineFunctions, instantiate } from "../../canonical/inline.ts";
import {
  functionKey,
  type Graph,
  type GraphFunction,
  type Node,
  subgraphs,
} from "../../graph/graph.ts";
import { schemaOf } from "../../ops/schema.ts";

/** The calls of a graph, unfolded one at a time. */
export class Calls {
  readonly #functions: Graph["functions"];
  readonly #names: FreshNames;

  constructor({ functions }: Graph, names: FreshNames) {
    this.#functions = functions;
    this.#names = names;
  }

  /** The nodes for which a call stands, and the key of its function; undefined for other nodes. */
  unfold(node: Node): { readonly key: string; readonly nodes: readonly Node[] } | undefined {
    const key = functionKey(node);
    const called = this.#functions?.get(key);
    return called && { key, nodes: instantiate(node, called, this.#names) };
  }
}

/**
 * The graph with some functions in the place of their calls; or why one of them cannot stand there: it is written
 * for another operator set, in which an op of it is another.
 */
export function withInlined(graph: Graph, keys: ReadonlySet<string>): Graph | string {
  for (const key of keys) {
    const called = graph.functions?.get(key);
    const op = called && foreignOp(called.nodes, called, graph);
    if (op !== undefined) {
      return `function ${key} has the op ${op} of another operator set than the graph's`;
    }
  }
  return inlineFunctions(graph, keys);
}

/** The first op that is another one in the operator sets of the graph. */
function foreignOp(
  nodes: readonly Node[],
  called: GraphFunction,
  graph: Graph,
): string | undefined {
  for (const node of nodes) {
    const [own = 1, around] = [called, graph].map(({ opsets }) => opsets.get(node.domain));
    const isOther =
      around !== undefined &&
      own !== around &&
      graph.functions?.has(functionKey(node)) !== true &&
      schemaOf(node.domain, node.op, own) !== schemaOf(node.domain, node.op, around);
    if (isOther) return node.op;
    for (const body of subgraphs(node)) {
      const inner = foreignOp(body.nodes, called, graph);
      if (inner !== undefined) return inner;
    }
  }
  return undefined;
}
