// How deep the values of a graph lie, and what transforms them at each depth. It does not depend on names, on
// the order of nodes, or on what only moves and scales: two exports of one network have the same levels.

import { type Graph, type Node, subgraphs, type ValueName } from "../../graph/graph.ts";
import { typeOf } from "../../graph/query.ts";
import { Flow } from "../skips/flow.ts";
import { roleOf } from "../skips/vocabulary.ts";

/** What transforms at one depth. */
export interface Level {
  /** Families of the transforms, such as `conv`; equal ones count. */
  readonly families: string;
  /** The same with the channels that each gives. */
  readonly transforms: string;
  /** Skips that end at this depth. */
  readonly merges: number;
}

/** The levels of a graph, the first one at depth 1. */
export interface Levels {
  readonly levels: readonly Level[];
  /** Most transforms on any way from an input to a value; 0 for what is not an activation. */
  depthOf(value: ValueName): number;
  /** The same for what a node gives. */
  depthOfNode(name: string): number;
}

/** The levels of a canonical graph and of the bodies in it, with the nodes in which skips end. O(nodes). */
export function levelsOf(graph: Graph, merges: readonly string[]): Levels {
  const walk = new Walk();
  walk.visit(graph, new Flow(graph));
  const ending = new Map<number, number>();
  for (const name of merges) {
    const depth = walk.nodes.get(name) ?? 0;
    ending.set(depth, (ending.get(depth) ?? 0) + 1);
  }
  return {
    levels: walk.transforms.map((found, i) => ({
      merges: ending.get(i + 1) ?? 0,
      families: found
        .map(({ family }) => family)
        .toSorted()
        .join(" "),
      transforms: found
        .map(({ family, channels }) => `${family}:${channels}`)
        .toSorted()
        .join(" "),
    })),
    depthOf: (value) => walk.values.get(value) ?? 0,
    depthOfNode: (name) => walk.nodes.get(name) ?? 0,
  };
}

interface Transform {
  readonly family: string;
  readonly channels: string;
}

class Walk {
  readonly values = new Map<ValueName, number>();
  readonly nodes = new Map<string, number>();
  /** At each depth from 1 on. */
  readonly transforms: Transform[][] = [];

  /** Bodies are as deep as the node that they are in, and what they transform comes on top. */
  visit(graph: Graph, flow: Flow): void {
    for (const node of graph.nodes) {
      const inputs = flow.activationInputs(node);
      let depth = this.#deepest(inputs);
      if (roleOf(node, inputs.length) === "transform") {
        for (const transform of transformsOf(graph, node, inputs.length)) {
          while (this.transforms.length <= depth) this.transforms.push([]);
          this.transforms[depth]?.push(transform);
          depth++;
        }
      }
      for (const body of subgraphs(node)) {
        for (const { name } of body.inputs) this.values.set(name, depth);
        this.visit(body, new Flow(body, { flow, node }));
      }
      const given = subgraphs(node).flatMap((body) => body.outputs.map(({ name }) => name));
      depth = Math.max(depth, this.#deepest(given));
      for (const name of node.outputs) this.values.set(name, depth);
      this.nodes.set(node.name, depth);
    }
  }

  #deepest(names: readonly ValueName[]): number {
    return names.reduce((most, name) => Math.max(most, this.values.get(name) ?? 0), 0);
  }
}

const PRODUCT: Transform = { family: "product", channels: "" };

/**
 * One after another: attention is two products of activations, written out or in one node, and that of
 * com.microsoft has the projections of its operands inside.
 */
function transformsOf(graph: Graph, node: Node, activations: number): Transform[] {
  const family = familyOf(node);
  if (family === "attention") {
    const projects =
      node.op === "QAttention" || (node.op === "Attention" && node.domain === "com.microsoft");
    const core = [PRODUCT, PRODUCT];
    return projects ? [{ family: "linear", channels: "?" }, ...core] : core;
  }
  if (family === "linear" && activations > 1) return [PRODUCT];
  const shape = typeOf(graph, node.outputs[0] ?? "")?.shape;
  const axis = family.endsWith("conv") && !node.op.startsWith("Nhwc") ? 1 : -1;
  return [{ family, channels: String(shape?.at(axis) ?? "?") }];
}

/** Ops that are one thing in several forms: plain, fused or quantized. */
function familyOf({ op }: Node): string {
  if (op.includes("Attention")) return "attention";
  if (op.includes("ConvTranspose")) return "deconv";
  if (op.includes("Conv")) return "conv";
  return /MatMul|Gemm|Linear/.test(op) ? "linear" : op;
}
