// Skips that go from one round of a loop to the next: the body is written out twice, and what comes from the
// first round, or from outside through it, may end in a sum of the second. So the cell of an LSTM is read
// (c' = f·c + i·g, where g comes from c by way of the state h), and a value from outside that is added in every
// round (h' = f(h) + e).

import { withBodies } from "../../canonical/inline.ts";
import { isFloat } from "../../graph/dtype.ts";
import { type Graph, NO_ATTRIBUTES, type Node, type ValueName } from "../../graph/graph.ts";
import { FINDERS } from "./finders.ts";
import { Flow, slicedWeights } from "./flow.ts";
import { type Fusion, fusionsOf } from "./fusion.ts";
import { type Looping, statesOf } from "./loop.ts";
import type { Found } from "./skip.ts";

/** Ops that take a part of their first input; where, the others say. */
const PICKING = new Set([
  ...["Gather", "GatherND", "GatherElements", "Slice", "SequenceAt", "DynamicSlice"],
]);

/** Ops that tell the size of a value, and nothing of what is in it. */
const ASKING = new Set(["Shape", "Size"]);

/** Two rounds of a body as one graph. Names of the first round have a mark; those of the second are the body's. */
interface TwoRounds {
  readonly flow: Flow;
  readonly mark: string;
  /** Values of the second round. */
  readonly own: ReadonlySet<ValueName>;
  /** The states, by the nodes that hand them on to the second round. */
  readonly handing: ReadonlyMap<string, ValueName>;
}

/** The skips that end in a sum of the body and start in the round before, or outside. */
export function skipsAcrossRounds(loop: Looping): Found[] {
  const two = twoRounds(loop);
  if (two === undefined) return [];
  return fusionsOf(two.flow)
    .filter((fusion) => fusion.form === "additive" && !fusion.node.name.endsWith(two.mark))
    .flatMap((fusion) =>
      (FINDERS.map((find) => find(two.flow, fusion)).find((list) => list.length > 0) ?? [])
        .filter((found) => crosses(two, fusion, found))
        .map((found) => inBody(two, found)),
    );
}

/**
 * Whether a skip needs more than one round. A layer on the way from outside is what a cell takes in, and no
 * shortcut; nor is a sum in which one operand is spread over another, such as the keys of attention.
 */
function crosses({ flow, mark, own, handing }: TwoRounds, fusion: Fusion, found: Found): boolean {
  if (own.has(found.source) || found.kind === "projection") return false;
  const carried = found.shortcut.some((name) => handing.has(name));
  if (carried) return true;
  return !found.source.endsWith(mark) && !spreads(flow, fusion);
}

/** Whether an operand of a sum is smaller than the sum. */
function spreads(flow: Flow, { operands, output }: Fusion): boolean {
  const whole = flow.typeOf(output)?.shape;
  return operands.some(({ value }) => {
    const own = flow.typeOf(value)?.shape;
    if (own === undefined || whole === undefined) return false;
    return own.length !== whole.length || own.some((dim, axis) => dim === 1 && whole[axis] !== 1);
  });
}

/** A skip in the names of the body. */
function inBody({ mark, handing }: TwoRounds, found: Found): Found {
  const plain = (name: string): string =>
    name.endsWith(mark) ? name.slice(0, -mark.length) : name;
  const names = (list: readonly string[]): string[] => [
    ...new Set(list.filter((name) => !handing.has(name)).map(plain)),
  ];
  const state = found.shortcut.flatMap((name) => handing.get(name) ?? []).at(-1);
  const shortcut = found.shortcut.filter((name) => !name.endsWith(mark));
  return {
    ...found,
    source: state ?? plain(found.source),
    shortcut: names(shortcut),
    main: names(found.main),
  };
}

/** A loop that carries activations, written out for two rounds; undefined for one that carries none. */
function twoRounds(loop: Looping): TwoRounds | undefined {
  const { body, flow } = loop;
  const given = new Map(body.inputs.map((value) => [value.name, value]));
  const states = statesOf(loop).filter(({ input }) => isFloat(given.get(input)?.dtype ?? "bool"));
  if (states.length === 0) return undefined;
  const picked = new Set(pickedByCounter(body));
  const nodes = body.nodes.filter((node) => !picked.has(node));
  const made = body.nodes.flatMap((node) => node.outputs);
  // Slices of weights are weights in every round.
  const weights = slicedWeights(body, loop);
  const own = new Set([...given.keys(), ...made].filter((name) => !weights.has(name)));
  const mark = freeMark([
    ...own,
    ...body.initializers.keys(),
    ...body.nodes.map(({ name }) => name),
  ]);
  const first = (name: ValueName): ValueName => (own.has(name) ? `${name}${mark}` : name);
  const handing = states.map(({ input, output }) => handOn(first(output), input));
  const type = (name: ValueName) => flow.typeOf(name) ?? body.values.get(name);
  const fresh = [...picked].flatMap((node) =>
    node.outputs.flatMap((name) => {
      const known = body.values.get(name) ?? type(node.inputs[0] ?? "");
      return known === undefined ? [] : [{ ...known, name }];
    }),
  );
  const carried = new Set(states.map(({ input }) => input));
  const inputs = [...body.inputs, ...fresh].filter(({ name }) => !weights.has(name));
  const graph: Graph = {
    ...body,
    inputs: [
      ...inputs.map((value) => ({ ...value, name: first(value.name) })),
      ...inputs.filter(({ name }) => !carried.has(name)),
    ],
    nodes: [...nodes.map((node) => inFirst(node, first, mark)), ...handing, ...nodes],
    values: new Map(
      [...body.inputs, ...body.values.values()].flatMap((value) =>
        [value.name, first(value.name)].map((name) => [name, { ...value, name }] as const),
      ),
    ),
  };
  return {
    flow: new Flow(graph, loop),
    mark,
    own,
    handing: new Map(handing.map((node) => [node.name, node.outputs[0] ?? ""])),
  };
}

/** A mark in which no name ends. */
function freeMark(names: readonly string[]): string {
  let mark = "~first";
  while (names.some((name) => name.endsWith(mark))) mark = `~${mark}`;
  return mark;
}

function handOn(from: ValueName, to: ValueName): Node {
  return {
    ...{ name: `${to}~handed on`, op: "Identity", domain: "", attributes: NO_ATTRIBUTES },
    ...{ inputs: [from], outputs: [to] },
  };
}

/** A node as it stands in the first round. */
function inFirst(node: Node, first: (name: ValueName) => ValueName, mark: string): Node {
  const renamed = withBodies(node, (body) => ({
    ...body,
    nodes: body.nodes.map((inner) => ({
      ...inFirst(inner, first, ""),
      outputs: inner.outputs,
    })),
    outputs: body.outputs.map((value) => ({ ...value, name: first(value.name) })),
  }));
  return {
    ...renamed,
    name: `${node.name}${mark}`,
    inputs: node.inputs.map(first),
    outputs: node.outputs.map((name) => (name === "" ? name : first(name))),
  };
}

/**
 * Nodes that take a part of a value, a different one in each round: what they give is no value of a round
 * before. So the steps of a sequence are read that a Scan would cut.
 */
function pickedByCounter(body: Graph): Node[] {
  const counters = new Set(
    body.inputs.filter(({ dtype }) => !isFloat(dtype)).map(({ name }) => name),
  );
  const picked: Node[] = [];
  for (const node of body.nodes) {
    if (ASKING.has(node.op)) continue;
    if (PICKING.has(node.op) && node.inputs.slice(1).some((name) => counters.has(name))) {
      picked.push(node);
    } else if (node.inputs.some((name) => counters.has(name))) {
      for (const name of node.outputs) counters.add(name);
    }
  }
  return picked;
}
