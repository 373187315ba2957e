// Which initializers are trained: those that the loss depends on, by type and name. Running statistics move
// by themselves and are no weights.

import { type Diagnostic, diagnostic } from "../../base/diagnostic.ts";
import { SkipwayError } from "../../base/errors.ts";
import { isFloat } from "../../graph/dtype.ts";
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
    return ref !== undefined && isFloat(ref.dtype) && reached.has(name) && !statistics.has(name);
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
 * any characters, `?` for one; a name that an initializer has is that name, whatever it holds.
 *
 * @throws SkipwayError `input` with a finding for each pattern that fits no initializer, and each name of
 * one that has no gradient.
 */
export function named(graph: Graph, patterns: readonly string[]): ValueName[] {
  const chosen = new Set<ValueName>();
  const found: Diagnostic[] = [];
  for (const pattern of patterns) {
    const fitting = graph.initializers.has(pattern) ? [pattern] : matching(graph, pattern);
    const floats = fitting.filter((name) => isFloat(graph.initializers.get(name)?.dtype ?? "bool"));
    if (fitting.length === 0) found.push(unknownName(graph, pattern));
    else if (floats.length === 0) found.push(notFloat(graph, fitting[0] ?? ""));
    for (const name of floats) chosen.add(name);
  }
  if (found.length > 0) throw SkipwayError.fromDiagnostics("input", found);
  return [...graph.initializers.keys()].filter((name) => chosen.has(name));
}

function matching(graph: Graph, pattern: string): ValueName[] {
  if (!/[*?]/.test(pattern)) return [];
  return [...graph.initializers.keys()].filter((name) => fits(name, pattern));
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

function unknownName(graph: Graph, pattern: string): Diagnostic {
  const floats = [...graph.initializers].filter(([, ref]) => isFloat(ref.dtype));
  const shown = floats.slice(0, NAMES_SHOWN).map(([name]) => `"${clipName(name)}"`);
  const more = floats.length - shown.length;
  return diagnostic({
    id: "gradient/unknown-name",
    severity: "error",
    where: `"${clipName(pattern)}"`,
    text: "is no initializer of the model, and fits the name of none",
    notes: [
      floats.length === 0
        ? "the model has no float initializers"
        : `it has ${shown.join(", ")}${more > 0 ? ` and ${more} more` : ""}`,
    ],
    fix: 'Name initializers, or a pattern such as "encoder.*".',
  });
}

function notFloat(graph: Graph, name: ValueName): Diagnostic {
  return diagnostic({
    id: "gradient/not-float",
    severity: "error",
    where: `initializer "${clipName(name)}"`,
    text: `holds ${graph.initializers.get(name)?.dtype}, and gradients are of float values`,
    fix: "Name float initializers, or leave it to --wrt all.",
  });
}
