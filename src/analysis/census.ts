// The skip census: every skip connection of a graph, with what it costs. The definition is in
// docs/design/census.md; the finders are in skips/.

import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import type { Graph, Node } from "../graph/graph.ts";
import { indexOf, typeOf } from "../graph/query.ts";
import { opOf } from "../ops/index.ts";
import { valueBytes } from "../ops/rules.ts";
import { bindBatch, inferenceMemory } from "./memory.ts";
import { bodiesOf, conditionalSkips } from "./skips/control.ts";
import { markDense } from "./skips/dense.ts";
import { FINDERS } from "./skips/finders.ts";
import { Flow } from "./skips/flow.ts";
import { fusionsOf } from "./skips/fusion.ts";
import type { Census, Found, Skip, SkipCounts } from "./skips/skip.ts";

/**
 * Finds every skip connection of a graph.
 *
 * @param options.batch batch size for which bytes and the memory peak are given. Default 1.
 * @example
 * for (const skip of census(model.graph).skips) console.log(skip.kind, skip.source, skip.merge);
 */
export function census(graph: Graph, options: { batch?: number } = {}): Census {
  const batch = options.batch ?? 1;
  const bound = bindBatch(graph, batch);
  const { found, links, notSkips } = search(bound);
  const memory = inferenceMemory(bound, { batch });
  const positions = new Map(bound.nodes.map((node, position) => [node.name, position]));
  // Several moments may tie for the peak: a skip that stands at any of them stands at the peak.
  const peaks = memory.timeline.flatMap(({ bytes }, i) => (bytes === memory.peakBytes ? [i] : []));
  const skips = found.map((skip, i) => {
    const alone = aliveAlone(bound, skip);
    const [from, until] = [positions.get(alone?.from ?? ""), positions.get(alone?.until ?? "")];
    const atPeak =
      from !== undefined && until !== undefined && peaks.some((at) => from < at && at <= until);
    return rowOf(bound, skip, { id: `s${i + 1}`, alone, atPeak });
  });
  return {
    batch,
    skips,
    counts: countsOf(skips),
    denseLinks: links,
    notSkips,
    hazards: [...unreadable(bound), ...skips.flatMap((skip) => skip.hazards)],
  };
}

interface SearchResult {
  readonly found: readonly Found[];
  readonly links: number;
  readonly notSkips: Census["notSkips"];
}

function search(graph: Graph, flow: Flow = new Flow(graph)): SearchResult {
  const fusions = fusionsOf(flow);
  const byNode = new Map(fusions.map((fusion) => [fusion.node, fusion]));
  const found: Found[] = [];
  const notSkips: { node: string; reason: string }[] = [];
  let inner = 0;
  for (const node of graph.nodes) {
    const fusion = byNode.get(node);
    if (fusion !== undefined) {
      const here = FINDERS.map((find) => find(flow, fusion)).find((list) => list.length > 0) ?? [];
      found.push(...here);
      if (here.length === 0) notSkips.push({ node: node.name, reason: "no operand is a shortcut" });
    } else if (node.op === "Mul" && flow.activationInputs(node).length > 1) {
      notSkips.push({ node: node.name, reason: "a gate: the operands are multiplied" });
    }
    found.push(...conditionalSkips(flow, node));
    for (const { body, loop } of bodiesOf(node)) {
      const nested = search(body, new Flow(body, flow.activations));
      found.push(...nested.found.map((skip): Found => (loop ? recurrent(skip) : skip)));
      notSkips.push(...nested.notSkips);
      inner += nested.links;
    }
  }
  const dense = markDense(found, fusions);
  return { found: dense.skips, links: dense.links + inner, notSkips };
}

function recurrent(skip: Found): Found {
  return { ...skip, kind: "recurrent", block: "recurrent" };
}

function rowOf(
  graph: Graph,
  found: Found,
  facts: Pick<Skip, "id" | "atPeak"> & { alone: Skip["aliveOnlyForSkip"] },
): Skip {
  const { positions, producers } = indexOf(graph);
  const producer = producers.get(found.source);
  const start = producer === undefined ? -1 : (positions.get(producer) ?? -1);
  const merge = graph.nodes.find((node) => node.name === found.merge);
  const end = merge === undefined ? start : (positions.get(merge) ?? start);
  return {
    id: facts.id,
    kind: found.kind,
    encoderDecoder: found.encoderDecoder,
    source: found.source,
    merge: found.merge,
    operand: found.operand,
    span: found.span,
    distance: end - start,
    bytes: valueBytes(typeOf(graph, found.source)),
    block: found.block,
    activation: found.activation,
    norm: found.norm,
    sign: found.sign,
    scaled: found.scaled,
    aliveOnlyForSkip: facts.alone,
    atPeak: facts.atPeak,
    hazards: found.normOnShortcut ? [normOnShortcut(found)] : [],
    nodes: { shortcut: found.shortcut, main: found.main, merge: found.merge },
  };
}

/** The stretch after the last other use of the source: what the skip alone keeps alive. */
function aliveAlone(graph: Graph, skip: Found): Skip["aliveOnlyForSkip"] {
  const { uses, positions } = indexOf(graph);
  const own = new Set([...skip.shortcut, skip.merge]);
  const at = (node: Node): number => positions.get(node) ?? 0;
  const all = uses.get(skip.source) ?? [];
  const others = all.filter((use) => !own.has(use.node.name)).map((use) => use.node);
  const mine = all.filter((use) => own.has(use.node.name)).map((use) => use.node);
  const last = others.toSorted((a, b) => at(b) - at(a))[0];
  const until = mine.toSorted((a, b) => at(b) - at(a))[0];
  if (last === undefined || until === undefined || at(until) <= at(last)) return undefined;
  return { from: last.name, until: until.name };
}

function countsOf(skips: readonly Skip[]): SkipCounts {
  const count = (test: (skip: Skip) => boolean): number => skips.filter(test).length;
  const ofKind = (kind: Skip["kind"]) => count((skip) => skip.kind === kind);
  const projections = ofKind("projection");
  const [concat, gated, conditional] = [ofKind("concat"), ofKind("gated"), ofKind("conditional")];
  const [loops, streams] = [ofKind("recurrent"), ofKind("multi-stream")];
  return {
    total: skips.length,
    additiveIdentity: skips.length - projections - concat - gated - conditional - loops - streams,
    additiveProjection: projections,
    concat,
    gated,
    encoderDecoder: count((skip) => skip.encoderDecoder),
    conditional,
    recurrent: loops,
    multiStream: streams,
  };
}

/** Nodes that the census cannot look into: said, so that "no skips" is never a guess. */
function unreadable(graph: Graph): Diagnostic[] {
  const unknown = new Set(
    graph.nodes
      .filter((node) => opOf(node) === undefined)
      .map((node) => (node.domain === "" ? node.op : `${node.domain}.${node.op}`)),
  );
  if (unknown.size === 0) return [];
  return [
    diagnostic({
      id: "census/unknown-op",
      severity: "warning",
      where: [...unknown].slice(0, 8).join(", "),
      text: `${unknown.size} ${unknown.size === 1 ? "op is" : "ops are"} not known to skipway; skips through them are not seen`,
      fix: "Export the model without custom ops.",
    }),
  ];
}

function normOnShortcut(skip: Found): Diagnostic {
  return diagnostic({
    id: "skip/norm-on-shortcut",
    severity: "warning",
    where: `node ${skip.merge}`,
    text: "a normalisation stands on the shortcut: gradients no longer pass it unchanged",
    fix: "Move the normalisation into the branch.",
  });
}
