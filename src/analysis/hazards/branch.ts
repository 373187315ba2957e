// Branches and skips that add nothing (Veit et al. 2016, "Residual Networks Behave Like Ensembles of
// Relatively Shallow Networks": what a block adds can be left out).

import { diagnostic } from "../../base/diagnostic.ts";
import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import type { Skip } from "../skips/skip.ts";
import { isLinear, roleOf } from "../skips/vocabulary.ts";
import { placeOf } from "../standing.ts";
import { fusionsIn, type Merging, named } from "./nodes.ts";
import type { Examined, Rule } from "./rule.ts";
import { statisticsOf } from "./statistics.ts";

/** Ops that give zero for zero. */
const KEEPS_ZERO = new Set([
  ...["Relu", "LeakyRelu", "Tanh", "Gelu", "Swish", "Identity", "Cast", "Transpose", "Reshape"],
  ...["Flatten", "Squeeze", "Unsqueeze", "Dropout", "Mul", "Div", "FakeQuantize", "AveragePool"],
]);

/** A branch or shortcut that is zero whatever comes in. */
export const deadBranch: Rule = {
  id: "skip/dead-branch",
  title: "a branch or shortcut is always zero",
  check: (model) =>
    deadParts(model).map(({ skip, where, part, node }) => ({
      ...diagnostic({
        id: "skip/dead-branch",
        severity: "warning",
        where,
        text: `the ${part} is multiplied by zero (${node.op}): it costs time and memory and changes nothing`,
        fix: "If the model is trained, remove it; if it is to be trained, this is a usual start.",
      }),
      skip: skip.id,
    })),
};

/** A part of a block that is zero whatever comes in, and the node of the canonical graph that makes it so. */
export interface DeadPart {
  readonly skip: Skip;
  readonly where: string;
  readonly part: "branch" | "shortcut";
  readonly node: Node;
}

/** All dead parts of additive blocks. */
export function deadParts({ skips }: Examined): DeadPart[] {
  return skips.flatMap(({ skip, found, where, merging }): DeadPart[] => {
    const fusion = merging.fusions.get(found.merge);
    if (fusion?.form !== "additive") return [];
    const own = new Set(found.shortcut);
    const main = new Set(found.main);
    for (const { value } of fusion.operands) {
      const node = zeroing(merging, value);
      if (node !== undefined && own.has(node.name))
        return [{ skip, where, part: "shortcut", node }];
      if (node !== undefined && main.has(node.name)) return [{ skip, where, part: "branch", node }];
    }
    return [];
  });
}

/** The node that makes a value zero, going back through nodes that keep it so. */
function zeroing({ flow, graph }: Merging, value: ValueName): Node | undefined {
  for (let name = value; ; ) {
    const node = flow.producer(name);
    const inputs = node === undefined ? [] : flow.activationInputs(node);
    const [input] = inputs;
    if (node === undefined || input === undefined || inputs.length !== 1) return undefined;
    if (givesZero(graph, node)) return node;
    const hasBias = roleOf(node, 1) === "transform" && !withoutBias(graph, node);
    if (hasBias || !(KEEPS_ZERO.has(node.op) || isLinear(node, 1))) return undefined;
    name = input;
  }
}

function givesZero(graph: Graph, node: Node): boolean {
  if (node.op === "Mul") return node.inputs.some((name) => isZero(graph, name));
  if (node.op === "BatchNormalization") {
    return isZero(graph, node.inputs[1]) && isZero(graph, node.inputs[2]);
  }
  return isLinear(node, 1) && isZero(graph, node.inputs[1]) && withoutBias(graph, node);
}

function withoutBias(graph: Graph, node: Node): boolean {
  const bias = node.inputs[2] ?? "";
  return bias === "" || isZero(graph, bias);
}

function isZero(graph: Graph, name: ValueName | undefined): boolean {
  const found = statisticsOf(graph.initializers.get(name ?? ""));
  if (found === undefined || found.hasNaN || found.hasInfinity) return false;
  return found.elements > 0 && found.largest === 0;
}

/** A branch without any nonlinearity: shortcut and branch are one linear op (Ding et al. 2021, RepVGG, section 3.3). */
export const linearBranch: Rule = {
  id: "skip/linear-branch",
  title: "the branch around which the shortcut leads is linear",
  check: ({ skips }) =>
    skips.flatMap(({ skip, found, where, merging }) => {
      const fusion = merging.fusions.get(found.merge);
      const main = named(merging, found.main);
      if (fusion?.form !== "additive" || main.length === 0) return [];
      if (!main.every((node) => isAffine(merging, node))) return [];
      const diagnosis = diagnostic({
        id: "skip/linear-branch",
        severity: "info",
        where,
        text: "the branch has no nonlinearity: shortcut and branch together are one linear op",
        fix: "Add the shortcut into the weights of the branch, as RepVGG does after training.",
      });
      return [{ ...diagnosis, skip: skip.id }];
    }),
};

function isAffine({ flow }: Merging, node: Node): boolean {
  const count = flow.activationInputs(node).length;
  // Also one on whose grid are no negative numbers.
  if (flow.activates(node)) return false;
  return isLinear(node, count) || roleOf(node, count) === "transparent";
}

/** The same value twice in one sum beside a branch: 2x + f(x). */
export const repeatedOperand: Rule = {
  id: "skip/repeated",
  title: "a sum takes the same value twice",
  check: ({ canonical }) =>
    fusionsIn(canonical).flatMap(({ merging, fusion }) => {
      const added = fusion.operands.filter(({ multiplied }) => multiplied !== true);
      const values = added.map(({ value }) => merging.flow.unrounded(value));
      const twice = values.find((value, i) => values.indexOf(value) < i);
      // x + x alone is a doubling.
      if (fusion.form !== "additive" || twice === undefined) return [];
      if (new Set(values).size < 2 && added.length === fusion.operands.length) return [];
      return [
        diagnostic({
          id: "skip/repeated",
          severity: "warning",
          where: placeOf({ ...merging, node: fusion.node }),
          text: `${twice} is added more than once: one of its skips is too many, or stands for a factor`,
          fix: "Keep one skip, and scale it if that is meant.",
        }),
      ];
    }),
};
