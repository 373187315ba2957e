// The moments of the peak, and which skips stand at it: the one answer for the census, the rules and the report.

import type { Graph, ValueName } from "../../graph/graph.ts";
import { nodesWithin } from "../../graph/query.ts";
import type { Skip } from "../skips/skip.ts";
import { aliveAt, type Lifetime, momentsOf, type Span } from "./liveness.ts";

/** What has to be known of a skip. */
type Standing = Pick<Skip, "aliveOnlyForSkip"> & {
  /** Names of the nodes of the shortcut. */
  readonly shortcut: readonly string[];
};

/** The moments of a graph, whose batch is bound, at which most is alive. Several may tie. */
export class Peak {
  /** The first of them. */
  readonly at: number;
  readonly #spans: ReadonlyMap<string, Span>;
  /** The storages that each node makes, by its name. */
  readonly #made = new Map<string, Lifetime[]>();
  /** How many of them lie before each moment. */
  readonly #before: Int32Array;

  constructor(graph: Graph) {
    const { lifetimes, count, spans } = momentsOf(graph);
    const alive = aliveAt(lifetimes, count);
    const most = alive.reduce((a, b) => Math.max(a, b), 0);
    this.#spans = spans;
    const makers = new Map<ValueName, string>();
    for (const { name, outputs } of nodesWithin(graph)) {
      for (const output of outputs) makers.set(output, name);
    }
    for (const one of lifetimes) {
      const maker = makers.get(one.value);
      if (maker === undefined) continue;
      const made = this.#made.get(maker);
      if (made === undefined) this.#made.set(maker, [one]);
      else made.push(one);
    }
    this.at = alive.indexOf(most);
    this.#before = new Int32Array(count + 1);
    alive.forEach((bytes, moment) => {
      this.#before[moment + 1] = (this.#before[moment] ?? 0) + (bytes === most ? 1 : 0);
    });
  }

  /** The last moment of a node; undefined for a name that no node has. */
  last(node: string): number | undefined {
    return this.#spans.get(node)?.[1];
  }

  /** Whether the source of a skip is alive for it alone at one of the moments, or what its shortcut makes. */
  holds(skip: Standing): boolean {
    return this.holdsSource(skip) || this.#holdsMade(skip);
  }

  /** Whether the source of a skip is alive for it alone at one of the moments. */
  holdsSource({ aliveOnlyForSkip: alone }: Pick<Skip, "aliveOnlyForSkip">): boolean {
    return alone !== undefined && this.#any(this.#after(alone.from), this.last(alone.until));
  }

  /** What a projection makes, say; a view of the source makes nothing. */
  #holdsMade({ shortcut }: Standing): boolean {
    const made = shortcut.flatMap((name) => this.#made.get(name) ?? []);
    return made.some(({ from, until, bytes }) => bytes > 0 && this.#any(from, until));
  }

  #after(node: string): number {
    return (this.last(node) ?? Number.POSITIVE_INFINITY) + 1;
  }

  #any(first: number, last = -1): boolean {
    return first <= last && (this.#before[last + 1] ?? 0) > (this.#before[first] ?? 0);
  }
}
