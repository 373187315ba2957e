// Offsets for storages in one block of memory: two that live at the same time do not overlap. Dynamic
// storage allocation is NP-hard; largest first into the tightest gap is within a few percent of the bound
// on networks, and other orders are tried where it is not at the bound.

import { Random } from "../../base/random.ts";
import type { Lifetime } from "../memory.ts";

/** Where each storage lies, in the order of the lifetimes given. */
export interface Arena {
  readonly bytes: number;
  /** Most bytes alive at once: no arena is smaller. */
  readonly lowerBoundBytes: number;
  readonly offsets: readonly number[];
}

/** Of the offsets, as runtimes align tensors for vector instructions. */
const ALIGNMENT = 64;
const RESTARTS = 200;
/** Comparisons of storages over all restarts. */
const WORK_MAX = 40_000_000;

/** An arena for these lifetimes. */
export function planArena(lifetimes: readonly Lifetime[]): Arena {
  const blocks = lifetimes.map(({ bytes, from, until }) => ({ size: aligned(bytes), from, until }));
  const lowerBoundBytes = mostAlive(blocks);
  const sizeOf = (at: number): number => blocks[at]?.size ?? 0;
  const order = blocks
    .map((_, i) => i)
    .filter((i) => (blocks[i]?.size ?? 0) > 0)
    .sort((a, b) => (blocks[b]?.size ?? 0) - (blocks[a]?.size ?? 0) || a - b);
  let best = place(blocks, order);
  const restarts = Math.min(RESTARTS, Math.floor(WORK_MAX / (order.length ** 2 + 1)));
  const random = new Random(1);
  for (let i = 0; i < restarts && best.bytes > lowerBoundBytes; i++) {
    // Sizes blurred, differently each time: neighbours of the order by size change places.
    const blur = 1 + (i % 8);
    const keys = new Map(order.map((at) => [at, sizeOf(at) * (1 + blur * random.uniform())]));
    const next = place(
      blocks,
      order.toSorted((x, y) => (keys.get(y) ?? 0) - (keys.get(x) ?? 0)),
    );
    if (next.bytes < best.bytes) best = next;
  }
  return { bytes: best.bytes, lowerBoundBytes, offsets: best.offsets };
}

interface Block {
  readonly size: number;
  readonly from: number;
  readonly until: number;
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

function mostAlive(blocks: readonly Block[]): number {
  const end = blocks.reduce((most, { until }) => Math.max(most, until), 0);
  const change = new Float64Array(end + 2);
  for (const { size, from, until } of blocks) {
    change[from] = (change[from] ?? 0) + size;
    change[until + 1] = (change[until + 1] ?? 0) - size;
  }
  let [alive, most] = [0, 0];
  for (const more of change) {
    alive += more;
    most = Math.max(most, alive);
  }
  return most;
}

/** Each block in turn into the tightest gap between those placed before that live when it does. */
function place(
  blocks: readonly Block[],
  order: readonly number[],
): { bytes: number; offsets: number[] } {
  const offsets = new Array<number>(blocks.length).fill(0);
  // Kept by offset, so that one walk finds all gaps.
  const placed: (Block & { readonly offset: number })[] = [];
  let bytes = 0;
  for (const i of order) {
    const block = blocks[i];
    if (block === undefined) continue;
    let [end, best, tightest] = [0, -1, Number.POSITIVE_INFINITY];
    for (const other of placed) {
      if (other.from > block.until || other.until < block.from) continue;
      const gap = other.offset - end;
      if (gap >= block.size && gap < tightest) [best, tightest] = [end, gap];
      end = Math.max(end, other.offset + other.size);
    }
    const offset = best >= 0 ? best : end;
    offsets[i] = offset;
    const at = placed.findIndex((other) => other.offset > offset);
    placed.splice(at < 0 ? placed.length : at, 0, { ...block, offset });
    bytes = Math.max(bytes, offset + block.size);
  }
  return { bytes, offsets };
}
