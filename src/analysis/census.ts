// The skip census: every skip connection of a graph, with what it costs. The definition is in
// docs/design/census.md; the finders are in skips/.

import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { canonicalize } from "../canonical/canonical.ts";
import { type Graph, type Node, subgraphs, type ValueName } from "../graph/graph.ts";
import { originalName, originalsOf } from "../graph/original.ts";
import { indexOf, usesOf } from "../graph/query.ts";
import { opOf } from "../ops/index.ts";
import { valueBytes } from "../ops/rules.ts";
import { mergingOf } from "./hazards/nodes.ts";
import type { Examined } from "./hazards/rule.ts";
import { skipHazards } from "./hazards/skip-rules.ts";
import { Peak } from "./memory/peak.ts";
import { operandWrittenOver } from "./memory/runtime.ts";
import { bindBatch, memoryOf, type SizeOptions, sizesFor } from "./memory.ts";
import { conditionalSkips, recurrentSkips } from "./skips/control.ts";
import { markDense } from "./skips/dense.ts";
import { FINDERS } from "./skips/finders.ts";
import { Flow } from "./skips/flow.ts";
import { type Fusion, fusionsOf } from "./skips/fusion.ts";
import { loopOf } from "./skips/loop.ts";
import { insideOf, REASONS, reasonOfMerge, reasonOfNode } from "./skips/not-skips.ts";
import type { Census, Found, Skip, SkipCounts } from "./skips/skip.ts";
import { markGrowing } from "./skips/streams.ts";
import { isKnownWord, roleOf } from "./skips/vocabulary.ts";
import { placeOf } from "./standing.ts";

/**
 * Finds every skip connection of a graph.
 *
 * @param options sizes for which bytes and the memory peak are given: a batch of 1 where nothing is said.
 * @example
 * for (const skip of census(model.graph).skips) console.log(skip.kind, skip.source, skip.merge);
 */
export function census(graph: Graph, options: SizeOptions = {}): Census {
  const model = examine(graph, options);
  const hazards = new Map<string, Diagnostic[]>();
  for (const { skip: id = "", ...hazard } of skipHazards(model)) {
    hazards.set(id, [...(hazards.get(id) ?? []), hazard]);
  }
  const skips = model.skips.map(({ skip }) => ({ ...skip, hazards: hazards.get(skip.id) ?? [] }));
  return {
    ...sizesFor(graph, options),
    skips,
    counts: countsOf(skips),
    denseLinks: model.denseLinks,
    notSkips: model.notSkips,
    hazards: [...unreadable(model.run), ...skips.flatMap((skip) => skip.hazards)],
  };
}

/** All that analysis knows of a graph; hazards are not sought yet. */
export function examine(
  graph: Graph,
  options: SizeOptions = {},
): Examined & Pick<Census, "denseLinks" | "notSkips"> {
  const sizes = sizesFor(graph, options);
  const run = bindBatch(graph, sizes.batch, sizes.sizes);
  const ground = groundOf(run);
  const { flow, fusions } = mergingOf(ground.canonical, {});
  const { found, links, notSkips } = search(flow, [...fusions.values()]);
  const groups = weightGroups(ground.canonical, found);
  const skips = found.map((skip, i) => {
    const alone = aliveAlone(ground, skip);
    const shortcut = skip.shortcut.flatMap((name) => namesOf(ground, name));
    const atPeak = ground.peak.holds({ shortcut, aliveOnlyForSkip: alone });
    const merging = mergingOf(ground.canonical, skip);
    const merge = merging.nodes.get(skip.merge);
    return {
      found: skip,
      merging,
      where: merge === undefined ? `node ${skip.merge}` : placeOf({ ...merging, node: merge }),
      skip: rowOf(ground, skip, { id: `s${i + 1}`, alone, atPeak, weightGroup: groups.get(skip) }),
    };
  });
  return {
    graph,
    run,
    canonical: ground.canonical,
    skips,
    memory: memoryOf(run, sizes),
    peak: ground.peak,
    denseLinks: links,
    notSkips: namedNotSkips(ground, notSkips),
  };
}

/** The graph in which skips are sought, and the one that is run, in which they are told. */
interface Ground {
  readonly canonical: Graph;
  readonly run: Graph;
  /** Of the nodes that are run, by name. */
  readonly positions: ReadonlyMap<string, number>;
  readonly peak: Peak;
  /** Nodes of the canonical graph by name. */
  readonly node: (name: string) => Node | undefined;
  /** The body in which a node of the canonical graph lies, and that in which one lies that is run. */
  readonly bodies: ReadonlyMap<string, Graph>;
  readonly runBodies: ReadonlyMap<string, Graph>;
}

function groundOf(run: Graph): Ground {
  const canonical = canonicalize(run);
  const byName = new Map(canonical.nodes.map((node) => [node.name, node]));
  return {
    canonical,
    run,
    positions: new Map(run.nodes.map((node, position) => [node.name, position])),
    peak: new Peak(run),
    node: (name) => byName.get(name),
    bodies: bodiesByNode(canonical),
    runBodies: bodiesByNode(run),
  };
}

/** The body in which each node lies that is not one of the graph itself. */
function bodiesByNode(graph: Graph): ReadonlyMap<string, Graph> {
  const found = new Map<string, Graph>();
  const open = graph.nodes.flatMap(subgraphs);
  for (let body = open.pop(); body !== undefined; body = open.pop()) {
    for (const node of body.nodes) found.set(node.name, body);
    open.push(...body.nodes.flatMap(subgraphs));
  }
  for (const node of graph.nodes) found.delete(node.name);
  return found;
}

interface SearchResult {
  readonly found: readonly Found[];
  readonly links: number;
  readonly notSkips: Census["notSkips"];
}

function search(flow: Flow, fusions: readonly Fusion[]): SearchResult {
  const byNode = new Map(fusions.map((fusion) => [fusion.node, fusion]));
  const found: Found[] = [];
  const notSkips: { node: string; reason: string }[] = [];
  let inner = 0;
  for (const node of flow.graph.nodes) {
    const fusion = byNode.get(node);
    if (fusion !== undefined) {
      const here = FINDERS.map((find) => find(flow, fusion)).find((list) => list.length > 0) ?? [];
      found.push(...here);
      if (here.length === 0) {
        notSkips.push({ node: node.name, reason: reasonOfMerge(flow, fusion) });
      }
    } else {
      const reason = reasonOfNode(flow, node);
      if (reason !== undefined) notSkips.push({ node: node.name, reason });
    }
    found.push(...conditionalSkips(flow, node));
    for (const body of subgraphs(node)) {
      const inside = new Flow(body, { flow, node });
      const nested = search(inside, fusionsOf(inside));
      const loop = loopOf(flow, node);
      const here = loop === undefined ? nested.found : recurrentSkips(loop, nested.found);
      const merges = new Set(here.map((skip) => skip.merge));
      found.push(...here.map((skip) => ({ ...skip, body: skip.body ?? body })));
      notSkips.push(...nested.notSkips.filter((one) => !merges.has(one.node)));
      inner += nested.links;
    }
  }
  const dense = markDense(flow, markGrowing(flow, found, fusions), fusions);
  return { found: dense.skips, links: dense.links + inner, notSkips };
}

function rowOf(
  ground: Ground,
  found: Found,
  facts: Pick<Skip, "id" | "atPeak" | "weightGroup"> & { alone: Skip["aliveOnlyForSkip"] },
): Skip {
  const { canonical, positions } = ground;
  const producer = indexOf(canonical).producers.get(found.source);
  const start = producer === undefined ? -1 : (positions.get(producer.name) ?? -1);
  const merge = namesOf(ground, found.merge).at(-1) ?? found.merge;
  return {
    id: facts.id,
    // What it is within its round, rules look at.
    kind: found.recurrence === undefined ? found.kind : "recurrent",
    encoderDecoder: found.encoderDecoder,
    source: found.source,
    merge,
    operand: found.operand,
    span: found.span,
    distance: (positions.get(found.merge) ?? start) - start,
    bytes: valueBytes(found.type),
    block: found.recurrence === undefined ? found.block : "recurrent",
    activation: found.activation,
    norm: found.norm,
    sign: found.sign,
    scaled: found.gamma.length > 0,
    gamma: found.gamma,
    projection: found.projection,
    recurrence: found.recurrence,
    aliveOnlyForSkip: facts.alone,
    atPeak: facts.atPeak,
    inPlaceBlocked: isWrittenOver(ground, found.source, facts.alone?.from),
    weightGroup: facts.weightGroup,
    hazards: [],
    nodes: {
      shortcut: found.shortcut.flatMap((name) => namesOf(ground, name)),
      main: found.main.flatMap((name) => namesOf(ground, name)),
      merge,
    },
  };
}

/** Skips whose main paths multiply by the same weights; a weight that only one of them has makes no group. */
function weightGroups(canonical: Graph, found: readonly Found[]): ReadonlyMap<Found, string> {
  const byName = new Map(canonical.nodes.map((node) => [node.name, node]));
  const members = new Map<string, Found[]>();
  for (const skip of found) {
    const read = skip.main
      .flatMap((name) => byName.get(name) ?? [])
      .filter((node) => roleOf(node, 1) === "transform")
      .flatMap((node) => node.inputs)
      // Scales and zero points of quantized values are each use's own.
      .filter((name) => (canonical.initializers.get(name)?.shape.length ?? 0) > 1);
    if (read.length === 0) continue;
    const key = JSON.stringify([...new Set(read)].sort());
    const group = members.get(key);
    if (group === undefined) members.set(key, [skip]);
    else group.push(skip);
  }
  const shared = [...members.values()].filter((group) => group.length > 1);
  return new Map(shared.flatMap((group, i) => group.map((skip) => [skip, `w${i + 1}`] as const)));
}

/** The nodes of the file for which a canonical node stands; one inside a body is its own. */
function namesOf({ canonical, node }: Ground, name: string): readonly string[] {
  const found = node(name);
  return found === undefined ? [name] : originalsOf(canonical, found).map(originalName);
}

/**
 * What is no skip, by the nodes of the file: also what lies in a node that stands for several, and shapes
 * that were known before the first run.
 */
function namedNotSkips(ground: Ground, found: Census["notSkips"]): Census["notSkips"] {
  const { canonical, run } = ground;
  const byName = new Map(run.nodes.map((node) => [node.name, node]));
  const named = found.map(({ node, reason }) => ({
    node: namesOf(ground, node).at(-1) ?? node,
    reason,
  }));
  const inside = canonical.nodes.flatMap(
    (node) => insideOf(node, (name) => byName.get(name)) ?? [],
  );
  const shapes = [...new Set(canonical.folded?.values() ?? [])]
    .filter((node) => node.op === "Concat" && byName.has(node.name))
    .map((node) => ({ node: node.name, reason: REASONS.shape }));
  const rows = new Map([...named, ...inside, ...shapes].map((row) => [row.node, row]));
  const at = ({ node }: { node: string }): number => ground.positions.get(node) ?? 0;
  return [...rows.values()].toSorted((a, b) => at(a) - at(b));
}

/** Whether a node could write its result over a value that it reads. */
function isWrittenOver({ run }: Ground, source: ValueName, reader: string | undefined): boolean {
  const use = usesOf(run, source).find(({ node }) => node.name === reader);
  return use !== undefined && use.input >= 0 && operandWrittenOver(use.node) === use.input;
}

/** The stretch after the last other use of the source: what the skip alone keeps alive. */
function aliveAlone(ground: Ground, skip: Found): Skip["aliveOnlyForSkip"] {
  const own = new Set([...skip.shortcut, skip.merge]);
  const around = ground.bodies.get(skip.merge) ?? ground.canonical;
  const all = (indexOf(around).uses.get(skip.source) ?? []).map(({ node }) => ({
    own: own.has(node.name),
    last: lastRead(ground, node, skip.source),
  }));
  const at = (name: string): number => ground.peak.last(name) ?? 0;
  const latest = (mine: boolean): string | undefined =>
    all
      .filter((use) => use.own === mine)
      .map((use) => use.last)
      .toSorted((a, b) => at(b) - at(a))[0];
  const [last, until] = [latest(false), latest(true)];
  if (last === undefined || until === undefined || at(until) <= at(last)) return undefined;
  return { from: last, until };
}

/** Of the nodes that are run for a canonical node, the last that reads a value. */
function lastRead(ground: Ground, node: Node, value: ValueName): string {
  const inside = new Set((node.originals ?? []).map(originalName));
  const around = ground.runBodies.get([...inside][0] ?? "") ?? ground.run;
  const readers = (indexOf(around).uses.get(value) ?? []).map((use) => use.node.name);
  const found = readers.filter((name) => inside.has(name));
  const at = (name: string): number => ground.peak.last(name) ?? 0;
  return found.toSorted((a, b) => at(b) - at(a))[0] ?? node.name;
}

/** How many skips of which kind. */
export function countsOf(skips: readonly Skip[]): SkipCounts {
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
      .filter((node) => opOf(node) === undefined && !isKnownWord(node))
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
