// Element types that cost more than they give.

import { diagnostic } from "../../base/diagnostic.ts";
import { formatBytes } from "../../base/format.ts";
import { dtypeBytes, isFloat } from "../../graph/dtype.ts";
import type { Graph, Node } from "../../graph/graph.ts";
import { indexOf, typeOf } from "../../graph/query.ts";
import { elementCount } from "../../graph/shape.ts";
import { everyNode, everyScene, placeOf } from "../standing.ts";
import type { Rule } from "./rule.ts";

/** Tensors of 64-bit floats, mostly left over from numpy. Single numbers do not matter. */
export const float64: Rule = {
  id: "types/float64",
  title: "tensors have 64-bit floats",
  check: ({ graph, run }) => {
    // What was computed from constants is no weight of the file.
    const own = new Set(everyScene(graph).flatMap((scene) => [...scene.graph.initializers.keys()]));
    const all = everyScene(run).flatMap((scene) => [...scene.graph.initializers]);
    const weights = [...new Map(all)]
      .filter(([, { dtype, shape }]) => dtype === "float64" && elementCount(shape) !== 1)
      .filter(([name]) => own.has(name));
    const nodes = [...everyNode(run)].filter(({ node, graph: around }) =>
      node.outputs.some((name) => {
        const type = typeOf(around, name);
        return type?.dtype === "float64" && elementCount(type.shape) !== 1;
      }),
    );
    const [weight] = weights;
    const [node] = nodes;
    if (weight === undefined && node === undefined) return [];
    const bytes = weights.reduce(
      (total, [, { shape }]) => total + dtypeBytes("float64", elementCount(shape) ?? 0),
      0,
    );
    const what = [
      weights.length === 0 ? [] : `weights (${weights.length}, ${formatBytes(bytes)})`,
      nodes.length === 0 ? [] : `results of nodes (${nodes.length})`,
    ].flat();
    return [
      diagnostic({
        id: "types/float64",
        severity: "warning",
        where: node === undefined ? `weight ${weight?.[0]}` : placeOf(node),
        text: `${what.join(" and ")} are float64: twice the memory, and slow or missing kernels`,
        fix: "Cast the weights to float32 before the export.",
      }),
    ];
  },
};

/** A float brought to another type and back at once. */
export const castRoundTrip: Rule = {
  id: "types/cast-round-trip",
  title: "a value is cast to another float type and back",
  check: ({ run }) =>
    [...everyNode(run)].flatMap((at) => {
      const [name = ""] = at.node.inputs;
      const inner = at.node.op === "Cast" ? indexOf(at.graph).producers.get(name) : undefined;
      if (inner?.op !== "Cast") return [];
      const types = [inner.inputs[0], name, at.node.outputs[0]].map(
        (value) => typeOf(at.graph, value ?? "")?.dtype,
      );
      const [before, between, after] = types;
      if (before === undefined || between === undefined || before !== after) return [];
      if (before === between || !isFloat(before) || !isFloat(between)) return [];
      return [
        diagnostic({
          id: "types/cast-round-trip",
          severity: "info",
          where: placeOf(at),
          text: `a ${before} value is cast to ${between} and back at once: two copies, and nothing is computed in ${between}`,
          fix: "Remove both casts, or keep what lies on both sides in one type.",
        }),
      ];
    }),
};

/** Casts between float types as a share of all nodes, and no fewer than this. */
const CASTS_SHARE = 0.1;
const CASTS_MIN = 4;

/** A model whose precision changes all the time. */
export const manyCasts: Rule = {
  id: "types/many-casts",
  title: "many values are cast from one float type to another",
  check: ({ run }) => {
    const casts = [...everyNode(run)].filter(({ node, graph }) => isFloatCast(graph, node));
    const [first] = casts;
    if (first === undefined || casts.length < CASTS_MIN) return [];
    if (casts.length < CASTS_SHARE * run.nodes.length) return [];
    return [
      diagnostic({
        id: "types/many-casts",
        severity: "info",
        where: placeOf(first),
        text: `${casts.length} of ${run.nodes.length} nodes cast activations between float types: each is a copy, and ends a fusion`,
        fix: "Convert the weights once, and keep long stretches in one type.",
      }),
    ];
  },
};

function isFloatCast(graph: Graph, node: Node): boolean {
  if (node.op !== "Cast") return false;
  const [before, after] = [node.inputs[0], node.outputs[0]].map(
    (name) => typeOf(graph, name ?? "")?.dtype,
  );
  return (
    before !== undefined &&
    after !== undefined &&
    before !== after &&
    isFloat(before) &&
    isFloat(after)
  );
}
