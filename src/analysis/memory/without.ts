// The peak of the same order without some of the skips: merges no longer read those shortcuts, and what
// nobody reads then is not computed. The graph is read once; each question costs what it changes, and one
// walk over the timeline.

import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import { indexOf } from "../../graph/query.ts";
import { lifetimesOf } from "../memory.ts";
import type { Skip } from "../skips/skip.ts";

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

  constructor(graph: Graph) {
    const { lifetimes, storageOf } = lifetimesOf(graph);
    this.#graph = graph;
    this.#storageOf = storageOf;
    this.#byName = new Map(graph.nodes.map((node) => [node.name, node]));
    this.#change = new Float64Array(graph.nodes.length + 1);
    for (const { value, bytes, from, until } of lifetimes) {
      this.#storages.set(value, { bytes, from, until, values: [value] });
      addTo(this.#change, bytes, from, until);
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
    let [alive, peak] = [0, 0];
    for (const more of change) {
      alive += more;
      peak = Math.max(peak, alive);
    }
    return peak;
  }

  #cut(skips: readonly Skip[]): Cut {
    const { producers, uses, outputs } = indexOf(this.#graph);
    const cut: Cut = { reads: new Map(), dead: new Set() };
    const open: (readonly [Node, ValueName])[] = [];
    for (const { merge, source, nodes } of skips) {
      const node = this.#byName.get(merge);
      const shortcut = new Set(nodes.shortcut);
      for (const name of node?.inputs ?? []) {
        const maker = producers.get(name)?.name ?? "";
        if (node !== undefined && (name === source || shortcut.has(maker))) open.push([node, name]);
      }
    }
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

function addTo(change: Float64Array, bytes: number, from: number, until: number): void {
  change[from] = (change[from] ?? 0) + bytes;
  change[until + 1] = (change[until + 1] ?? 0) - bytes;
}
