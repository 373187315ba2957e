// What nodes call: functions by their full names, and the attributes that calls hand on to them.

import { functionKey, type Graph, type Node, subgraphs } from "./graph.ts";

/** What a node calls. A call tells apart what slashes in a key do not. */
export type Callee = Pick<Node, "domain" | "op" | "overload">;

/** What the nodes of a graph call, functions or not, by `functionKey`. */
export function calleesOf({ nodes, functions }: Graph): Map<string, Callee> {
  const found = new Map<string, Callee>();
  const collect = (within: readonly Node[]): void => {
    for (const node of within) {
      const key = functionKey(node);
      if (!found.has(key)) found.set(key, node);
      for (const body of subgraphs(node)) collect(body.nodes);
    }
  };
  collect(nodes);
  for (const one of functions?.values() ?? []) collect(one.nodes);
  return found;
}

/** The function of a key that nothing calls: domain, op, and overload if it has one. */
export function calleeOf(key: string): Callee {
  const [, domain = "", op = key, overload = ""] = /^([^/]*)\/(.*?)(?:\/(.+))?$/s.exec(key) ?? [];
  return { domain, op, overload };
}

/** Attributes of the function around them that nodes refer to. */
export function boundNames(nodes: readonly Node[], found: Set<string> = new Set()): Set<string> {
  for (const node of nodes) {
    for (const attribute of node.attributes.values()) {
      if (attribute.kind === "reference") found.add(attribute.attribute);
    }
    for (const body of subgraphs(node)) boundNames(body.nodes, found);
  }
  return found;
}
