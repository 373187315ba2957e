// The way of an imported graph to one that gradients can be built on: one operator set, no calls, branches
// that shapes decide taken, sequences that are put together and taken apart again as Split and Concat, and
// every constant an initializer. What it computes, and the names of its weights, inputs and outputs, stay.

import { diagnostic } from "../../base/diagnostic.ts";
import { SkipwayError } from "../../base/errors.ts";
import { decideBranches } from "../../canonical/decide.ts";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import { inlineFunctions } from "../../canonical/inline.ts";
import { withoutSequences } from "../../canonical/sequences.ts";
import type { Graph, ValueName } from "../../graph/graph.ts";
import { hasBlockedLayout, withPlainLayout } from "../plain-layout.ts";
import { OPSET_OF_GRADIENTS, upgradeOpset } from "../upgrade/upgrade-opset.ts";
import { floatInitializers, withComputedConstants, withoutConstantNodes } from "./constants.ts";

/**
 * The graph in the form that `differentiate` takes, with shapes inferred. Elements of weights are not
 * looked at: they may lie in files beside the model.
 *
 * @param block Channels in a block, for a file in the runtime's blocked layout (`withPlainLayout`); such a file is
 * refused where it is not given.
 * @throws SkipwayError `input` for functions that unfold without end, and for nodes that have no form in the
 * operator set of gradients.
 */
export function prepareForGradients(graph: Graph, block?: number): Graph {
  const upgraded = upgradeOpset(inPlainLayout(unfolded(graph), block), OPSET_OF_GRADIENTS);
  const own = floatInitializers(graph);
  let current = withoutConstantNodes(upgraded);
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const next = settled(current, own);
    if (sameNodes(next, current)) return next;
    current = next;
  }
  return current;
}

/** A constant that was found may decide a branch, and a branch the shapes that further constants come from. */
const ROUNDS_MAX = 4;

function sameNodes(a: Graph, b: Graph): boolean {
  return a.nodes.length === b.nodes.length && a.nodes.every((node, i) => node === b.nodes[i]);
}

/** Branches taken, sequences taken apart and constants computed, as far as the shapes known so far tell. */
function settled(graph: Graph, own: ReadonlySet<ValueName>): Graph {
  const decided = withoutConstantNodes(decideBranches(graph));
  const whole = inferShapes(decided);
  const weights = own.size > 0 ? own : floatInitializers(whole);
  return inferShapes(withoutSequences(inferShapes(withComputedConstants(whole, weights))));
}

function inPlainLayout(graph: Graph, block: number | undefined): Graph {
  if (!hasBlockedLayout(graph)) return graph;
  if (block !== undefined) return withPlainLayout(inferShapes(graph), block);
  throw SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "layout/unknown-block",
      severity: "error",
      where: `graph ${graph.name}`,
      text: "is laid out for the processor of one machine, and how many channels a block has there is not known",
      fix: "Use the model before ONNX Runtime optimized it, or save it at the level extended.",
    }),
  ]);
}

/**
 * Functions in the place of their calls. Where they are of another operator set than the graph, each is
 * brought to the newest of them first.
 */
function unfolded(graph: Graph): Graph {
  const own = graph.opsets.get("");
  const sets = [...(graph.functions?.values() ?? [])].map((one) => one.opsets.get("") ?? own);
  const one = sets.every((version) => version === own);
  return inlineFunctions(one ? graph : upgradeOpset(graph, OPSET_OF_GRADIENTS));
}
