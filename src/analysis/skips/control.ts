// Skips in control flow: a branch that is left out, and a residual inside a loop.

import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import { subgraphs } from "../../graph/graph.ts";
import { Flow } from "./flow.ts";
import { type Looping, statesOf, tripsOf } from "./loop.ts";
import { skipsAcrossRounds } from "./rounds.ts";
import type { Found } from "./skip.ts";
import { roleOf } from "./vocabulary.ts";

/**
 * A conditional skip: one branch of an If hands a value of the outer graph on by transparent nodes, the
 * other transforms the same value.
 */
export function conditionalSkips(outer: Flow, node: Node): Found[] {
  if (node.op !== "If") return [];
  const branches = subgraphs(node).map((body) => ({
    body,
    flow: new Flow(body, { flow: outer, node }),
  }));
  return node.outputs.flatMap((output, i) => {
    for (const [a, b] of [branches, branches.toReversed()]) {
      if (a === undefined || b === undefined) return [];
      const name = b.body.outputs[i]?.name ?? "";
      for (const { value: source } of a.flow.shortcut(a.body.outputs[i]?.name ?? "", false)) {
        if (!outer.activations.has(source)) continue;
        const span = b.flow.longest(source, name) ?? 0;
        const type = outer.typeOf(source);
        if (span > 0) return [conditional(node, output, { source, type, span, body: b.body })];
      }
    }
    return [];
  });
}

function conditional(
  node: Node,
  output: ValueName,
  found: { source: ValueName; type: Found["type"]; span: number; body: Graph },
): Found {
  return {
    kind: "conditional",
    source: found.source,
    type: found.type,
    merge: node.name,
    mergeOutput: output,
    operand: node.inputs.length,
    span: found.span,
    sign: 1,
    gamma: [],
    projection: [],
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

/**
 * The skips of a loop: those of one round, which `inside` are, and those that go from one round to the next.
 * Each is counted once, however often it runs.
 */
export function recurrentSkips(loop: Looping, inside: readonly Found[]): Found[] {
  const { node, body, flow } = loop;
  const trips = tripsOf(loop);
  const states = new Set(statesOf(loop).map(({ input }) => input));
  const known = new Set(inside.map(keyOf));
  const across = skipsAcrossRounds(loop).filter((skip) => !known.has(keyOf(skip)));
  const at = new Map(body.nodes.map((one, position) => [one.name, position]));
  return [...inside, ...across]
    .toSorted((a, b) => (at.get(a.merge) ?? 0) - (at.get(b.merge) ?? 0))
    .map((skip): Found => {
      if (skip.recurrence !== undefined) return skip;
      const from = states.has(skip.source)
        ? "state"
        : flow.activations.has(skip.source)
          ? "outside"
          : "round";
      const recurrence = { loop: node.name, trips, from, gated: skip.kind === "gated" } as const;
      return { ...skip, recurrence };
    });
}

function keyOf({ merge, source }: Found): string {
  return JSON.stringify([merge, source]);
}
