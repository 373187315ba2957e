// When the storage of each value is taken and given back, inside the bodies of control flow too. Values that
// are views of another share its storage. Source: the definition in docs/design/memory.md.

import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import { subgraphs } from "../../graph/graph.ts";
import { indexOf, typeOf } from "../../graph/query.ts";
import { scanParts } from "../../ops/control.ts";
import { valueBytes } from "../../ops/rules.ts";

/** When the storage of a value is taken and given back. */
export interface Lifetime {
  readonly value: ValueName;
  readonly bytes: number;
  /** First and last moment: positions of nodes, or moments of `momentsOf`. */
  readonly from: number;
  readonly until: number;
  /** Name of the node in whose body the value lives; left out for values of the graph itself. */
  readonly body?: string;
}

/** The storages of a graph whose batch is bound. */
export interface Liveness {
  /** By positions of nodes. Of bodies, what is alive in them when they hold most, at the node around them. */
  readonly lifetimes: readonly Lifetime[];
  /** Values whose size is not known, those in bodies too; they count as nothing. */
  readonly unknown: number;
  /** The storage in which a value lies: its own name, or that of the value of which it is a view. */
  storageOf(name: ValueName): ValueName;
}

/** The storages of a graph moment by moment: a node with bodies has one for each node in them. */
export interface Moments {
  readonly lifetimes: readonly Lifetime[];
  readonly count: number;
  /** First and last moment of each node, by its name; one of the graph itself hides one in a body. */
  readonly spans: ReadonlyMap<string, Span>;
}

/** The moments from the first to the last, both included. */
export type Span = readonly [first: number, last: number];

const VIEWS = new Set(["Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"]);

/** Lifetimes of all storages of a graph whose batch is bound, by positions of nodes. */
export function lifetimesOf(graph: Graph): Liveness {
  const own = ownLifetimes(graph);
  let unknown = own.unknown.size;
  const lifetimes = [...own.lifetimes];
  graph.nodes.forEach((node, position) => {
    const inside = insideOf(node, own);
    unknown += inside.unknown;
    for (const one of atMost(inside)) {
      lifetimes.push({ ...one, from: position, until: position, body: node.name });
    }
  });
  return { lifetimes, unknown, storageOf: own.storageOf };
}

/** All storages of a graph, those in bodies when they are alive there: branches one after the other. */
export function momentsOf(graph: Graph): Moments {
  return flat(graph, ownLifetimes(graph));
}

/** Most bytes alive in the bodies of a node of this graph, beside the operands and outputs of the node. */
export function insideBytes(graph: Graph, node: Node): number {
  if (subgraphs(node).length === 0) return 0;
  return atMost(insideOf(node, ownLifetimes(graph))).reduce((sum, { bytes }) => sum + bytes, 0);
}

/**
 * For each output of a body, the output of the node in which it is made: a branch's results, the values that a
 * loop carries, and what a Scan stacks. Undefined where it is made elsewhere and copied.
 */
export function destinations(node: Node, body: Graph): readonly (ValueName | undefined)[] {
  return body.outputs.map((_, i) => {
    if (node.op === "If" || node.op === "Scan") return node.outputs[i];
    // The first is the condition; behind the carried values stand the results of one iteration.
    return node.op === "Loop" && i > 0 && i <= node.inputs.length - 2
      ? node.outputs[i - 1]
      : undefined;
  });
}

/** Inputs of a body that are parts of an operand of the node: what a Scan cuts. */
export function slices(node: Node, body: Graph): readonly ValueName[] {
  // Of any opset: the lengths that the oldest form has in front are an operand, not an input of the body.
  const parts = node.op === "Scan" ? scanParts(node, body.opsets.get("") ?? 1) : undefined;
  return parts === undefined ? [] : body.inputs.slice(parts.states).map(({ name }) => name);
}

/** Values of nodes that hold them: the runtime makes weights of them when it loads the model. */
export function constants(body: Graph): readonly ValueName[] {
  return body.nodes.filter(({ op }) => op === "Constant").flatMap(({ outputs }) => outputs);
}

interface Own {
  readonly lifetimes: readonly Lifetime[];
  /** Storages whose size is known, and those whose size is not. */
  readonly known: ReadonlySet<ValueName>;
  readonly unknown: ReadonlySet<ValueName>;
  storageOf(name: ValueName): ValueName;
}

/** The storages of the graph itself. */
function ownLifetimes(graph: Graph): Own {
  const index = indexOf(graph);
  const last = graph.nodes.length - 1;
  const owner = new Map<ValueName, ValueName>();
  const ends = new Map<ValueName, number>();
  const storages = new Map<ValueName, { bytes: number; from: number }>();
  const known = new Set<ValueName>();
  const unknown = new Set<ValueName>();
  const take = (name: ValueName, from: number): void => {
    const bytes = valueBytes(typeOf(graph, name));
    (bytes === undefined ? unknown : known).add(name);
    storages.set(name, { bytes: bytes ?? 0, from });
    ends.set(name, from);
  };
  const ownerOf = (name: ValueName): ValueName => owner.get(name) ?? name;
  for (const value of graph.inputs) if (!graph.initializers.has(value.name)) take(value.name, 0);
  graph.nodes.forEach((node, position) => {
    for (const [i, name] of node.outputs.entries()) {
      if (name === "") continue;
      const viewed = i === 0 ? viewOf(graph, node) : undefined;
      if (viewed !== undefined) owner.set(name, ownerOf(viewed));
      else if ((index.uses.get(name)?.length ?? 0) > 0 || index.outputs.has(name)) {
        take(name, position);
      }
    }
  });
  const touch = (name: ValueName, position: number): void => {
    const storage = ownerOf(name);
    const before = ends.get(storage);
    if (before !== undefined) ends.set(storage, Math.max(before, position));
  };
  for (const [name, uses] of index.uses) {
    for (const use of uses) touch(name, index.positions.get(use.node) ?? 0);
  }
  for (const name of index.outputs) touch(name, last);
  return {
    known,
    unknown,
    storageOf: ownerOf,
    lifetimes: [...storages].map(([value, { bytes, from }]) => ({
      value,
      bytes,
      from,
      until: ends.get(value) ?? from,
    })),
  };
}

/** The value that a node's output is a view of; views of weights take no activation memory. */
function viewOf(graph: Graph, node: Node): ValueName | undefined {
  const [input = ""] = node.inputs;
  return VIEWS.has(node.op) && input !== "" && !graph.initializers.has(input) ? input : undefined;
}

interface Inside extends Moments {
  readonly unknown: number;
}

/** Of a node without bodies. */
const NOTHING: Inside = { lifetimes: [], count: 0, unknown: 0, spans: new Map() };

/** The graph's own storages and those of its bodies, moment by moment. */
function flat(graph: Graph, own: Own): Inside {
  const inside: Lifetime[] = [];
  const starts: number[] = [];
  const [spans, inner] = [new Map<string, Span>(), new Map<string, Span>()];
  let [count, unknown] = [0, own.unknown.size];
  for (const node of graph.nodes) {
    starts.push(count);
    const bodies = insideOf(node, own);
    for (const one of shifted(bodies.lifetimes, count)) inside.push(one);
    for (const [name, span] of later(bodies.spans, count)) inner.set(name, span);
    spans.set(node.name, [count, count + Math.max(1, bodies.count) - 1]);
    count += Math.max(1, bodies.count);
    unknown += bodies.unknown;
  }
  for (const [name, span] of inner) if (!spans.has(name)) spans.set(name, span);
  const lifetimes = own.lifetimes.map((one) => ({
    ...one,
    from: starts[one.from] ?? 0,
    until: (starts[one.until + 1] ?? Math.max(1, count)) - 1,
  }));
  return { lifetimes: [...lifetimes, ...inside], count: Math.max(1, count), unknown, spans };
}

/** What the bodies of a node hold that lies neither in its operands nor in its outputs; one iteration of a loop. */
function insideOf(node: Node, outer: Own): Inside {
  const bodies = subgraphs(node);
  if (bodies.length === 0) return NOTHING;
  const lifetimes: Lifetime[] = [];
  const spans = new Map<string, Span>();
  let [count, unknown] = [0, 0];
  for (const body of bodies) {
    const own = ownLifetimes(body);
    const there = new Set([...slices(node, body), ...constants(body)]);
    destinations(node, body).forEach((outside, i) => {
      const name = own.storageOf(body.outputs[i]?.name ?? "");
      // An input of the body that is handed through is one that was there before.
      const made = !body.inputs.some((input) => input.name === name);
      if (outside !== undefined && outer.known.has(outer.storageOf(outside)) && made)
        there.add(name);
    });
    const inner = flat(body, {
      ...own,
      lifetimes: own.lifetimes.filter(({ value }) => !there.has(value)),
      unknown: new Set([...own.unknown].filter((name) => !there.has(name))),
    });
    for (const one of shifted(inner.lifetimes, count)) lifetimes.push(one);
    for (const [name, span] of later(inner.spans, count)) spans.set(name, span);
    count += inner.count;
    unknown += inner.unknown;
  }
  return { lifetimes, count, unknown, spans };
}

function later(spans: ReadonlyMap<string, Span>, by: number): [string, Span][] {
  return [...spans].map(([name, [first, last]]) => [name, [first + by, last + by]]);
}

function shifted(lifetimes: readonly Lifetime[], by: number): Lifetime[] {
  return lifetimes.map((one) => ({ ...one, from: one.from + by, until: one.until + by }));
}

/** The storages that are alive at the first moment at which there are most bytes. */
function atMost({ lifetimes, count }: Inside): Lifetime[] {
  let [at, most] = [0, 0];
  aliveAt(lifetimes, count).forEach((bytes, moment) => {
    if (bytes > most) [at, most] = [moment, bytes];
  });
  return lifetimes.filter(({ from, until, bytes }) => bytes > 0 && from <= at && at <= until);
}

/** Bytes alive at each of so many moments. */
export function aliveAt(lifetimes: readonly Lifetime[], count: number): number[] {
  const change = new Float64Array(count + 1);
  for (const { bytes, from, until } of lifetimes) {
    change[from] = (change[from] ?? 0) + bytes;
    change[until + 1] = (change[until + 1] ?? 0) - bytes;
  }
  let alive = 0;
  return Array.from({ length: count }, (_, at) => {
    alive += change[at] ?? 0;
    return alive;
  });
}
