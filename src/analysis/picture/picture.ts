// What a picture of skips shows, as plain data: the nodes in the order in which they run, the skips between
// them, blocks that can be folded, and what is alive while each node runs. Drawn by `draw.ts` and by the web
// page alike, and sent to the page as JSON.

import type { Graph, Node } from "../../graph/graph.ts";
import { subgraphs } from "../../graph/graph.ts";
import { originalName, ownOriginals } from "../../graph/original.ts";
import { indexOf } from "../../graph/query.ts";
import { lifetimesOf } from "../memory/liveness.ts";
import { bindBatch, memoryOf } from "../memory.ts";
import type { Census, Skip, SkipCounts } from "../skips/skip.ts";
import { roleOf } from "../skips/vocabulary.ts";
import { blocksOf, type PictureBlock, type PictureStage, stagesOf } from "./blocks.ts";

/** What a node is for the eye. */
export type PictureRole = "transform" | "merge" | "shortcut" | "other";

/** A node; its position in the list is its place on the main path. */
export interface PictureNode {
  readonly name: string;
  readonly op: string;
  readonly role: PictureRole;
}

/** A skip between two places of the main path. Places are positions of nodes; -1 is the input. */
export interface PictureSkip
  extends Pick<
    Skip,
    "id" | "kind" | "block" | "source" | "merge" | "span" | "activation" | "norm"
  > {
  readonly encoderDecoder: boolean;
  readonly from: number;
  readonly to: number;
  /** Size of the source; null where it is not known. */
  readonly bytes: number | null;
  readonly atPeak: boolean;
  /** First and last node while which the source is alive for this skip alone; null if there is none. */
  readonly alone: readonly [from: number, until: number] | null;
  /** Names of the nodes of the main path and of the shortcut. */
  readonly main: readonly string[];
  readonly shortcut: readonly string[];
  readonly hazards: readonly { readonly id: string; readonly text: string }[];
}

/** A value in memory, with the skips that alone keep it there and from when on. */
export interface PictureStorage {
  readonly value: string;
  readonly bytes: number;
  readonly from: number;
  readonly until: number;
  /** Positions in the list of skips. */
  readonly skips: readonly number[];
}

/** Everything that a picture shows. */
export interface Picture {
  readonly schema: "skipway.picture/1";
  readonly title: string;
  readonly batch: number;
  /** Of other symbolic dims. */
  readonly sizes: Readonly<Record<string, number>>;
  readonly counts: SkipCounts;
  readonly denseLinks: number;
  readonly input: string;
  readonly output: string;
  readonly nodes: readonly PictureNode[];
  readonly skips: readonly PictureSkip[];
  /** In file order, an outer block before those in it. */
  readonly blocks: readonly PictureBlock[];
  readonly stages: readonly PictureStage[];
  readonly memory: {
    readonly peakBytes: number;
    /** Position of the node at which the peak stands. */
    readonly peakAt: number;
    /** Alive while each node runs. */
    readonly bytes: readonly number[];
    /** Of these, alive for skips alone. */
    readonly skipBytes: readonly number[];
    /** Values whose size is not known; they count as nothing. */
    readonly unknown: number;
    readonly storages: readonly PictureStorage[];
  };
}

/**
 * Brings together what a picture shows.
 *
 * @param model with its shapes inferred; its dims are bound to the sizes of the census.
 */
export function pictureOf(model: Graph, census: Census, title: string = model.name): Picture {
  const { batch, sizes } = census;
  const graph = bindBatch(model, batch, sizes);
  const memory = memoryOf(graph, { batch, sizes });
  const places = placesOf(graph);
  const skips = census.skips.map((skip) => pictureSkip(graph, places, skip));
  const nodes = pictureNodes(graph, census, places);
  const [input] = graph.inputs.filter(({ name }) => !graph.initializers.has(name));
  const peakAt = memory.timeline.findIndex(({ bytes }) => bytes === memory.peakBytes);
  const storages = storagesOf(graph, skips);
  return {
    schema: "skipway.picture/1",
    title,
    batch,
    sizes,
    counts: census.counts,
    denseLinks: census.denseLinks,
    input: input?.name ?? "",
    output: graph.outputs[0]?.name ?? "",
    nodes,
    skips,
    blocks: blocksOf(nodes, skips),
    stages: stagesOf(nodes),
    memory: {
      peakBytes: memory.peakBytes,
      peakAt: Math.max(0, peakAt),
      bytes: memory.timeline.map(({ bytes }) => bytes),
      skipBytes: heldForSkips(nodes.length, storages, skips),
      unknown: memory.unknown,
      storages,
    },
  };
}

/** Positions by name: that of the node that is run, of those of the file it stands for, of those in bodies. */
function placesOf(graph: Graph): ReadonlyMap<string, number> {
  const places = new Map<string, number>();
  const note = (name: string, place: number): void => {
    if (!places.has(name)) places.set(name, place);
  };
  for (const [place, node] of graph.nodes.entries()) note(node.name, place);
  for (const [place, node] of graph.nodes.entries()) {
    for (const original of ownOriginals(node)) note(originalName(original), place);
    const open: Graph[] = [...subgraphs(node)];
    for (let body = open.pop(); body !== undefined; body = open.pop()) {
      for (const inner of body.nodes) {
        note(inner.name, place);
        open.push(...subgraphs(inner));
      }
    }
  }
  return places;
}

function pictureSkip(graph: Graph, places: ReadonlyMap<string, number>, skip: Skip): PictureSkip {
  const { producers, inputs, positions } = indexOf(graph);
  const to = places.get(skip.merge) ?? graph.nodes.length - 1;
  const maker = producers.get(skip.source);
  const known = maker === undefined ? undefined : positions.get(maker);
  const from = known ?? (inputs.has(skip.source) ? -1 : Math.max(-1, to - skip.distance));
  const alone = skip.aliveOnlyForSkip;
  const stretch = [places.get(alone?.from ?? ""), places.get(alone?.until ?? "")] as const;
  const [since, until] = stretch;
  return {
    id: skip.id,
    kind: skip.kind,
    block: skip.block,
    source: skip.source,
    merge: skip.merge,
    span: skip.span,
    activation: skip.activation,
    norm: skip.norm,
    encoderDecoder: skip.encoderDecoder,
    from: Math.min(from, to),
    to,
    bytes: skip.bytes ?? null,
    atPeak: skip.atPeak,
    // The node that reads it last for another purpose still needs it: the stretch begins after that.
    alone:
      alone === undefined || since === undefined || until === undefined || since >= until
        ? null
        : [since + 1, until],
    main: skip.nodes.main,
    shortcut: skip.nodes.shortcut,
    hazards: skip.hazards.map(({ id, text }) => ({ id, text })),
  };
}

function pictureNodes(
  graph: Graph,
  census: Census,
  places: ReadonlyMap<string, number>,
): PictureNode[] {
  const merges = new Set(census.skips.map((skip) => places.get(skip.merge)));
  const shortcuts = new Set(
    census.skips.flatMap((skip) => skip.nodes.shortcut.map((name) => places.get(name))),
  );
  const role = (node: Node, place: number): PictureRole => {
    if (merges.has(place)) return "merge";
    if (shortcuts.has(place)) return "shortcut";
    return roleOf(node, 1) === "transform" ? "transform" : "other";
  };
  return graph.nodes.map((node, place) => ({
    name: node.name,
    op: node.op,
    role: role(node, place),
  }));
}

/** Values in memory, with the skips for which alone they are there. */
function storagesOf(graph: Graph, skips: readonly PictureSkip[]): PictureStorage[] {
  const { lifetimes, storageOf } = lifetimesOf(graph);
  const keepers = new Map<string, number[]>();
  skips.forEach((skip, i) => {
    if (skip.alone === null) return;
    const storage = storageOf(skip.source);
    const list = keepers.get(storage);
    if (list === undefined) keepers.set(storage, [i]);
    else list.push(i);
  });
  return lifetimes
    .filter(({ bytes }) => bytes > 0)
    .map((one) => ({ ...one, skips: keepers.get(one.value) ?? [] }));
}

/** Bytes that are alive for skips alone while each node runs; what two skips hold counts once. */
function heldForSkips(
  count: number,
  storages: readonly PictureStorage[],
  skips: readonly PictureSkip[],
): number[] {
  const change = new Float64Array(count + 1);
  for (const storage of storages) {
    let [first, last] = [Number.POSITIVE_INFINITY, -1];
    for (const i of storage.skips) {
      const [from, until] = skips[i]?.alone ?? [first, last];
      first = Math.min(first, from);
      last = Math.max(last, until);
    }
    [first, last] = [Math.max(first, storage.from), Math.min(last, storage.until)];
    if (first > last) continue;
    change[first] = (change[first] ?? 0) + storage.bytes;
    change[last + 1] = (change[last + 1] ?? 0) - storage.bytes;
  }
  let held = 0;
  return Array.from({ length: count }, (_, i) => {
    held += change[i] ?? 0;
    return held;
  });
}
