import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bestOrder, type OrderNode, type OrderProblem, peakOf } from "./order.ts";

/** The peak counted from the definition: alive from its maker to its last reader. */
function countedPeak({ nodes, bytes, inputs, outputs }: OrderProblem, order: number[]): number {
  const live = order.map((_, at) => {
    let total = 0;
    bytes.forEach((size, storage) => {
      const made = inputs.includes(storage)
        ? 0
        : order.findIndex((node) => nodes[node]?.makes.includes(storage));
      const read = order.map((node) => nodes[node]?.reads.includes(storage) === true);
      const last = outputs.includes(storage) ? order.length : read.lastIndexOf(true);
      if (made <= at && at <= Math.max(made, last)) total += size;
    });
    return total;
  });
  return Math.max(0, ...live);
}

function* ordersOf(nodes: readonly OrderNode[], done: number[] = []): Generator<number[]> {
  if (done.length === nodes.length) yield done;
  for (const [i, node] of nodes.entries()) {
    if (done.includes(i) || !node.after.every((one) => done.includes(one))) continue;
    yield* ordersOf(nodes, [...done, i]);
  }
}

/** Minimax over all sets of nodes, as bits; node i makes storage i + 1. */
function bestOverSets({ nodes, bytes, outputs }: OrderProblem): number {
  const peaks = new Array<number>(1 << nodes.length).fill(Number.POSITIVE_INFINITY);
  peaks[0] = 0;
  const has = (set: number, node: number): boolean => ((set >> node) & 1) === 1;
  for (const [set, peak] of peaks.entries()) {
    if (peak === Number.POSITIVE_INFINITY) continue;
    const live = bytes.reduce((sum, size, one) => {
      if (one > 0 && !has(set, one - 1)) return sum;
      const read = nodes.some((node, i) => !has(set, i) && node.reads.includes(one));
      return read || outputs.includes(one) || set === 0 ? sum + size : sum;
    }, 0);
    for (const [i, node] of nodes.entries()) {
      if (has(set, i) || !node.after.every((before) => has(set, before))) continue;
      const next = set | (1 << i);
      const during = Math.max(peak, live + (bytes[i + 1] ?? 0));
      peaks[next] = Math.min(peaks[next] ?? during, during);
    }
  }
  return peaks.at(-1) ?? 0;
}

/** Node i makes storage i + 1; storage 0 is the input. */
function problem(count: number): fc.Arbitrary<OrderProblem> {
  const node = fc.record({ reads: fc.array(fc.nat(), { maxLength: 3 }), size: fc.nat(9) });
  return fc.array(node, { minLength: 1, maxLength: count }).map((drawn) => {
    const nodes = drawn.map(({ reads }, i) => {
      const read = [...new Set(reads.map((one) => one % (i + 1)))];
      const after = read.filter((one) => one > 0).map((one) => one - 1);
      return { after, reads: read, makes: [i + 1] };
    });
    const bytes = [5, ...drawn.map(({ size }) => size)];
    const read = new Set(nodes.flatMap(({ reads }) => reads));
    const outputs = bytes.map((_, i) => i).filter((i) => i > 0 && !read.has(i));
    return { nodes, bytes, inputs: [0], outputs };
  });
}

describe("the best order", () => {
  test("has the smallest peak of all orders, and the peak that it says", () => {
    fc.assert(
      fc.property(problem(6), (one) => {
        const found = bestOrder(one);
        const peaks = [...ordersOf(one.nodes)].map((order) => countedPeak(one, order));
        expect(found.peakBytes).toBe(Math.min(...peaks));
        expect(found.optimal).toBe(true);
        expect(countedPeak(one, [...found.order])).toBe(found.peakBytes);
      }),
      { numRuns: 300 },
    );
  });

  test("is as good as the best over all sets of nodes, on 10,000 graphs of up to 9", () => {
    fc.assert(
      fc.property(problem(9), (one) => {
        expect(bestOrder(one).peakBytes).toBe(bestOverSets(one));
      }),
      { numRuns: 10_000 },
    );
  });

  test("out of work, says a bound that no order is below and an order that holds", () => {
    fc.assert(
      fc.property(problem(30), (one) => {
        const exact = bestOrder(one);
        const hurried = bestOrder(one, { workMax: 2 * one.nodes.length });
        expect(hurried.lowerBoundBytes).toBeLessThanOrEqual(exact.lowerBoundBytes);
        expect(hurried.peakBytes).toBeGreaterThanOrEqual(exact.lowerBoundBytes);
        expect(peakOf(one, hurried.order)).toBe(hurried.peakBytes);
        expect(new Set(hurried.order).size).toBe(one.nodes.length);
      }),
      { numRuns: 100 },
    );
  });
});
