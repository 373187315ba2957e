// Which initializers are trained: those that the loss depends on, by type and name. Running statistics move
// by themselves and are no weights.

import { type Diagnostic, diagnostic } from "../../base/diagnostic.ts";
import { SkipwayError } from "../../base/errors.ts";
import { isComputedFloat, isFloat } from "../../graph/dtype.ts";
import type { Graph, ValueName } from "../../graph/graph.ts";
import { producerOf, typeOf } from "../../graph/query.ts";
import { clipName } from "../../graph/verify.ts";
import { opOf } from "../../ops/index.ts";
import { readBy } from "./paths.ts";

/** Names that a message lists. */
const NAMES_SHOWN = 8;

/**
 * The float initializers from which the loss can be reached through ops that are no constants to a gradient,
 * running statistics left out.
 *
 * @param among Names to choose from; all initializers if left out.
 */
export function trainable(
  graph: Graph,
  loss: ValueName,
  among: Iterable<ValueName> = graph.initializers.keys(),
): ValueName[] {
  const reached = floatsReaching(graph, loss);
  const statistics = runningStatistics(graph);
  return [...among].filter((name) => {
    const ref = graph.initializers.get(name);
    const isWeight = ref !== undefined && isComputedFloat(ref.dtype);
    return isWeight && reached.has(name) && !statistics.has(name);
  });
}

/** Float values from which a value can be reached over float values. */
function floatsReaching(graph: Graph, end: ValueName): Set<ValueName> {
  const found = new Set([end]);
  for (const node of graph.nodes.toReversed()) {
    if (!node.outputs.some((name) => found.has(name)) || opOf(node)?.gradient === "zero") continue;
    for (const name of readBy(node)) {
      if (isFloat(typeOf(graph, name)?.dtype ?? "float32")) found.add(name);
    }
  }
  return found;
}

/** Initializers that are the mean or variance of a BatchNormalization, also under a second name. */
export function runningStatistics(graph: Graph): Set<ValueName> {
  const found = new Set<ValueName>();
  for (const node of graph.nodes) {
    if (node.op !== "BatchNormalization" || node.domain !== "") continue;
    for (const name of node.inputs.slice(3, 5)) found.add(sourceOf(graph, name));
  }
  return found;
}

/** Back through Identity, which exporters write where several layers share a weight. */
function sourceOf(graph: Graph, name: ValueName): ValueName {
  const node = producerOf(graph, name);
  const [input = ""] = node?.inputs ?? [];
  return node?.op === "Identity" && node.domain === "" ? sourceOf(graph, input) : name;
}

/**
 * The initializers that names and patterns stand for, in the order of the graph. `*` in a pattern stands for
 * any characters, `?` for one, and it chooses among `weights`; a name that an initializer has is that name.
 *
 * @throws SkipwayError `input` with a finding for each pattern that fits no weight, and each name of an
 * initializer that has no gradient.
 */
export function named(
  graph: Graph,
  patterns: readonly string[],
  weights: readonly ValueName[],
): ValueName[] {
  const chosen = new Set<ValueName>();
  const found: Diagnostic[] = [];
  for (const pattern of patterns) {
    const one = graph.initializers.get(pattern);
    const fitting = one === undefined ? weights.filter((name) => fits(name, pattern)) : [pattern];
    if (fitting.length === 0) found.push(unknownName(pattern, weights));
    else if (one !== undefined && !isComputedFloat(one.dtype))
      found.push(notFloat(pattern, one.dtype));
    for (const name of fitting) chosen.add(name);
  }
  if (found.length > 0) throw SkipwayError.fromDiagnostics("input", found);
  return [...graph.initializers.keys()].filter((name) => chosen.has(name));
}

/**
 * Whether a name fits a pattern, in time proportional to the product of their lengths: after a mismatch it
 * goes back to the last `*` only, which takes one character more.
 */
export function fits(name: string, pattern: string): boolean {
  let [at, next] = [0, 0];
  let star = -1;
  let resume = 0;
  while (at < name.length) {
    const wanted = pattern[next];
    if (wanted === "*") {
      star = next++;
      resume = at;
    } else if (wanted === "?" || wanted === name[at]) {
      at++;
      next++;
    } else if (star >= 0) {
      next = star + 1;
      at = ++resume;
    } else return false;
  }
  return pattern.slice(next).replaceAll("*", "") === "";
}

function unknownName(pattern: string, weights: readonly ValueName[]): Diagnostic {
  const shown = weights.slice(0, NAMES_SHOWN).map((name) => `"${clipName(name)}"`);
  const more = weights.length - shown.length;
  const listed = `${shown.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
  return diagnostic({
    id: "gradient/unknown-name",
    severity: "error",
    where: `"${clipName(pattern)}"`,
    text: "is no initializer of the model, and fits the name of no weight",
    notes: [weights.length === 0 ? "the loss depends on no weights" : `the weights are ${listed}`],
    fix: 'Name initializers, or a pattern such as "encoder.*".',
  });
}

function notFloat(name: ValueName, dtype: string): Diagnostic {
  return diagnostic({
    id: "gradient/not-float",
    severity: "error",
    where: `initializer "${clipName(name)}"`,
    text: `holds ${dtype}, and gradients are of floats of 16 bits or more`,
    fix: "Name float initializers, or leave it to --wrt all.",
  });
}
