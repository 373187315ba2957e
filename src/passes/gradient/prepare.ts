// The way of an imported graph to one that gradients can be built on: one operator set, no calls, branches
// that shapes decide taken, sequences that are put together and taken apart again as Split and Concat, and
// every constant an initializer. What it computes, and the names of its weights, inputs and outputs, stay.

import { tensorOfConstant } from "../../canonical/constant-node.ts";
import { decideBranches } from "../../canonical/decide.ts";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import { inlineFunctions, withBodies } from "../../canonical/inline.ts";
import { withoutSequences } from "../../canonical/sequences.ts";
import type { Graph, ValueName } from "../../graph/graph.ts";
import type { TensorRef } from "../../graph/tensor.ts";
import { OPSET_OF_GRADIENTS, upgradeOpset } from "../upgrade/upgrade-opset.ts";

/**
 * The graph in the form that `differentiate` takes, with shapes inferred. Elements of weights are not
 * looked at: they may lie in files beside the model.
 *
 * @throws SkipwayError `input` for functions that unfold without end, and for nodes that have no form in the
 * operator set of gradients.
 */
export function prepareForGradients(graph: Graph): Graph {
  const upgraded = upgradeOpset(unfolded(graph), OPSET_OF_GRADIENTS);
  const decided = decideBranches(withoutConstantNodes(upgraded));
  return inferShapes(withoutSequences(withoutConstantNodes(decided)));
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

/** Constant nodes as initializers of their names, in bodies too. The same graph if there is none. */
export function withoutConstantNodes(graph: Graph): Graph {
  const initializers = new Map<ValueName, TensorRef>(graph.initializers);
  let changed = false;
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  const nodes = graph.nodes.flatMap((node) => {
    const [name = ""] = node.outputs;
    const held = tensorOfConstant(node);
    if (held !== undefined && name !== "" && !outputs.has(name)) {
      initializers.set(name, held);
      changed = true;
      return [];
    }
    const kept = withBodies(node, withoutConstantNodes);
    changed ||= kept !== node;
    return [kept];
  });
  return changed ? { ...graph, nodes, initializers } : graph;
}
