// Activations that a sum stretches without a word are stretched by an Expand that says so. Results stay the
// same, bit for bit.

import { type StretchedSum, stretchedSums, stretches } from "../../analysis/hazards/broadcast.ts";
import { Homes } from "../../analysis/homes.ts";
import { originalOf, placeOf } from "../../analysis/standing.ts";
import { FreshNames } from "../../canonical/fresh-names.ts";
import { withBodies } from "../../canonical/inline.ts";
import type { Graph, Node, Original } from "../../graph/graph.ts";
import { Mending } from "./mending.ts";
import { type Attempt, type Fixed, IN_FUNCTION, type Unfixed } from "./outcome.ts";

const ID = "merge/silent-broadcast";

/** Expand came with this operator set. */
const OPSET_MIN = 8;

/** Writes an Expand before every operand that a sum of two stretches, in bodies too. */
export function repairBroadcasts(graph: Graph): Attempt {
  const sums = new Map(stretchedSums(graph).map((one) => [one.where, one]));
  const repairs = new BroadcastRepairs(graph, sums);
  const nodes = sums.size === 0 ? graph.nodes : repairs.expandedNodes(graph.nodes);
  const { fixed, unfixed } = repairs;
  // What was met neither in the graph nor in a body stands in a function.
  const homes = new Homes(graph);
  const inside = [...sums.keys()].flatMap((where) => homes.of(where)?.functions ?? []);
  for (const where of sums.keys()) {
    if (!repairs.met.has(where)) unfixed.push({ id: ID, where, reason: IN_FUNCTION });
  }
  return {
    graph: fixed.length === 0 ? graph : { ...graph, nodes },
    fixed,
    unfixed,
    inside: new Set(inside),
  };
}

class BroadcastRepairs {
  readonly fixed: Fixed[] = [];
  readonly unfixed: Unfixed[] = [];
  readonly met = new Set<string>();
  readonly #names: FreshNames;
  readonly #opset: number;
  readonly #sums: ReadonlyMap<string, StretchedSum>;

  constructor(graph: Graph, sums: ReadonlyMap<string, StretchedSum>) {
    this.#names = new FreshNames(graph);
    this.#opset = graph.opsets.get("") ?? 1;
    this.#sums = sums;
  }

  expandedNodes(nodes: readonly Node[], within?: Original): Node[] {
    return nodes.flatMap((node) => {
      const at = { node, ...(within && { within }) };
      const sum = this.#sums.get(placeOf(at));
      if (sum !== undefined) return this.#expanded(node, sum);
      return [
        withBodies(node, (body) => {
          const before = this.fixed.length;
          const inner = this.expandedNodes(body.nodes, originalOf(at));
          return this.fixed.length === before ? body : { ...body, nodes: inner };
        }),
      ];
    });
  }

  #expanded(node: Node, { where, shapes }: StretchedSum): readonly Node[] {
    this.met.add(where);
    if (node.inputs.length !== 2 || this.#opset < OPSET_MIN) {
      const reason =
        this.#opset < OPSET_MIN
          ? "its operator set has no Expand"
          : "it has more than two operands";
      this.unfixed.push({ id: ID, where, reason });
      return [node];
    }
    const mending = new Mending({ names: this.#names, opset: this.#opset, stem: node.name });
    const inputs = node.inputs.map((name, i) =>
      stretches(shapes[i], shapes[1 - i])
        ? mending.emit("Expand", [name, mending.emit("Shape", [node.inputs[1 - i] ?? ""])])
        : name,
    );
    this.fixed.push({ id: ID, where, text: "An Expand stretches the smaller operand." });
    return [...mending.nodes, { ...node, inputs }];
  }
}
