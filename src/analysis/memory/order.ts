// The order of nodes with the smallest peak, by best-first search over the sets of nodes that have run
// (a bottleneck shortest path). What is alive depends only on the set, so equal sets are one state. Speaks
// of numbered nodes and storages, not of graphs.

/** Nodes with the storages that they read and make, all numbered from 0. */
export interface OrderProblem {
  readonly nodes: readonly OrderNode[];
  readonly bytes: readonly number[];
  /** Storages alive before the first node. */
  readonly inputs: readonly number[];
  /** Storages alive to the end. */
  readonly outputs: readonly number[];
}

/** One node: nodes that come before it, storages that it reads and makes; each named once. */
export interface OrderNode {
  readonly after: readonly number[];
  readonly reads: readonly number[];
  readonly makes: readonly number[];
}

/** An order with its peak. `optimal` where `peakBytes` equals `lowerBoundBytes`, which every order reaches. */
export interface BestOrder {
  readonly order: readonly number[];
  readonly peakBytes: number;
  readonly lowerBoundBytes: number;
  readonly optimal: boolean;
  /** Sets of nodes that were looked at. */
  readonly states: number;
}

/** Steps of the search over all sets, in nodes: about a second of one core. */
const WORK_MAX = 30_000_000;

interface State {
  readonly done: Uint32Array;
  readonly count: number;
  readonly peak: number;
  /** Nodes run since `before`. */
  readonly ran: readonly number[];
  readonly before: State | undefined;
}

/** The best order, and a proof of it unless the search grows too large: then the best one known. */
export function bestOrder(problem: OrderProblem, options: { workMax?: number } = {}): BestOrder {
  const given = problem.nodes.map((_, node) => node);
  const givenPeak = peakOf(problem, given);
  const floor = largestNode(problem);
  if (givenPeak <= floor) return answer(given, givenPeak, floor, 0);
  const run = new Run(problem);
  const budget = (options.workMax ?? WORK_MAX) / Math.max(1, problem.nodes.length);
  const seen = new Set<string>();
  const queue = new Heap();
  const push = (state: State): void => {
    const key = String.fromCharCode(...new Uint16Array(state.done.buffer));
    // Pushed with the smallest peak first or popped so: a set is done when it is popped the first time.
    if (!seen.has(key)) queue.push(state, key);
  };
  push(run.settle(run.start(floor), []));
  let states = 0;
  let bound = floor;
  let best: State | undefined;
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    const { state, key } = next;
    if (seen.has(key)) continue;
    seen.add(key);
    bound = state.peak;
    best = state;
    if (state.count === problem.nodes.length || bound >= givenPeak) break;
    if (++states > budget) break;
    run.load(state);
    for (const node of run.ready()) {
      run.load(state);
      push(run.settle(state, [node]));
    }
  }
  if (best !== undefined && best.count < problem.nodes.length && bound < givenPeak) {
    best = run.finish(best);
  }
  const complete = best?.count === problem.nodes.length && best.peak < givenPeak;
  if (best === undefined || !complete) return answer(given, givenPeak, bound, states);
  return answer(pathOf(best), peakOf(problem, pathOf(best)), bound, states);
}

function answer(
  order: readonly number[],
  peakBytes: number,
  bound: number,
  states: number,
): BestOrder {
  const lowerBoundBytes = Math.min(bound, peakBytes);
  return { order, peakBytes, lowerBoundBytes, optimal: lowerBoundBytes === peakBytes, states };
}

/** Most bytes alive at once when the nodes run in this order. */
export function peakOf(problem: OrderProblem, order: readonly number[]): number {
  const run = new Run(problem);
  for (const node of order) run.step(node);
  return run.peak;
}

/** No order does with less than what one node reads and makes, or the inputs at the start. */
function largestNode({ nodes, bytes, inputs, outputs }: OrderProblem): number {
  const sum = (storages: Iterable<number>): number => {
    let total = 0;
    for (const one of storages) total += bytes[one] ?? 0;
    return total;
  };
  let most = Math.max(nodes.length > 0 ? sum(inputs) : 0, sum(new Set(outputs)));
  for (const { reads, makes } of nodes) most = Math.max(most, sum(new Set([...reads, ...makes])));
  return most;
}

function pathOf(state: State): number[] {
  const parts: (readonly number[])[] = [];
  for (let at: State | undefined = state; at !== undefined; at = at.before) parts.push(at.ran);
  return parts.reverse().flat();
}

/** The nodes that have run, and what follows from that. */
class Run {
  peak = 0;
  #live = 0;
  #count = 0;
  readonly #problem: OrderProblem;
  readonly #done: Uint8Array;
  /** Nodes that each node still waits for, and reads of each storage still to come. */
  readonly #waits: Int32Array;
  readonly #reads: Int32Array;
  readonly #waitsAtStart: Int32Array;
  readonly #readsAtStart: Int32Array;
  readonly #followers: readonly (readonly number[])[];

  constructor(problem: OrderProblem) {
    const { nodes, bytes, outputs } = problem;
    const followers: number[][] = nodes.map(() => []);
    this.#problem = problem;
    this.#done = new Uint8Array(nodes.length);
    this.#waitsAtStart = Int32Array.from(nodes, (node) => node.after.length);
    this.#readsAtStart = new Int32Array(bytes.length);
    nodes.forEach((node, i) => {
      for (const before of node.after) followers[before]?.push(i);
      for (const read of node.reads) this.#readsAtStart[read] = this.#toRead(read, 1);
    });
    // An output is read once more than any node does.
    for (const output of outputs) this.#readsAtStart[output] = this.#toRead(output, 1);
    this.#followers = followers;
    this.#waits = this.#waitsAtStart.slice();
    this.#reads = this.#readsAtStart.slice();
    this.#reset();
  }

  #toRead(storage: number, more: number): number {
    return (this.#readsAtStart[storage] ?? 0) + more;
  }

  #reset(): void {
    this.#done.fill(0);
    this.#waits.set(this.#waitsAtStart);
    this.#reads.set(this.#readsAtStart);
    this.#count = 0;
    this.#live = this.#problem.inputs.reduce((sum, one) => sum + this.#bytes(one), 0);
    this.peak = 0;
  }

  #bytes(storage: number): number {
    return this.#problem.bytes[storage] ?? 0;
  }

  start(peak: number): State {
    this.#reset();
    const done = new Uint32Array(Math.ceil(this.#done.length / 32));
    return { done, count: 0, peak, ran: [], before: undefined };
  }

  /** Goes to a state. */
  load(state: State): void {
    this.#reset();
    for (let node = 0; node < this.#done.length; node++) {
      if (((state.done[node >> 5] ?? 0) >>> (node & 31)) & 1) this.step(node);
    }
    this.peak = state.peak;
  }

  ready(): number[] {
    const found: number[] = [];
    for (let node = 0; node < this.#done.length; node++) if (this.#isReady(node)) found.push(node);
    return found;
  }

  #isReady(node: number): boolean {
    return this.#done[node] === 0 && this.#waits[node] === 0;
  }

  /** Bytes alive while a node runs, and after it. */
  #costOf(node: number): { during: number; after: number } {
    const { reads = [], makes = [] } = this.#problem.nodes[node] ?? {};
    let during = this.#live;
    for (const one of makes) during += this.#bytes(one);
    let after = during;
    for (const one of reads) if (this.#reads[one] === 1) after -= this.#bytes(one);
    for (const one of makes) if (this.#reads[one] === 0) after -= this.#bytes(one);
    // Inputs that nobody reads are alive while the first node runs.
    if (this.#count === 0) {
      for (const one of this.#problem.inputs) if (this.#reads[one] === 0) after -= this.#bytes(one);
    }
    return { during, after };
  }

  step(node: number): void {
    const { during, after } = this.#costOf(node);
    this.peak = Math.max(this.peak, during);
    this.#live = after;
    this.#done[node] = 1;
    this.#count++;
    for (const one of this.#problem.nodes[node]?.reads ?? []) {
      this.#reads[one] = (this.#reads[one] ?? 0) - 1;
    }
    for (const one of this.#followers[node] ?? []) this.#waits[one] = (this.#waits[one] ?? 0) - 1;
  }

  /**
   * Runs the given nodes, then every ready node that leaves no more alive than there was and stays below the
   * peak so far. In any order of what remains, such a node can be moved to the front: what it frees, it
   * frees at any later set too, so nothing gets larger.
   */
  settle(before: State, first: readonly number[]): State {
    const ran = [...first];
    for (const node of first) this.step(node);
    this.peak = Math.max(this.peak, before.peak);
    let open = this.ready();
    // Not at the start: what the first node frees, the inputs that nobody reads, any other would free.
    for (let found = this.#count > 0; found; ) {
      found = false;
      const next: number[] = [];
      for (const node of open) {
        const { during, after } = this.#costOf(node);
        if (during > this.peak || after > this.#live) {
          next.push(node);
          continue;
        }
        this.step(node);
        ran.push(node);
        found = true;
        for (const one of this.#followers[node] ?? []) if (this.#isReady(one)) next.push(one);
      }
      open = [...new Set(next)];
    }
    return this.#stateAfter(before, ran);
  }

  #stateAfter(before: State, ran: readonly number[]): State {
    const done = before.done.slice();
    for (const node of ran) done[node >> 5] = (done[node >> 5] ?? 0) | (1 << (node & 31));
    return { done, count: this.#count, peak: this.peak, ran, before };
  }

  /** Any end of an order: always the ready node that needs least. */
  finish(state: State): State {
    this.load(state);
    const ran: number[] = [];
    for (let ready = this.ready(); ready.length > 0; ready = this.ready()) {
      let best = { node: ready[0] ?? 0, during: Number.POSITIVE_INFINITY, after: 0 };
      for (const node of ready) {
        const cost = this.#costOf(node);
        const less = cost.during - best.during || cost.after - best.after;
        if (less < 0) best = { node, ...cost };
      }
      this.step(best.node);
      ran.push(best.node);
    }
    return this.#stateAfter(state, ran);
  }
}

interface Entry {
  readonly state: State;
  readonly key: string;
}

/** States by peak; of equal ones the farthest first. */
class Heap {
  readonly #items: Entry[] = [];

  push(state: State, key: string): void {
    let at = this.#items.push({ state, key }) - 1;
    while (at > 0 && this.#before(at, (at - 1) >> 1)) {
      this.#swap(at, (at - 1) >> 1);
      at = (at - 1) >> 1;
    }
  }

  pop(): Entry | undefined {
    const [top] = this.#items;
    const last = this.#items.pop();
    if (last === undefined || this.#items.length === 0) return top;
    this.#items[0] = last;
    for (let at = 0; ; ) {
      const left = 2 * at + 1;
      if (left >= this.#items.length) break;
      const right = left + 1;
      const child = right < this.#items.length && this.#before(right, left) ? right : left;
      if (!this.#before(child, at)) break;
      this.#swap(child, at);
      at = child;
    }
    return top;
  }

  #before(a: number, b: number): boolean {
    const [x, y] = [this.#items[a]?.state, this.#items[b]?.state];
    if (x === undefined || y === undefined) return false;
    return x.peak < y.peak || (x.peak === y.peak && x.count > y.count);
  }

  #swap(a: number, b: number): void {
    const [x, y] = [this.#items[a], this.#items[b]];
    if (x === undefined || y === undefined) return;
    this.#items[a] = y;
    this.#items[b] = x;
  }
}
