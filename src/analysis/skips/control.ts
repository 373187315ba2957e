// Skips in control flow: a branch that is left out, and a residual inside a loop.

import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import { subgraphs } from "../../graph/graph.ts";
import { Flow } from "./flow.ts";
import type { Found } from "./skip.ts";
import { roleOf } from "./vocabulary.ts";

/**
 * A conditional skip: one branch of an If hands a value of the outer graph on by transparent nodes, the
 * other transforms the same value.
 */
export function conditionalSkips(flow: Flow, node: Node): Found[] {
  if (node.op !== "If") return [];
  const branches = subgraphs(node).map((body) => ({
    body,
    flow: new Flow(body, flow.activations),
  }));
  return node.outputs.flatMap((output, i) => {
    for (const [a, b] of [branches, branches.toReversed()]) {
      if (a === undefined || b === undefined) return [];
      const passed = a.flow.shortcut(a.body.outputs[i]?.name ?? "", false).at(-1);
      const source = passed?.value ?? "";
      if (!flow.activations.has(source) || a.flow.producer(source) !== undefined) continue;
      const span = transformsFrom(b.flow, source, b.body.outputs[i]?.name ?? "");
      if (span > 0) return [conditional(node, output, { source, span, body: b.body })];
    }
    return [];
  });
}

function transformsFrom(flow: Flow, source: ValueName, target: ValueName): number {
  return flow.longest(source, target) ?? 0;
}

function conditional(
  node: Node,
  output: ValueName,
  found: { source: ValueName; span: number; body: Graph },
): Found {
  return {
    kind: "conditional",
    source: found.source,
    merge: node.name,
    mergeOutput: output,
    operand: node.inputs.length,
    span: found.span,
    sign: 1,
    scaled: false,
    normOnShortcut: false,
    encoderDecoder: false,
    block: "conditional",
    activation: "none",
    norm: "none",
    shortcut: [],
    main: found.body.nodes
      .filter((inner) => roleOf(inner, 1) === "transform")
      .map((inner) => inner.name),
  };
}

/** Bodies in which further skips may lie, with whether they are loops. */
export function bodiesOf(node: Node): { body: Graph; loop: boolean }[] {
  const loop = node.op === "Loop" || node.op === "Scan";
  return subgraphs(node).map((body) => ({ body, loop }));
}
