// Names for what comes in with a call or a branch: of values and of nodes, that nothing in the graph has.
// Files have names with slashes, so that those of a call's insides may be there already.

import type { Graph, ValueName } from "../graph/graph.ts";
import { subgraphs } from "../graph/graph.ts";
import { NodeNames } from "../graph/node-names.ts";

/** Hands out names that are new to a graph and to all graphs inside it. */
export class FreshNames {
  readonly #values = new NodeNames();
  readonly #nodes = new NodeNames();

  constructor(graph: Graph) {
    this.#collect(graph);
  }

  #collect(graph: Graph): void {
    const reserve = (name: ValueName): void => this.#values.reserve(name);
    for (const { name } of graph.inputs) reserve(name);
    for (const name of graph.initializers.keys()) reserve(name);
    for (const node of graph.nodes) {
      this.#nodes.reserve(node.name);
      node.outputs.forEach(reserve);
      for (const body of subgraphs(node)) this.#collect(body);
    }
  }

  /** The name wanted, with a number behind it if it is taken. */
  value(wanted: ValueName): ValueName {
    return this.#values.take(wanted, "");
  }

  /** The same for a node. */
  node(wanted: string): string {
    return this.#nodes.take(wanted, "");
  }

  /** Gives each name that comes in one new name, the same each time, behind that of a node. */
  renaming(
    prefix: string,
    known: ReadonlyMap<ValueName, ValueName>,
  ): (name: ValueName) => ValueName {
    const names = new Map(known);
    return (name) => {
      const given = names.get(name) ?? this.value(`${prefix}/${name}`);
      names.set(name, given);
      return given;
    };
  }
}
