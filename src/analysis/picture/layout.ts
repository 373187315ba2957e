// Where everything of a picture stands, in pixels. Pure and quick: a page lays out anew whenever a block is
// folded. x follows the order in which nodes run, so the arcs stand over the memory that they hold.

import type { PictureBlock } from "./blocks.ts";
import type { Picture, PictureSkip } from "./picture.ts";
import { RangeMax } from "./range-max.ts";

/** What a layout is asked for. */
export interface LayoutOptions {
  /** Width to aim at; a picture that would be unreadable in it becomes wider. */
  readonly width: number;
  /** Ids of the blocks that are folded. */
  readonly folded: ReadonlySet<string>;
  /** How much wider everything is than it would be; 1 by default. */
  readonly zoom?: number;
}

/** A skip as a curve from (x1, base) over a lane to (x2, base). */
export interface PlacedSkip {
  readonly skip: PictureSkip;
  readonly x1: number;
  readonly x2: number;
  /** Pixels above the main path. */
  readonly height: number;
  readonly stroke: number;
}

/** A block with its edges. */
export interface PlacedBlock {
  readonly block: PictureBlock;
  readonly left: number;
  readonly right: number;
  readonly folded: boolean;
}

/** A picture laid out. y grows downwards from the top of the arcs. */
export interface PictureLayout {
  readonly width: number;
  /** Left edge of the slot of each place, the input first; one more for the end. */
  readonly edges: Float64Array;
  readonly skips: readonly PlacedSkip[];
  /** Those that are folded, and those that could be. */
  readonly blocks: readonly PlacedBlock[];
  /** Height of the highest arc. */
  readonly reach: number;
  /** Whether a node stands in a folded block. */
  readonly inFold: Uint8Array;
}

/** Left and right of the picture's content. */
export const MARGIN = 28;
const PITCH_MIN = 9;
const PITCH_MAX = 22;
const WIDTH_MAX = 6000;
/** Pixels for each skip in a folded block. */
const FOLDED_SKIP_MIN = 7;
const FOLDED_SKIP_MAX = 30;
const FOLDED_MIN = 40;
/** Share of the room for what is not folded. */
const OPEN_SHARE = 0.5;
const REACH_MAX = 340;
const LANE_GAP = 17;
const LOWEST = 15;
const STROKE_MIN = 1.4;
const STROKE_SPAN = 3;

/** Blocks that a picture folds when it opens: runs of equal blocks, if it is too wide without. */
export function foldedAtFirst(picture: Picture, width: number): Set<string> {
  if (picture.nodes.length * PITCH_MIN <= width) return new Set();
  return new Set(picture.blocks.filter(({ repeats }) => repeats > 1).map(({ id }) => id));
}

/** Lays out a picture. O(nodes + skips · log nodes). */
export function layoutPicture(picture: Picture, options: LayoutOptions): PictureLayout {
  const { edges, inFold } = slots(picture, options);
  const heights = lanes(picture, edges);
  let [reach, most] = [0, 1];
  for (const height of heights) reach = Math.max(reach, height);
  for (const { bytes } of picture.skips) most = Math.max(most, bytes ?? 0);
  const scale = reach > REACH_MAX ? REACH_MAX / reach : 1;
  const ports = portsOf(picture.skips, edges);
  return {
    width: Math.ceil((edges.at(-1) ?? 0) + MARGIN),
    edges,
    inFold,
    reach: reach * scale,
    skips: picture.skips.map((skip, i) => ({
      skip,
      x1: ports.x1[i] ?? 0,
      x2: ports.x2[i] ?? 0,
      height: (heights[i] ?? 0) * scale,
      stroke: STROKE_MIN + STROKE_SPAN * Math.sqrt((skip.bytes ?? 0) / most),
    })),
    blocks: shownBlocks(picture.blocks, edges, options.folded),
  };
}

/** The middle of the slot of a node; -1 is the input. */
export function xOf(edges: Float64Array, place: number): number {
  return ((edges[place + 1] ?? 0) + (edges[place + 2] ?? 0)) / 2;
}

/** The node whose slot an x lies in; -1 is the input. By bisection. */
export function placeAt(edges: Float64Array, x: number): number {
  let [low, high] = [0, edges.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((edges[middle] ?? 0) <= x) low = middle;
    else high = middle;
  }
  return low - 1;
}

/** The curve of a skip in the syntax of SVG paths: a bow where it is short, a lane where it is long. */
export function pathOf({ x1, x2, height }: PlacedSkip, base: number): string {
  const [left, right, foot] = [round(x1), round(x2), round(base)];
  const wide = x2 - x1;
  if (wide < 3 * height || wide < 60) {
    const control = round(base - height * (4 / 3));
    return `M${left} ${foot}C${left} ${control} ${right} ${control} ${right} ${foot}`;
  }
  const corner = round(Math.min(14, height));
  const top = round(base - height);
  return `M${left} ${foot}V${round(top + corner)}Q${left} ${top} ${round(left + corner)} ${top}H${round(right - corner)}Q${right} ${top} ${right} ${round(top + corner)}V${foot}`;
}

/** To a tenth of a pixel. */
export function round(value: number): number {
  return Math.round(value * 10) / 10;
}

/** Edges of the slots. Nodes of a folded block share the room of its skips. */
function slots(
  picture: Picture,
  { width, folded, zoom = 1 }: LayoutOptions,
): { edges: Float64Array; inFold: Uint8Array } {
  const count = picture.nodes.length;
  const inFold = new Uint8Array(count);
  const folds: PictureBlock[] = [];
  for (const block of picture.blocks) {
    if (!folded.has(block.id) || inFold[block.from] === 1) continue;
    inFold.fill(1, block.from, block.to + 1);
    folds.push(block);
  }
  const open = 2 + count - inFold.reduce((total, one) => total + one, 0);
  const held = folds.reduce((total, { skips }) => total + Math.max(1, skips), 0);
  const room = Math.min(WIDTH_MAX, Math.max(width, 200)) - 2 * MARGIN;
  const pitchMin = Math.min(PITCH_MIN, (WIDTH_MAX - 2 * MARGIN) / (open + held));
  const pitch = clamp((room * (held === 0 ? 1 : OPEN_SHARE)) / open, pitchMin, PITCH_MAX);
  const perSkip = clamp(
    (room - pitch * open) / Math.max(1, held),
    FOLDED_SKIP_MIN,
    FOLDED_SKIP_MAX,
  );
  const widths = new Float64Array(count).fill(pitch);
  for (const { from, to, skips } of folds) {
    const all = Math.max(perSkip * Math.max(1, skips), FOLDED_MIN);
    // A folded block is never wider than it is open.
    widths.fill(Math.min(pitch, all / (to - from + 1)), from, to + 1);
  }
  const edges = new Float64Array(count + 3);
  edges[0] = MARGIN;
  edges[1] = MARGIN + pitch;
  for (let i = 0; i < count; i++) edges[i + 2] = (edges[i + 1] ?? 0) + (widths[i] ?? 0);
  edges[count + 2] = (edges[count + 1] ?? 0) + pitch;
  return { edges: edges.map((x) => MARGIN + (x - MARGIN) * zoom), inFold };
}

function clamp(value: number, low: number, high: number): number {
  return Math.max(low, Math.min(high, value));
}

/**
 * Heights of the arcs: each stands above every shorter one that it overlaps, so none lies upon another. Short ones
 * are placed first; long ones pass over them in lanes of their own.
 */
function lanes(picture: Picture, edges: Float64Array): Float64Array {
  const { skips, nodes } = picture;
  const order = skips
    .map((_, i) => i)
    .sort((a, b) => lengthOf(skips[a]) - lengthOf(skips[b]) || a - b);
  const heights = new Float64Array(skips.length);
  const occupied = new RangeMax(nodes.length + 1);
  for (const i of order) {
    const { from = 0, to = 0 } = skips[i] ?? {};
    // Stretch k lies between the places k - 1 and k: arcs that only share an end do not overlap.
    // One that begins and ends at the same node, in its body, stands over both sides of it.
    const [first, last] = from === to ? [to, to + 1] : [from + 1, to];
    const below = occupied.max(first, last);
    const wide = xOf(edges, to) - xOf(edges, from);
    const own = LOWEST + Math.min(26, wide * 0.16);
    heights[i] = below === 0 ? own : Math.max(own, below + LANE_GAP);
    occupied.raise(first, last, heights[i] ?? 0);
  }
  return heights;
}

function lengthOf(skip: PictureSkip | undefined): number {
  return skip === undefined ? 0 : skip.to - skip.from;
}

/** Where arcs leave and arrive: beside each other, the longer ones outside, so that their feet do not cross. */
function portsOf(
  skips: readonly PictureSkip[],
  edges: Float64Array,
): { x1: Float64Array; x2: Float64Array } {
  const spread = (end: "from" | "to", sign: 1 | -1): Float64Array => {
    const places = new Map<number, number[]>();
    skips.forEach((skip, i) => {
      const list = places.get(skip[end]);
      if (list === undefined) places.set(skip[end], [i]);
      else list.push(i);
    });
    const xs = new Float64Array(skips.length);
    for (const [place, list] of places) {
      list.sort((a, b) => lengthOf(skips[b]) - lengthOf(skips[a]) || b - a);
      const room = ((edges[place + 2] ?? 0) - (edges[place + 1] ?? 0)) * 0.42;
      list.forEach((i, k) => {
        const step = list.length === 1 ? Math.min(1.5, room / 2) : (room * k) / (list.length - 1);
        xs[i] = xOf(edges, place) + sign * step;
      });
    }
    return xs;
  };
  return { x1: spread("from", 1), x2: spread("to", -1) };
}

/** Folded blocks, and open ones that do not lie in a folded one. */
function shownBlocks(
  blocks: readonly PictureBlock[],
  edges: Float64Array,
  folded: ReadonlySet<string>,
): PlacedBlock[] {
  const shown: PlacedBlock[] = [];
  let foldedTo = -1;
  for (const block of blocks) {
    if (block.from <= foldedTo) continue;
    const isFolded = folded.has(block.id);
    if (isFolded) foldedTo = block.to;
    const [left, right] = [edges[block.from + 1] ?? 0, edges[block.to + 2] ?? 0];
    shown.push({ block, left, right, folded: isFolded });
  }
  return shown;
}
