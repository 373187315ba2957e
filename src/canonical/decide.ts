// Branches that are decided before the first run: an `If` whose condition follows from shapes is replaced
// by the branch that is taken. Exporters leave such questions ("is there a batch axis?") in the file.

import type { Graph, Node, ValueName } from "../graph/graph.ts";
import { FreshNames } from "./fresh-names.ts";
import { Inference, isInferred, markInferred } from "./infer-shapes.ts";
import { handOn, renamed } from "./inline.ts";

/** The graph with shapes inferred and every decided `If` replaced; the same graph if nothing changes. */
export function decideBranches(graph: Graph): Graph {
  if (isInferred(graph) && !graph.nodes.some((node) => node.op === "If")) return graph;
  const inference = new Inference(graph);
  const nodes: Node[] = [];
  let changed = false;
  let names: FreshNames | undefined;
  // What is still to be visited, the next node last: a branch may hold further branches.
  const open = graph.nodes.toReversed();
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    const condition = node.op === "If" ? inference.numberOf(node.inputs[0] ?? "") : undefined;
    const taken = condition === undefined ? undefined : branchOf(node, condition !== 0);
    if (taken === undefined) {
      const visited = inference.visit(node);
      changed ||= visited !== node;
      nodes.push(visited);
      continue;
    }
    changed = true;
    names ??= new FreshNames(graph);
    const inside = inPlaceOf(node, taken, names);
    for (const [name, ref] of inside.initializers) inference.addInitializer(name, ref);
    for (const one of inside.nodes.toReversed()) open.push(one);
  }
  return markInferred(inference.finish(changed ? nodes : graph.nodes));
}

function branchOf(node: Node, condition: boolean): Graph | undefined {
  const attribute = node.attributes.get(condition ? "then_branch" : "else_branch");
  return attribute?.kind === "graph" ? attribute.value : undefined;
}

/** A branch with names of its own: those of another branch in the same graph may be the same. */
function inPlaceOf(
  node: Node,
  branch: Graph,
  fresh: FreshNames,
): Pick<Graph, "nodes" | "initializers"> {
  const own = new Set([
    ...branch.initializers.keys(),
    ...branch.nodes.flatMap((one) => one.outputs),
  ]);
  const ownName = fresh.renaming(node.name, new Map());
  const rename = (name: ValueName): ValueName =>
    name !== "" && own.has(name) ? ownName(name) : name;
  const results = node.outputs.flatMap((output, i): Node[] => {
    if (output === "") return [];
    return [handOn(node, fresh, rename(branch.outputs[i]?.name ?? ""), output)];
  });
  return {
    nodes: [...branch.nodes.map((one) => renamed(one, { rename, fresh }, node)), ...results],
    initializers: new Map([...branch.initializers].map(([name, ref]) => [rename(name), ref])),
  };
}
