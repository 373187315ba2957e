// The forward of a body once more, inside another body: what a way back reads, and cannot see from outside.

import { withBodies } from "../../canonical/inline.ts";
import type { TypedBuilder } from "../../canonical/typed-builder.ts";
import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import { captures } from "../../graph/query.ts";

/** Nodes of a body under other names. */
export interface Copy {
  readonly nodes: readonly Node[];
  readonly rename: (name: ValueName) => ValueName;
}

/**
 * The nodes of a body once more, under names of their own.
 *
 * @param inputs What stands for the inputs of the body.
 */
export function copied(
  body: TypedBuilder,
  branch: Graph,
  inputs: Iterable<readonly [ValueName, ValueName]> = [],
): Copy {
  const names = new Map<ValueName, ValueName>(inputs);
  const own = (name: ValueName): void => {
    if (name !== "" && !names.has(name)) names.set(name, body.unique(name));
  };
  const rename = (name: ValueName): ValueName => names.get(name) ?? name;
  for (const [name, ref] of branch.initializers) {
    own(name);
    body.initializer(rename(name), ref);
  }
  const nodes = branch.nodes.map((node) => {
    node.outputs.forEach(own);
    const copy = renamedIn(node, rename, body.unique(node.name));
    body.append(copy);
    return copy;
  });
  return { nodes, rename };
}

/** A node with values renamed where it and its bodies read them; what bodies make keeps its name. */
function renamedIn(node: Node, rename: (name: ValueName) => ValueName, name: string): Node {
  const inner = withBodies(node, (body) => {
    const free = captures(body);
    const within = (one: ValueName): ValueName => (free.has(one) ? rename(one) : one);
    return {
      ...body,
      nodes: body.nodes.map((one) => renamedIn(one, within, one.name)),
      outputs: body.outputs.map((value) => ({ ...value, name: within(value.name) })),
    };
  });
  return {
    ...inner,
    name,
    inputs: node.inputs.map((one) => (one === "" ? "" : rename(one))),
    outputs: node.outputs.map((one) => (one === "" ? "" : rename(one))),
  };
}
