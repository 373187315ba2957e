// Where in the file the place of a finding is: `node call/inner` is one node of a function, however many calls
// of that function there are.

import { functionKey, type Graph, type Node, subgraphs } from "../graph/graph.ts";

/** The node of the file for which a place stands. */
export interface Home {
  /** Position of the node of the graph itself that it is, or in which it lies. */
  readonly position: number;
  /** The functions in which it stands, by their keys, the innermost last. */
  readonly functions: readonly string[];
  /** Its name there. */
  readonly name: string;
}

type Found = Omit<Home, "position">;
type ByName = ReadonlyMap<string, Node>;

/** Finds the homes of places in one graph. */
export class Homes {
  readonly #functions: Graph["functions"];
  readonly #own: ByName;
  readonly #positions: ReadonlyMap<Node, number>;
  readonly #scopes = new Map<readonly Node[], ByName>();
  /** What was looked for in a scope and is not there: names have slashes of their own, so that ways part. */
  readonly #failed = new Map<ByName, Set<string>>();

  constructor({ nodes, functions }: Graph) {
    this.#functions = functions;
    this.#own = this.#scope(nodes);
    this.#positions = new Map(nodes.map((node, position) => [node, position]));
  }

  /** The home of `node NAME`, perhaps with the op behind it; undefined for what is no node. */
  of(where: string): Home | undefined {
    if (!where.startsWith("node ")) return undefined;
    const path = where.slice("node ".length);
    for (const name of [path, path.replace(/ \([^()]*\)$/, "")]) {
      for (const way of ways(name)) {
        const node = this.#own.get(way[0]);
        if (node === undefined) continue;
        const found = this.#at(node, way);
        if (found !== undefined) return { ...found, position: this.#positions.get(node) ?? -1 };
      }
    }
    return undefined;
  }

  #at(node: Node, [name, inner]: Way, functions: readonly string[] = []): Found | undefined {
    if (inner === undefined) return { name, functions };
    const key = functionKey(node);
    const one = this.#functions?.get(key);
    if (one !== undefined) return this.#within(one.nodes, inner, [...functions, key]);
    for (const body of subgraphs(node)) {
      const found = this.#within(body.nodes, inner, functions);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #within(nodes: readonly Node[], path: string, functions: readonly string[]): Found | undefined {
    const scope = this.#scope(nodes);
    const failed = this.#failed.get(scope) ?? new Set();
    this.#failed.set(scope, failed);
    if (failed.has(path)) return undefined;
    for (const way of ways(path)) {
      const node = scope.get(way[0]);
      const found = node && this.#at(node, way, functions);
      if (found !== undefined) return found;
    }
    failed.add(path);
    return undefined;
  }

  #scope(nodes: readonly Node[]): ByName {
    const known = this.#scopes.get(nodes) ?? new Map(nodes.map((node) => [node.name, node]));
    this.#scopes.set(nodes, known);
    return known;
  }
}

/** A name, and the path behind it where there is one. */
type Way = readonly [string, string | undefined];

/** A path as a name alone, and as a name with a path inside it, cut at each slash. */
function* ways(path: string): Generator<Way> {
  yield [path, undefined];
  for (let at = path.lastIndexOf("/"); at > 0; at = path.lastIndexOf("/", at - 1)) {
    yield [path.slice(0, at), path.slice(at + 1)];
  }
}
