// Nodes that stand in the wrong order: read before they are made, or in a circle; and nodes brought into order.

import type { Node, ValueName } from "./graph.ts";
import { subgraphs } from "./graph.ts";
import { captures } from "./query.ts";

/** Who makes what in a list of nodes that need not be in order. */
export class Order {
  readonly #makers = new Map<ValueName, Node>();
  readonly #circles: ReadonlyMap<Node, number>;

  constructor(nodes: readonly Node[]) {
    for (const node of nodes) {
      for (const name of node.outputs) if (name !== "") this.#makers.set(name, node);
    }
    this.#circles = new Circles(nodes, (node) => this.#readsFrom(node)).found;
  }

  /** The node that makes a value, wherever it stands. */
  makerOf(name: ValueName): Node | undefined {
    return this.#makers.get(name);
  }

  /** Whether each of two nodes waits for the other. */
  inCircle(a: Node, b: Node): boolean {
    const circle = this.#circles.get(a);
    return circle !== undefined && circle === this.#circles.get(b);
  }

  #readsFrom(node: Node): Node[] {
    return readsOf(node).flatMap((name) => this.#makers.get(name) ?? []);
  }
}

/** All values that a node reads, also within its bodies. */
function readsOf(node: Node): readonly ValueName[] {
  const bodies = subgraphs(node);
  return bodies.length === 0
    ? node.inputs
    : [...node.inputs, ...bodies.flatMap((body) => [...captures(body)])];
}

/**
 * The nodes in an order in which they can run: each as soon as what it reads is made, else in the order given.
 * ONNX Runtime brings them into order too; tools that append the casts of a model in half precision count on it.
 * The same list if it is in order, or if nodes wait for one another.
 */
export function inOrder(nodes: readonly Node[]): readonly Node[] {
  const makers = new Map<ValueName, Node>();
  for (const node of nodes)
    for (const name of node.outputs) if (name !== "") makers.set(name, node);
  const placed = new Set<Node>();
  const open = new Set<Node>();
  let moved = false;
  for (const root of nodes) {
    const path = placed.has(root) ? [] : [root];
    for (let node = path.at(-1); node !== undefined; node = path.at(-1)) {
      open.add(node);
      const waits = readsOf(node).flatMap((name) => makers.get(name) ?? []);
      const missing = waits.filter((one) => !placed.has(one));
      if (missing.some((one) => open.has(one))) return nodes;
      if (missing.length > 0) {
        moved = true;
        path.push(...missing.slice(0, 1));
      } else {
        open.delete(node);
        placed.add(node);
        path.pop();
      }
    }
  }
  return moved ? [...placed] : nodes;
}

interface Visit {
  readonly node: Node;
  /** When it was entered. */
  readonly at: number;
  readonly targets: readonly Node[];
  done: number;
}

/**
 * The strongly connected components of a graph of nodes, by number (Tarjan, "Depth-First Search and Linear
 * Graph Algorithms", 1972), without recursion: a chain may be as long as a file.
 */
class Circles {
  readonly found = new Map<Node, number>();
  readonly #next: (node: Node) => readonly Node[];
  readonly #low = new Map<Node, number>();
  readonly #open: Node[] = [];
  readonly #path: Visit[] = [];

  constructor(nodes: readonly Node[], next: (node: Node) => readonly Node[]) {
    this.#next = next;
    for (const root of nodes) {
      if (this.#low.has(root)) continue;
      this.#enter(root);
      for (let visit = this.#path.at(-1); visit !== undefined; visit = this.#path.at(-1)) {
        const target = visit.targets[visit.done++];
        if (target === undefined) this.#leave(visit);
        else this.#look(visit, target);
      }
    }
  }

  #enter(node: Node): void {
    const at = this.#low.size;
    this.#path.push({ node, at, targets: this.#next(node), done: 0 });
    this.#low.set(node, at);
    this.#open.push(node);
  }

  #look({ node }: Visit, target: Node): void {
    const seen = this.#low.get(target);
    if (seen === undefined) this.#enter(target);
    else if (!this.found.has(target)) this.#lower(node, seen);
  }

  /** The first node of a component that is left takes all that were entered since with it. */
  #leave({ node, at }: Visit): void {
    this.#path.pop();
    const low = this.#low.get(node) ?? at;
    const above = this.#path.at(-1);
    if (above !== undefined) this.#lower(above.node, low);
    if (low !== at) return;
    for (let one = this.#open.pop(); one !== undefined; one = this.#open.pop()) {
      this.found.set(one, at);
      if (one === node) return;
    }
  }

  #lower(node: Node, to: number): void {
    this.#low.set(node, Math.min(this.#low.get(node) ?? to, to));
  }
}
