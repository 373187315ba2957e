// The states that each round of a Loop or Scan got: a further stack of its results, which the way back reads.

import type { FreshNames } from "../../canonical/fresh-names.ts";
import {
  type Attribute,
  type Graph,
  ints,
  NO_ATTRIBUTES,
  type Node,
  type Value,
  type ValueName,
} from "../../graph/graph.ts";
import type { Rounds } from "./rounds.ts";

/** Stacks in the order of the rounds. */
export interface Told {
  /** The states that each round got. */
  readonly states: readonly ValueName[];
  /** Which round it was; a Scan does not count. */
  readonly count: ValueName | undefined;
}

/** What is to be told of rounds. */
function wanted({ states, count }: Rounds): readonly Value[] {
  return [...states.map((state) => state.inside), ...(count === undefined ? [] : [count])];
}

/** The output of the node that stacks what its body gets as an input, if there is one. */
function stackOf({ node, body, states, stacks }: Rounds, inside: ValueName): ValueName | undefined {
  const copies = new Set(
    body.nodes
      .filter((one) => one.op === "Identity" && one.inputs[0] === inside)
      .flatMap((one) => one.outputs),
  );
  const i = stacks.findIndex(
    ({ result, axis, reversed }) => copies.has(result.name) && axis === 0 && !reversed,
  );
  const name = i < 0 ? "" : (node.outputs[states.length + i] ?? "");
  return name === "" ? undefined : name;
}

/** What a node tells, if that is all. */
export function toldBy(rounds: Rounds): Told | undefined {
  const found = wanted(rounds).map((value) => stackOf(rounds, value.name));
  const names = found.filter((name) => name !== undefined);
  if (names.length < found.length) return undefined;
  const { length } = rounds.states;
  return { states: names.slice(0, length), count: names[length] };
}

/** The node with stacks of what it does not tell yet; the same node if it tells all. */
export function withToldStates(rounds: Rounds, names: FreshNames): Node {
  const { node, body, states, stacks } = rounds;
  const missing = wanted(rounds).filter((value) => stackOf(rounds, value.name) === undefined);
  if (missing.length === 0 || missing.some((value) => value.container !== undefined)) return node;
  const copies = missing.map((value) => copyOf(value, names));
  const inside: Graph = {
    ...body,
    nodes: [...body.nodes, ...copies],
    outputs: [
      ...body.outputs,
      ...missing.map(({ dtype, shape }, i) => ({
        name: copies[i]?.outputs[0] ?? "",
        dtype,
        shape,
      })),
    ],
  };
  const outputs = Array.from(
    { length: states.length + stacks.length },
    (_, i) => node.outputs[i] ?? names.value(`${node.name}.unread`),
  );
  const told = missing.map((value) => names.value(`${value.name}.told`));
  const attributes = new Map<string, Attribute>(node.attributes);
  attributes.set("body", { kind: "graph", value: inside });
  if (node.op === "Scan") {
    const none = missing.map(() => 0);
    attributes.set("scan_output_axes", ints([...stacks.map((one) => one.axis), ...none]));
    const directions = [...stacks.map((one) => Number(one.reversed)), ...none];
    attributes.set("scan_output_directions", ints(directions));
  }
  return { ...node, outputs: [...outputs, ...told], attributes };
}

function copyOf(value: Value, names: FreshNames): Node {
  return {
    name: names.node(`${value.name}.copy`),
    op: "Identity",
    domain: "",
    inputs: [value.name],
    outputs: [names.value(`${value.name}.copy`)],
    attributes: NO_ATTRIBUTES,
  };
}
