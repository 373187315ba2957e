// Offsets for storages in one block of memory: two that live at the same time do not overlap. Dynamic
// storage allocation is NP-hard; largest first into the tightest gap is within a few percent of the bound
// on networks, and other orders are tried where it is not at the bound.

import { Random } from "../../base/random.ts";
import type { Lifetime } from "./liveness.ts";

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
/** Storages looked at over all restarts: about half a second of one core. */
const WORK_MAX = 20_000_000;
/** Parts of the timeline by which storages are found. */
const STRETCHES = 512;

/** An arena for these lifetimes. */
export function planArena(lifetimes: readonly Lifetime[]): Arena {
  const blocks = lifetimes.map(({ bytes, from, until }) => ({ size: aligned(bytes), from, until }));
  const lowerBoundBytes = mostAlive(blocks);
  const sizeOf = (at: number): number => blocks[at]?.size ?? 0;
  const order = blocks
    .map((_, i) => i)
    .filter((i) => (blocks[i]?.size ?? 0) > 0)
    .sort((a, b) => (blocks[b]?.size ?? 0) - (blocks[a]?.size ?? 0) || a - b);
  const work = { left: WORK_MAX };
  let best = place(blocks, order, work);
  const random = new Random(1);
  for (let i = 0; i < RESTARTS && work.left > 0 && best.bytes > lowerBoundBytes; i++) {
    // Sizes blurred, differently each time: neighbours of the order by size change places.
    const blur = 1 + (i % 8);
    const keys = new Map(order.map((at) => [at, sizeOf(at) * (1 + blur * random.uniform())]));
    const next = place(
      blocks,
      order.toSorted((x, y) => (keys.get(y) ?? 0) - (keys.get(x) ?? 0)),
      work,
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
function place(blocks: readonly Block[], order: readonly number[], work: Work): Placement {
  const offsets = new Array<number>(blocks.length).fill(0);
  const placed = new Placed(blocks);
  let bytes = 0;
  for (const i of order) {
    const block = blocks[i];
    if (block === undefined) continue;
    let [end, best, tightest] = [0, -1, Number.POSITIVE_INFINITY];
    // Where the work runs out, the blocks that remain, the smallest, lie on top of all.
    const others = work.left > 0 ? placed.beside(block, work) : undefined;
    if (others === undefined) end = bytes;
    for (const at of (others ?? []).sort((x, y) => (offsets[x] ?? 0) - (offsets[y] ?? 0))) {
      const [offset, size] = [offsets[at] ?? 0, blocks[at]?.size ?? 0];
      const gap = offset - end;
      if (gap >= block.size && gap < tightest) [best, tightest] = [end, gap];
      end = Math.max(end, offset + size);
    }
    const offset = best >= 0 ? best : end;
    offsets[i] = offset;
    bytes = Math.max(bytes, offset + block.size);
    placed.add(i);
  }
  return { bytes, offsets };
}

interface Placement {
  readonly bytes: number;
  readonly offsets: readonly number[];
}

/** Blocks looked at that may still be. */
interface Work {
  left: number;
}

/** Blocks by the stretch of time in which they live, so that a short one is compared with few. */
class Placed {
  readonly #blocks: readonly Block[];
  readonly #stretches: number[][];
  readonly #width: number;
  /** The last question that each block was an answer to. */
  readonly #seen: Int32Array;
  #question = 0;

  constructor(blocks: readonly Block[]) {
    const end = blocks.reduce((most, { until }) => Math.max(most, until), 0);
    this.#blocks = blocks;
    this.#width = Math.ceil((end + 1) / STRETCHES);
    this.#stretches = Array.from({ length: STRETCHES }, () => []);
    this.#seen = new Int32Array(blocks.length);
  }

  add(at: number): void {
    for (const stretch of this.#during(this.#blocks[at])) stretch.push(at);
  }

  /** The blocks that live when this one does. */
  beside(block: Block, work: Work): number[] {
    this.#question++;
    const found: number[] = [];
    for (const stretch of this.#during(block)) {
      work.left -= stretch.length;
      for (const at of stretch) {
        const other = this.#blocks[at];
        if (other === undefined || this.#seen[at] === this.#question) continue;
        this.#seen[at] = this.#question;
        if (other.from <= block.until && block.from <= other.until) found.push(at);
      }
    }
    return found;
  }

  #during(block: Block | undefined): readonly number[][] {
    if (block === undefined) return [];
    const [first, last] = [block.from, block.until].map((at) => Math.floor(at / this.#width));
    return this.#stretches.slice(first, (last ?? 0) + 1);
  }
}
