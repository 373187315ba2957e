// The metrics core: families with declared labels. A series is resolved once; after that an update is an
// addition into a typed array (measured by `npm run bench -- metrics`).

import { assert } from "../base/assert.ts";
import { BucketedHistogram } from "./bucketed.ts";
import type { Exemplar, Family, FamilyHead, Labels, Sample } from "./exposition.ts";
import type { HistogramScale } from "./histogram.ts";
import { type Countable, SeriesTable } from "./series.ts";

/** What a family is and which labels its series have. */
export interface Definition extends FamilyHead {
  readonly labels: readonly string[];
}

/** A family of histograms: the scale of its exponential buckets and its classic bounds. */
export interface HistogramDefinition extends Definition {
  readonly scale: HistogramScale;
  readonly bounds: readonly number[];
}

/** A counter of one series. */
export class Counter implements Countable {
  readonly #slots: Slots;
  #at: number;
  #exemplar: Exemplar | undefined;

  constructor(slots: Slots) {
    this.#slots = slots;
    this.#at = slots.take();
  }

  get value(): number {
    return this.#slots.values[this.#at] ?? 0;
  }

  get exemplar(): Exemplar | undefined {
    return this.#exemplar;
  }

  /** Adds to it; `by` is not negative. */
  add(by = 1, exemplar?: Exemplar): void {
    const { values } = this.#slots;
    values[this.#at] = (values[this.#at] ?? 0) + by;
    if (exemplar !== undefined) this.#exemplar = exemplar;
  }

  absorb(gone: Counter): void {
    this.add(gone.value);
    gone.#slots.give(gone.#at);
    gone.#at = this.#at;
  }
}

/** A histogram of one series. */
export class HistogramSeries implements Countable {
  #data: BucketedHistogram;

  constructor(data: BucketedHistogram) {
    this.#data = data;
  }

  get data(): BucketedHistogram {
    return this.#data;
  }

  /** Records a value in the unit of the family. */
  record(value: number, exemplar?: Exemplar): void {
    this.#data.record(value, exemplar);
  }

  absorb(gone: HistogramSeries): void {
    this.#data.add(gone.#data);
    gone.#data = this.#data;
  }
}

/** The numbers of a family's counters, in one array that grows. */
class Slots {
  values: Float64Array = new Float64Array(16);
  readonly #free: number[] = [];
  #next = 0;

  take(): number {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#next === this.values.length) {
      const grown = new Float64Array(this.values.length * 2);
      grown.set(this.values);
      this.values = grown;
    }
    return this.#next++;
  }

  give(slot: number): void {
    this.values[slot] = 0;
    this.#free.push(slot);
  }
}

/** A family whose series are resolved by their label values, in the declared order. */
export interface Handles<T> {
  with(...values: readonly string[]): T;
  /** All series that there are. */
  entries(): Iterable<{ readonly labels: Labels; readonly handle: T }>;
}

interface Entry {
  readonly head: Definition;
  readonly collect: () => readonly Sample[];
  readonly table: SeriesTable<Counter> | SeriesTable<HistogramSeries> | undefined;
}

const DROPPED: Definition = {
  name: "skipway_metrics_label_overflow",
  type: "counter",
  help: "Times that labels found no series of their own, as their family had its most, and were counted as other",
  labels: ["family"],
};

/** All families of a process. */
export class MetricRegistry {
  readonly #entries = new Map<string, Entry>();

  constructor() {
    this.observe(DROPPED, () =>
      [...this.#entries.values()].flatMap(({ head, table }) =>
        table === undefined || table.refused === 0
          ? []
          : [{ labels: { family: head.name }, value: table.refused }],
      ),
    );
  }

  /** Declares counters. */
  counter(head: Omit<Definition, "type">, seriesMax?: number): Handles<Counter> {
    const slots = new Slots();
    const table = new SeriesTable(head.labels, () => new Counter(slots), seriesMax);
    const collect = (): Sample[] =>
      [...table.entries()].map(({ labels, handle }) => ({
        labels,
        value: handle.value,
        exemplar: handle.exemplar,
      }));
    this.#add({ head: { ...head, type: "counter" }, collect, table });
    return { with: (...values) => table.find(values), entries: () => table.entries() };
  }

  /** Declares histograms. */
  histogram(head: Omit<HistogramDefinition, "type">, seriesMax?: number): Handles<HistogramSeries> {
    const { scale, bounds, ...rest } = head;
    const make = (): HistogramSeries => new HistogramSeries(new BucketedHistogram(scale, bounds));
    const table = new SeriesTable(head.labels, make, seriesMax);
    const collect = (): Sample[] =>
      [...table.entries()].map(({ labels, handle }) => ({ labels, value: handle.data.value() }));
    this.#add({ head: { ...rest, type: "histogram" }, collect, table });
    return { with: (...values) => table.find(values), entries: () => table.entries() };
  }

  /** Declares a family that is asked for its samples whenever it is scraped. */
  observe(head: Definition, collect: () => readonly Sample[]): void {
    this.#add({ head, collect, table: undefined });
  }

  /** What counted for these labels is gone: its series give way when a family has its most. */
  retire(match: Labels): void {
    for (const { head, table } of this.#entries.values()) {
      const known = Object.keys(match).every((name) => head.labels.includes(name));
      if (known) table?.retire(match);
    }
  }

  /** All families with their samples. Those that have none yet are there by name. */
  collect(): Family[] {
    return [...this.#entries.values()].map(({ head: { labels: _, ...head }, collect }) => ({
      ...head,
      samples: collect(),
    }));
  }

  /** What there is. */
  definitions(): readonly Definition[] {
    return [...this.#entries.values()].map(({ head }) => head);
  }

  #add(entry: Entry): void {
    const { name, labels } = entry.head;
    assert(/^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(name), `${name} is a metric name`);
    assert(!this.#entries.has(name), `${name} is declared once`);
    for (const label of labels) assert(/^[a-zA-Z_]\w*$/.test(label), `${label} is a label name`);
    this.#entries.set(name, entry);
  }
}
