// The largest of a range of numbers, where ranges are raised now and then: a segment tree.

/** Numbers at 0..size-1, all 0 at first. Both operations take O(log size). */
export class RangeMax {
  readonly #leaves: number;
  /** The largest number below each inner node, and what the whole stretch of the node was raised to. */
  readonly #largest: Float64Array;
  readonly #raised: Float64Array;

  constructor(size: number) {
    let leaves = 1;
    while (leaves < size) leaves *= 2;
    this.#leaves = leaves;
    this.#largest = new Float64Array(2 * leaves);
    this.#raised = new Float64Array(2 * leaves);
  }

  /** The largest number at first..last. */
  max(first: number, last: number): number {
    let found = 0;
    for (const node of this.#cover(first, last)) {
      found = Math.max(found, this.#largest[node] ?? 0);
      for (let up = node; up >= 1; up >>= 1) found = Math.max(found, this.#raised[up] ?? 0);
    }
    return found;
  }

  /** Numbers at first..last that are smaller become `to`. */
  raise(first: number, last: number, to: number): void {
    for (const node of this.#cover(first, last)) {
      this.#raised[node] = Math.max(this.#raised[node] ?? 0, to);
      for (let up = node; up >= 1; up >>= 1) {
        this.#largest[up] = Math.max(this.#largest[up] ?? 0, to);
      }
    }
  }

  /** The few nodes whose stretches together make up first..last. */
  #cover(first: number, last: number): number[] {
    const nodes: number[] = [];
    let [low, high] = [first + this.#leaves, last + this.#leaves + 1];
    for (; low < high; low >>= 1, high >>= 1) {
      if (low % 2 === 1) nodes.push(low++);
      if (high % 2 === 1) nodes.push(--high);
    }
    return nodes;
  }
}
