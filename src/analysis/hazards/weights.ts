// Weights that no training should end with.

import { diagnostic } from "../../base/diagnostic.ts";
import { floatAttribute, type Graph, type Node } from "../../graph/graph.ts";
import { isNorm, roleOf, wordOf } from "../skips/vocabulary.ts";
import { everyNode, placeOf, type Standing } from "../standing.ts";
import { deadParts } from "./branch.ts";
import type { Finding, Rule } from "./rule.ts";
import { statisticsOf } from "./statistics.ts";

/**
 * Far above what is trained: weights of published networks stay below 100, and a product of two such
 * layers leaves the range of float16 (65504).
 */
const LARGEST = 1e4;

const RECURRENT = new Set(["RNN", "LSTM", "GRU"]);

/** Where layers have what they add: biases and peepholes. */
const ADDED: ReadonlyMap<string, readonly number[]> = new Map<string, readonly number[]>([
  ...["Gemm", "FusedGemm", "Linear"].map((word) => [word, [2]] as const),
  ...["RNN", "LSTM", "GRU"].map((word) => [word, [3, 7]] as const),
]);

/** What layers and norms read as weights. Infinities in masks are meant. */
function weightsOf({ node, graph }: Standing): readonly string[] {
  if (roleOf(node, 1) !== "transform" && !isNorm(node)) return [];
  return weighing(node).filter((name) => graph.initializers.has(name));
}

/** The inputs among which weights are: no masks of attention, no states in which a recurrent layer starts. */
function weighing(node: Node): readonly string[] {
  const word = wordOf(node);
  if (word.includes("Attention")) return node.inputs.slice(0, 3);
  // W, R, B, and behind the lengths and the states the peepholes.
  if (RECURRENT.has(word)) return [...node.inputs.slice(1, 4), ...node.inputs.slice(7, 8)];
  return node.inputs;
}

/** The matrices that a layer multiplies by: biases, which may have two axes as well, left out. */
function matricesOf(at: Standing): readonly string[] {
  const added = ADDED.get(wordOf(at.node)) ?? [];
  const biases = new Set(added.map((position) => at.node.inputs[position]));
  return weightsOf(at).filter((name) => !biases.has(name));
}

/** NaN or infinity among the weights of a layer, or a variance that makes one. */
export const notFinite: Rule = {
  id: "weights/not-finite",
  title: "a weight is NaN or infinite",
  check: ({ canonical }) =>
    [...everyNode(canonical)].flatMap((at) => {
      const broken = weightsOf(at).find((name) => {
        const found = statisticsOf(at.graph.initializers.get(name));
        return found?.hasNaN === true || found?.hasInfinity === true;
      });
      if (broken !== undefined)
        return [tell(at, `the weight ${broken} has NaN or infinite elements`)];
      const variance = negativeVariance(at);
      return variance === undefined
        ? []
        : [tell(at, `the variance ${variance} is negative: its root is NaN`)];
    }),
};

function tell(at: Standing, what: string): Finding {
  return diagnostic({
    id: "weights/not-finite",
    severity: "error",
    where: placeOf(at),
    text: `${what}: answers are NaN`,
    fix: "Go back to a checkpoint before training broke down; a lower rate or clipped gradients keep it up.",
  });
}

function negativeVariance({ node, graph }: Standing): string | undefined {
  const name = node.inputs[4];
  if (node.op !== "BatchNormalization" || name === undefined) return undefined;
  const found = statisticsOf(graph.initializers.get(name));
  return found !== undefined && found.least + floatAttribute(node, "epsilon", 1e-5) < 0
    ? name
    : undefined;
}

/** Magnitudes that overflow soon. */
export const extremeWeights: Rule = {
  id: "weights/extreme",
  title: "a weight is of extreme magnitude",
  check: ({ canonical }) =>
    [...everyNode(canonical)].flatMap((at) => {
      if (roleOf(at.node, 1) !== "transform") return [];
      const name = weightsOf(at).find((one) => largestOf(at.graph, one) >= LARGEST);
      if (name === undefined) return [];
      return [
        diagnostic({
          id: "weights/extreme",
          severity: "warning",
          where: placeOf(at),
          text: `the weight ${name} has an element of magnitude ${largestOf(at.graph, name).toPrecision(2)}: half precision overflows, and a quantized grid loses all other elements`,
          fix: "Look whether training diverged; if the value is meant, keep this layer in float32.",
        }),
      ];
    }),
};

function largestOf(graph: Graph, name: string): number {
  return statisticsOf(graph.initializers.get(name))?.largest ?? 0;
}

/** A layer that gives the same whatever it is fed. */
export const zeroLayer: Rule = {
  id: "weights/zero-layer",
  title: "all weights of a layer are zero",
  check: (model) => {
    // At the end of a branch it is that branch which is told.
    const dead = new Set(deadParts(model).map(({ node }) => node));
    return [...everyNode(model.canonical)].flatMap((at) => {
      if (roleOf(at.node, 1) !== "transform" || dead.has(at.node)) return [];
      if (!matricesOf(at).some((name) => isZeroMatrix(at.graph, name))) return [];
      return [
        diagnostic({
          id: "weights/zero-layer",
          severity: "warning",
          where: placeOf(at),
          text: "the weight is zero all over: the layer gives the same whatever it is fed",
          fix: "If the model is trained, this layer has learned nothing: prune it, or find out why no gradient reached it.",
        }),
      ];
    });
  },
};

/** Zeros in a bias are usual. */
function isZeroMatrix(graph: Graph, name: string): boolean {
  const ref = graph.initializers.get(name);
  if (ref === undefined || ref.shape.length < 2) return false;
  const found = statisticsOf(ref);
  return (
    found !== undefined &&
    found.elements > 0 &&
    found.largest === 0 &&
    !found.hasNaN &&
    !found.hasInfinity
  );
}

/** One weight that several layers read. */
export const sharedWeight: Rule = {
  id: "weights/shared",
  title: "several layers read one weight",
  check: ({ canonical }) => {
    const readers = new Map<string, Standing[]>();
    for (const at of everyNode(canonical)) {
      if (roleOf(at.node, 1) !== "transform") continue;
      for (const name of new Set(matricesOf(at))) {
        const shape = at.graph.initializers.get(name)?.shape ?? [];
        if (shape.length > 1) readers.set(name, [...(readers.get(name) ?? []), at]);
      }
    }
    const shared = [...readers].filter(([, all]) => all.length > 1);
    const [first] = shared;
    const [place] = first?.[1] ?? [];
    if (first === undefined || place === undefined) return [];
    return [
      diagnostic({
        id: "weights/shared",
        severity: "info",
        where: placeOf(place),
        text: `${shared.length === 1 ? "a weight is" : `${shared.length} weights are`} read by several layers (${first[0]} by ${first[1].length}): pruning, quantizing or tuning one changes all`,
        fix: "Treat those layers as one group; give each its own weight where that is not meant.",
      }),
    ];
  },
};
