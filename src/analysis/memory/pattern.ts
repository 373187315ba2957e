// How ONNX Runtime lays the buffers of a run into one block once it has seen a run of the same shapes (its
// memory pattern). Source: core/framework/mem_pattern_planner.h of onnxruntime.

/** One buffer of a run: its size, and the first and the last step at which it is held. */
interface Held {
  readonly bytes: number;
  readonly from: number;
  readonly until: number;
}

/** Blocks start on multiples of this (kAllocAlignment of onnxruntime). */
const ALIGNMENT = 256;

/** Size of the block: in the order of the run, each buffer goes into the tightest gap that holds it. */
export function patternBytes(buffers: readonly Held[]): number {
  const order = [...buffers].sort((a, b) => a.from - b.from);
  // By offset.
  let placed: { offset: number; end: number; until: number }[] = [];
  let size = 0;
  for (const { bytes, from, until } of order) {
    placed = placed.filter((one) => one.until >= from);
    const need = Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    const at = tightestGap(placed, need, size);
    const end = at.offset + need;
    placed.splice(at.index, 0, { offset: at.offset, end, until });
    size = Math.max(size, end);
  }
  return size;
}

/** Where it goes, and its place in the list. Behind the last one where no gap holds it. */
function tightestGap(
  placed: readonly { offset: number; end: number }[],
  need: number,
  size: number,
): { offset: number; index: number } {
  let free = 0;
  let best: { offset: number; index: number; waste: number } | undefined;
  const consider = (offset: number, index: number, gap: number): void => {
    const waste = gap - need;
    if (waste >= 0 && (best === undefined || waste < best.waste)) best = { offset, index, waste };
  };
  placed.forEach(({ offset, end }, index) => {
    consider(free, index, offset - free);
    free = Math.max(free, end);
  });
  consider(free, placed.length, size - free);
  return best ?? { offset: free, index: placed.length };
}
