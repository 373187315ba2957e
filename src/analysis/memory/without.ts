// The peak of the same order without some of the skips: merges no longer read those shortcuts, and what
// nobody reads then is not computed. The graph is read once; each question costs what it changes, and one
// walk over the timeline.

import { withBodies } from "../../canonical/inline.ts";
import { type Graph, type Node, subgraphs, type ValueName } from "../../graph/graph.ts";
import { captures, indexOf, nodesWithin } from "../../graph/query.ts";
import type { Skip } from "../skips/skip.ts";
import { insideBytes, lifetimesOf } from "./liveness.ts";

/** A storage with the values that lie in it: itself and its views. */
interface Storage {
  readonly bytes: number;
  readonly from: number;
  readonly until: number;
  readonly values: ValueName[];
}

/** What is cut away for one question. */
interface Cut {
  /** Reads that are gone of each value, by node. */
  readonly reads: Map<ValueName, Set<Node>>;
  readonly dead: Set<Node>;
  /** Nodes in whose bodies skips are cut, with these bodies. */
  readonly changed: ReadonlyMap<Node, Node>;
}

/** Answers what the peak would be without skips. */
export class WithoutSkips {
  readonly #graph: Graph;
  readonly #change: Float64Array;
  readonly #storages = new Map<ValueName, Storage>();
  readonly #storageOf: (name: ValueName) => ValueName;
  readonly #byName: ReadonlyMap<string, Node>;
  /** Values that each node reads, in its bodies too. */
  readonly #reads = new Map<Node, Set<ValueName>>();
  /** Bytes that the bodies of a node hold, by its name. */
  readonly #inside = new Map<string, number>();
  /** The node around each node of a body, by name. */
  readonly #around = new Map<string, Node>();

  constructor(graph: Graph) {
    const { lifetimes, storageOf } = lifetimesOf(graph);
    this.#graph = graph;
    this.#storageOf = storageOf;
    this.#byName = new Map(graph.nodes.map((node) => [node.name, node]));
    this.#change = new Float64Array(graph.nodes.length + 1);
    for (const { value, bytes, from, until, body } of lifetimes) {
      addTo(this.#change, bytes, from, until);
      if (body === undefined) this.#storages.set(value, { bytes, from, until, values: [value] });
      else this.#inside.set(body, (this.#inside.get(body) ?? 0) + bytes);
    }
    for (const node of graph.nodes) {
      for (const inner of subgraphs(node).flatMap(nodesWithin)) this.#around.set(inner.name, node);
    }
    for (const name of graph.nodes.flatMap((node) => node.outputs)) {
      const owner = storageOf(name);
      if (owner !== name) this.#storages.get(owner)?.values.push(name);
    }
    for (const [name, uses] of indexOf(graph).uses) {
      for (const { node } of uses) {
        const reads = this.#reads.get(node) ?? new Set();
        this.#reads.set(node, reads.add(name));
      }
    }
  }

  /** Most bytes alive at once without these skips. */
  peakBytes(skips: readonly Skip[]): number {
    const cut = this.#cut(skips);
    const change = this.#change.slice();
    for (const owner of new Set([...cut.reads.keys()].map(this.#storageOf))) {
      const storage = this.#storages.get(owner);
      if (storage === undefined) continue;
      const { bytes, from, until } = storage;
      addTo(change, -bytes, from, until);
      const end = this.#end(owner, storage, cut);
      if (end !== undefined) addTo(change, bytes, from, end);
    }
    this.#cutInside(change, cut);
    let [alive, peak] = [0, 0];
    for (const more of change) {
      alive += more;
      peak = Math.max(peak, alive);
    }
    return peak;
  }

  #cut(skips: readonly Skip[]): Cut {
    const { producers, uses, outputs } = indexOf(this.#graph);
    const changed = this.#changed(skips);
    const cut: Cut = { reads: new Map(), dead: new Set(), changed };
    const open = this.#readsOf(skips, changed);
    for (let read = open.pop(); read !== undefined; read = open.pop()) {
      const [node, name] = read;
      const gone = cut.reads.get(name) ?? new Set();
      cut.reads.set(name, gone.add(node));
      const maker = producers.get(name);
      if (maker === undefined || cut.dead.has(maker)) continue;
      const unread = (one: ValueName): boolean => {
        const left = new Set((uses.get(one) ?? []).map((use) => use.node));
        return !outputs.has(one) && left.size <= (cut.reads.get(one)?.size ?? 0);
      };
      if (!maker.outputs.every(unread)) continue;
      cut.dead.add(maker);
      for (const one of this.#reads.get(maker) ?? []) open.push([maker, one]);
    }
    return cut;
  }

  /** The reads that skips are: of merges, and of bodies that need a value no more without a merge in them. */
  #readsOf(skips: readonly Skip[], changed: ReadonlyMap<Node, Node>): [Node, ValueName][] {
    const { producers } = indexOf(this.#graph);
    const found: [Node, ValueName][] = [];
    for (const [node, less] of changed) {
      const left = new Set([...node.inputs, ...capturesOf(less)]);
      for (const name of capturesOf(node)) if (!left.has(name)) found.push([node, name]);
    }
    for (const { merge, source, nodes } of skips) {
      const node = this.#byName.get(merge);
      const shortcut = new Set(nodes.shortcut);
      for (const name of node?.inputs ?? []) {
        const maker = producers.get(name)?.name ?? "";
        if (node !== undefined && (name === source || shortcut.has(maker)))
          found.push([node, name]);
      }
    }
    return found;
  }

  /** Nodes around skips that lie in bodies, with what is left of the bodies. */
  #changed(skips: readonly Skip[]): Map<Node, Node> {
    const found = new Map<Node, Map<string, Skip[]>>();
    for (const skip of skips) {
      const around = this.#byName.has(skip.merge) ? undefined : this.#around.get(skip.merge);
      if (around === undefined) continue;
      const merges = found.get(around) ?? new Map<string, Skip[]>();
      found.set(around, merges);
      const here = merges.get(skip.merge);
      if (here === undefined) merges.set(skip.merge, [skip]);
      else here.push(skip);
    }
    return new Map(
      [...found].map(([node, here]) => [node, withBodies(node, (body) => cutBody(body, here))]),
    );
  }

  /** What bodies hold no more: those of nodes that are gone, and those in which skips are. */
  #cutInside(change: Float64Array, { dead, changed }: Cut): void {
    const { positions } = indexOf(this.#graph);
    for (const node of new Set([...dead, ...changed.keys()])) {
      const less = dead.has(node) ? undefined : changed.get(node);
      const left = less === undefined ? 0 : insideBytes(this.#graph, less);
      const position = positions.get(node) ?? 0;
      addTo(change, left - (this.#inside.get(node.name) ?? 0), position, position);
    }
  }

  /** The last node that reads a storage; undefined where nobody takes it any more. */
  #end(owner: ValueName, { from, values }: Storage, cut: Cut): number | undefined {
    const { uses, positions, outputs, producers } = indexOf(this.#graph);
    const maker = producers.get(owner);
    if (maker !== undefined && cut.dead.has(maker)) return undefined;
    let end = -1;
    for (const name of values) {
      if (outputs.has(name)) return this.#graph.nodes.length - 1;
      const gone = cut.reads.get(name);
      for (const { node } of uses.get(name) ?? []) {
        if (gone?.has(node) !== true) end = Math.max(end, positions.get(node) ?? 0);
      }
    }
    // Inputs are there whether or not anybody reads them.
    if (end < 0) return maker === undefined ? from : undefined;
    return end;
  }
}

/** A body whose merges do not read these shortcuts, and that computes nothing which nobody reads then. */
function cutBody(body: Graph, skips: ReadonlyMap<string, readonly Skip[]>): Graph {
  const { producers } = indexOf(body);
  const cut = body.nodes.map((node): Node => {
    const here = skips.get(node.name);
    const shortcut = (name: ValueName): boolean =>
      here?.some(({ source, nodes }) => {
        return name === source || nodes.shortcut.includes(producers.get(name)?.name ?? "");
      }) ?? false;
    const inner = withBodies(node, (one) => cutBody(one, skips));
    if (here === undefined) return inner;
    return { ...inner, inputs: node.inputs.map((name) => (shortcut(name) ? "" : name)) };
  });
  if (cut.every((node, i) => node === body.nodes[i])) return body;
  const read = new Set(body.outputs.map(({ name }) => name));
  const kept = cut.toReversed().filter((node) => {
    const alive = node.outputs.some((name) => read.has(name));
    if (alive) for (const name of [...node.inputs, ...capturesOf(node)]) read.add(name);
    return alive;
  });
  return { ...body, nodes: kept.reverse() };
}

function capturesOf(node: Node): readonly ValueName[] {
  return subgraphs(node).flatMap((body) => [...captures(body)]);
}

function addTo(change: Float64Array, bytes: number, from: number, until: number): void {
  change[from] = (change[from] ?? 0) + bytes;
  change[until + 1] = (change[until + 1] ?? 0) - bytes;
}
