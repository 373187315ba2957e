// Rewrites of a graph that change how it is written and nothing that it computes. Each takes a source of
// chance, a number from 0 to below the one given.

import { FreshNames } from "../canonical/fresh-names.ts";
import { withBodies } from "../canonical/inline.ts";
import {
  type Graph,
  type GraphFunction,
  int,
  NO_ATTRIBUTES,
  type Node,
  subgraphs,
  type ValueName,
} from "../graph/graph.ts";
import { captures, indexOf, typeOf } from "../graph/query.ts";

/** A number from 0 to below `below`. */
export type Chance = (below: number) => number;

/** New names for every node and value, in bodies too. */
export function renamed(graph: Graph, chance: Chance): Graph {
  const names = new Map<string, string>();
  const rename = (name: string): string => {
    if (name === "") return name;
    const known = names.get(name) ?? `${chance(2 ** 30).toString(36)}/${names.size}`;
    names.set(name, known);
    return known;
  };
  const within = (one: Graph): Graph => ({
    ...one,
    inputs: one.inputs.map((value) => ({ ...value, name: rename(value.name) })),
    outputs: one.outputs.map((value) => ({ ...value, name: rename(value.name) })),
    initializers: new Map([...one.initializers].map(([name, ref]) => [rename(name), ref])),
    values: new Map([...one.values].map(([n, v]) => [rename(n), { ...v, name: rename(n) }])),
    nodes: one.nodes.map((node) => ({
      ...withBodies(node, within),
      name: rename(`node ${node.name}`),
      inputs: node.inputs.map(rename),
      outputs: node.outputs.map(rename),
    })),
  });
  return within(graph);
}

/** What a node reads, its bodies included. */
function readsOf(node: Node): readonly ValueName[] {
  return [...node.inputs, ...subgraphs(node).flatMap((body) => [...captures(body)])];
}

/** Another order, in bodies too, in which every node comes after those that it reads. */
export function reordered(graph: Graph, chance: Chance): Graph {
  const { producers } = indexOf(graph);
  const left = new Map(
    graph.nodes.map((node) => [
      node,
      new Set(readsOf(node).flatMap((name) => producers.get(name) ?? [])),
    ]),
  );
  const nodes: Node[] = [];
  while (left.size > 0) {
    const ready = [...left].filter(([, before]) => before.size === 0).map(([node]) => node);
    const node = ready[chance(ready.length)];
    if (node === undefined) throw new Error("the graph has a circle");
    nodes.push(withBodies(node, (body) => reordered(body, chance)));
    left.delete(node);
    for (const before of left.values()) before.delete(node);
  }
  return { ...graph, nodes };
}

/** The graph with nodes behind some values, which all their readers take in place of the value. */
function behindValues(graph: Graph, chance: Chance, make: (x: ValueName) => Node[]): Graph {
  const instead = new Map<ValueName, ValueName>();
  const nodes = graph.nodes.flatMap((node) => {
    const changed = withBodies(node, (body) => behindValues(body, chance, make));
    const own = { ...changed, inputs: node.inputs.map((name) => instead.get(name) ?? name) };
    const after = node.outputs.flatMap((name) => {
      if (typeOf(graph, name)?.dtype !== "float32" || chance(3) > 0) return [];
      const made = make(name);
      instead.set(name, made.at(-1)?.outputs[0] ?? name);
      return made;
    });
    return [own, ...after];
  });
  return { ...graph, nodes };
}

function unary(op: string, x: ValueName, to?: number): Node {
  const attributes = to === undefined ? NO_ATTRIBUTES : new Map([["to", int(to)]]);
  const name = `${op}${to ?? ""} of ${x}`;
  return { name, op, domain: "", inputs: [x], outputs: [name], attributes };
}

/** Identities behind some values. */
export function withIdentities(graph: Graph, chance: Chance): Graph {
  return behindValues(graph, chance, (x) => [unary("Identity", x)]);
}

/** Some values cast to 16 bits and back. */
export function throughHalf(graph: Graph, chance: Chance): Graph {
  return behindValues(graph, chance, (x) => {
    const half = unary("Cast", x, 10);
    return [half, unary("Cast", half.outputs[0] ?? "", 1)];
  });
}

/** Some runs of nodes in functions, a call in the place of each. */
export function outlined(graph: Graph, chance: Chance): Graph {
  const names = new FreshNames(graph);
  const functions = new Map<string, GraphFunction>();
  const nodes: Node[] = [];
  for (let at = 0; at < graph.nodes.length; ) {
    const run = graph.nodes.slice(at, at + 1 + chance(6));
    at += run.length;
    if (chance(2) === 0 || run.some((node) => subgraphs(node).length > 0)) {
      nodes.push(...run);
      continue;
    }
    const made = new Set(run.flatMap((node) => node.outputs));
    const inputs = [...new Set(run.flatMap((node) => node.inputs))].filter(
      (one) => one !== "" && !made.has(one),
    );
    const outputs = [...made].filter((name) => isReadOutside(graph, name, run));
    const op = names.node(`layer${functions.size}`);
    functions.set(`pkg/${op}`, {
      inputs,
      outputs,
      nodes: run,
      defaults: new Map(),
      opsets: graph.opsets,
    });
    nodes.push({ name: op, op, domain: "pkg", inputs, outputs, attributes: NO_ATTRIBUTES });
  }
  return { ...graph, nodes, functions, opsets: new Map([...graph.opsets, ["pkg", 1]]) };
}

function isReadOutside(graph: Graph, name: ValueName, run: readonly Node[]): boolean {
  const { uses, outputs } = indexOf(graph);
  return outputs.has(name) || (uses.get(name) ?? []).some(({ node }) => !run.includes(node));
}

/** Every Sum as a chain of Adds. */
export function sumsSplit(graph: Graph): Graph {
  const split = (node: Node): Node[] => {
    if (node.op !== "Sum") return [withBodies(node, sumsSplit)];
    let [sum = ""] = node.inputs;
    return node.inputs.slice(1).map((input, i) => {
      const last = i === node.inputs.length - 2;
      const name = last ? node.name : `${node.name} part ${i}`;
      const add = {
        ...node,
        name,
        op: "Add",
        inputs: [sum, input],
        outputs: last ? node.outputs : [name],
      };
      [sum = ""] = add.outputs;
      return add;
    });
  };
  return { ...graph, nodes: graph.nodes.flatMap(split) };
}
