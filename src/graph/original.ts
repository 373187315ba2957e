// Where the parts of a graph come from: passes that inline, fold or collapse keep the nodes of the file
// for which a new node stands, so that a finding names what the user has.

import type { Graph, Node, Original, ValueName } from "./graph.ts";

/** The nodes of the file that one node stands for. */
export function ownOriginals(node: Node): readonly Original[] {
  return node.originals ?? [{ name: node.name }];
}

/**
 * The nodes of the file that a node stands for, or from which a weight was computed: none for a weight that
 * the file has as one.
 */
export function originalsOf(graph: Graph, what: Node | ValueName): readonly Original[] {
  if (typeof what !== "string") return ownOriginals(what);
  const found = new Set<Original>();
  const seen = new Set<ValueName>();
  const open: ValueName[] = [what];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    const node = seen.has(name) ? undefined : graph.folded?.get(name);
    seen.add(name);
    if (node === undefined) continue;
    for (const one of ownOriginals(node)) found.add(one);
    open.push(...node.inputs);
  }
  return [...found];
}

/** The originals of a node as they are seen from outside the call or control-flow node `outer`. */
export function originalsWithin(outer: Node, inner: Node): readonly Original[] {
  const [around = { name: outer.name }] = ownOriginals(outer);
  return ownOriginals(inner).map((one) => nestedIn(one, around));
}

/** An original as it is seen from outside the node of the file around it. */
export function nestedIn(original: Original, around: Original): Original {
  const names: string[] = [];
  for (let at: Original | undefined = original; at !== undefined; at = at.within)
    names.push(at.name);
  return names.reduceRight((within, name): Original => ({ name, within }), around);
}

/** `call/inner`: the way to a node of the file, through the calls and branches around it. */
export function originalName(original: Original): string {
  const names: string[] = [];
  for (let at: Original | undefined = original; at !== undefined; at = at.within)
    names.push(at.name);
  return names.toReversed().join("/");
}

/** The node of the file's own graph in which an original lies, or which it is. */
export function outermost(original: Original): string {
  let at = original;
  while (at.within !== undefined) at = at.within;
  return at.name;
}
