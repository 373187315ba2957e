// What a viewer shows of a picture: which blocks are folded, how near it is, what is looked at.

import type { Picture, PictureSkip } from "../../../src/analysis/picture/picture.ts";

/** What the details tell about: a skip, or the moment in which a node runs. */
export type Focus =
  | { readonly kind: "skip"; readonly skip: number }
  | { readonly kind: "moment"; readonly place: number };

/** How a viewer stands. */
export interface View {
  /** Ids of the blocks that are folded. */
  readonly folded: ReadonlySet<string>;
  readonly zoom: number;
  /** What was chosen by click, key or search. */
  readonly chosen: Focus | undefined;
}

/** Something that a search finds. */
export interface Hit {
  readonly focus: Focus;
  readonly text: string;
}

/** A view cannot come nearer than this. */
export const ZOOM_MAX = 40;
/** What a key or button makes of the zoom. */
export const ZOOM_STEP = 1.5;
/** More are counted, not listed. */
const HITS_MAX = 40;

/** The view after a key; undefined if the key means nothing here. */
export function keyed(picture: Picture, view: View, key: string): View | undefined {
  const { chosen, folded, zoom } = view;
  const last = picture.nodes.length - 1;
  const skip = chosen?.kind === "skip" ? chosen.skip : undefined;
  const place = chosen?.kind === "moment" ? chosen.place : undefined;
  const at = (focus: Focus): View => ({ ...view, chosen: focus });
  const toSkip = (to: number): View =>
    picture.skips.length === 0 ? view : at({ kind: "skip", skip: to });
  const toMoment = (to: number): View =>
    last < 0 ? view : at({ kind: "moment", place: Math.max(0, Math.min(last, to)) });
  const beside = (by: 1 | -1): View =>
    place === undefined ? toSkip(neighbour(picture, skip, by)) : toMoment(place + by);
  const outward = (way: "over" | "under"): View =>
    toSkip(skip === undefined ? neighbour(picture, undefined, 1) : across(picture, skip, way));
  switch (key) {
    case "ArrowRight":
      return beside(1);
    case "ArrowLeft":
      return beside(-1);
    case "ArrowUp":
      return outward("over");
    case "ArrowDown":
      return outward("under");
    case "Home":
      return place === undefined ? toSkip(neighbour(picture, undefined, 1)) : toMoment(0);
    case "End":
      return place === undefined ? toSkip(neighbour(picture, undefined, -1)) : toMoment(last);
    case "Enter":
    case " ":
      return skip === undefined ? view : { ...view, folded: toggledAround(picture, folded, skip) };
    case "m":
      return toMoment(picture.skips[skip ?? -1]?.to ?? picture.memory.peakAt);
    case "s":
      return toSkip(skip ?? nextSkip(picture, place ?? 0));
    case "Escape":
      return { ...view, chosen: undefined };
    default:
      return zoomed(key) === undefined ? undefined : { ...view, zoom: zoomed(key)?.(zoom) ?? zoom };
  }
}

function zoomed(key: string): ((zoom: number) => number) | undefined {
  const keys: Readonly<Record<string, (zoom: number) => number>> = {
    "+": (zoom) => Math.min(ZOOM_MAX, zoom * ZOOM_STEP),
    "-": (zoom) => Math.max(1, zoom / ZOOM_STEP),
    "0": () => 1,
  };
  return Object.hasOwn(keys, key) ? keys[key] : undefined;
}

/** The first skip that arrives at a node or after it. */
function nextSkip(picture: Picture, place: number): number {
  const after = readingOrder(picture).find((i) => (picture.skips[i]?.to ?? -1) >= place);
  return after ?? neighbour(picture, undefined, -1);
}

/** The skip beside one in reading order: by where they begin, longer ones first. */
function neighbour(picture: Picture, skip: number | undefined, step: 1 | -1): number {
  const order = readingOrder(picture);
  if (skip === undefined) return order[step === 1 ? 0 : order.length - 1] ?? 0;
  const at = order.indexOf(skip) + step;
  return order[Math.max(0, Math.min(order.length - 1, at))] ?? skip;
}

/** The shortest skip over this one, or the longest under it; itself if there is none. */
function across(picture: Picture, skip: number, way: "over" | "under"): number {
  const own = picture.skips[skip];
  if (own === undefined) return skip;
  let best = skip;
  for (const [i, other] of picture.skips.entries()) {
    const [outer, inner] = way === "over" ? [other, own] : [own, other];
    const around = outer.from <= inner.from && outer.to >= inner.to;
    if (!around || length(outer) <= length(inner)) continue;
    const current = picture.skips[best];
    const nearer =
      way === "over" ? length(other) < length(current) : length(other) > length(current);
    if (best === skip || nearer) best = i;
  }
  return best;
}

function length(skip: PictureSkip | undefined): number {
  return skip === undefined ? 0 : skip.to - skip.from;
}

function readingOrder({ skips }: Picture): number[] {
  return skips
    .map((_, i) => i)
    .sort((a, b) => {
      const [one, other] = [skips[a], skips[b]];
      return (one?.from ?? 0) - (other?.from ?? 0) || length(other) - length(one) || a - b;
    });
}

/** Nodes by name or op and skips by id, kind, source or merge that contain a text. */
export function search(picture: Picture, query: string): { hits: Hit[]; count: number } {
  const wanted = query.trim().toLowerCase();
  if (wanted === "") return { hits: [], count: 0 };
  const has = (...texts: readonly string[]): boolean =>
    texts.some((text) => text.toLowerCase().includes(wanted));
  const hits: Hit[] = [];
  let count = 0;
  const add = (hit: Hit): void => {
    count++;
    if (hits.length < HITS_MAX) hits.push(hit);
  };
  for (const [i, { id, kind, source, merge }] of picture.skips.entries()) {
    const exact = id === wanted;
    if (!exact && !has(kind, source, merge) && !has(id)) continue;
    const hit: Hit = {
      focus: { kind: "skip", skip: i },
      text: `${id} ${kind}: ${source} → ${merge}`,
    };
    if (exact) hits.unshift(hit);
    else add(hit);
    if (exact) count++;
  }
  for (const [place, { name, op }] of picture.nodes.entries()) {
    if (has(name, op)) add({ focus: { kind: "moment", place }, text: `${name} (${op})` });
  }
  return { hits, count };
}

/** The folded blocks without those that hide the places of a focus. */
export function unfoldedFor(
  picture: Picture,
  folded: ReadonlySet<string>,
  focus: Focus,
): Set<string> {
  const places =
    focus.kind === "moment"
      ? [focus.place]
      : [picture.skips[focus.skip]?.from ?? -1, picture.skips[focus.skip]?.to ?? -1];
  const hides = picture.blocks.filter(({ from, to }) =>
    places.some((one) => from <= one && one <= to),
  );
  return new Set([...folded].filter((id) => !hides.some((block) => block.id === id)));
}

/** What Enter does at a skip: opens the folded block around it, or folds the largest open one. */
function toggledAround(
  picture: Picture,
  folded: ReadonlySet<string>,
  skip: number,
): ReadonlySet<string> {
  const { to = -1 } = picture.skips[skip] ?? {};
  const around = picture.blocks.filter((block) => block.from <= to && to <= block.to);
  const closed = around.find(({ id }) => folded.has(id)) ?? around[0];
  return closed === undefined ? folded : toggled(folded, closed.id);
}

/** With a block folded that was not, or the other way round. */
export function toggled(folded: ReadonlySet<string>, id: string): Set<string> {
  const next = new Set(folded);
  if (!next.delete(id)) next.add(id);
  return next;
}

/** What is alive while a node runs, largest first, and for which skips alone. */
export function aliveAt(
  picture: Picture,
  place: number,
): {
  readonly value: string;
  readonly bytes: number;
  readonly until: number;
  readonly skips: readonly PictureSkip[];
}[] {
  return picture.memory.storages
    .filter(({ from, until }) => from <= place && place <= until)
    .map(({ value, bytes, until, skips }) => ({
      value,
      bytes,
      until,
      skips: skips.flatMap((i) => {
        const skip = picture.skips[i];
        const held = skip?.alone;
        return skip && held && held[0] <= place && place <= held[1] ? [skip] : [];
      }),
    }))
    .sort((a, b) => b.bytes - a.bytes);
}
