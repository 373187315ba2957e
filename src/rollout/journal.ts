// Writing down how a rollout goes, behind its back: nothing that is decided waits for the disk, and what the disk
// refuses is written later. Decisions and events are written whole; how far it is, a few times a second.

import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type {
  RolloutCertificateRow,
  RolloutEventRow,
  RolloutLogChange,
  RolloutRow,
} from "../registry/rollouts.ts";
import type { Certificate, Records, RolloutNews } from "./record.ts";

/** Between two writes of how far it is, at the least. */
const KEEP_MS = 200;
/** So many times what it takes to put it together, since requests wait meanwhile: half a percent of the thread… */
const KEEP_TIMES = 200;
/** …but no longer than this, or, where that would be too much, three percent: what is not written is lost in a kill. */
const KEPT_WITHIN_MS = 800;
const KEEP_TIMES_LATE = 30;
/** After a write that failed. */
const RETRY_MS = 1000;

/** Writes down one rollout. */
export class Journal {
  readonly #records: Records;
  readonly #clock: Clock;
  readonly #row: (written: number) => RolloutRow & { readonly log: RolloutLogChange };
  /** Rows of the evidence that are written down. */
  #rows: number;
  readonly #webhooks: readonly string[];
  /** Called when events have been written down: from then on they can be sent. */
  readonly #onWritten: () => void;
  #events: RolloutEventRow[] = [];
  #certificates: RolloutCertificateRow[] = [];
  #writing: Promise<void> | undefined;
  #nextMs = 0;
  #changed = false;
  #fault: string | null = null;

  constructor(
    records: Records,
    clock: Clock,
    around: {
      /** What is to be written where so many rows of the evidence have been. */
      row(written: number): RolloutRow & { readonly log: RolloutLogChange };
      readonly rows: number;
      readonly webhooks: readonly string[];
      readonly onWritten: () => void;
    },
  ) {
    this.#records = records;
    this.#clock = clock;
    this.#row = around.row;
    this.#rows = around.rows;
    this.#webhooks = around.webhooks;
    this.#onWritten = around.onWritten;
  }

  /** Why the last write failed; null where it did not. */
  get fault(): string | null {
    return this.#fault;
  }

  /** Something happened, and is written at once. */
  tell(news: RolloutNews): void {
    const { id, rollout, atMs } = news;
    this.#events.push({ id, rollout, atMs, document: JSON.stringify(news) });
    this.#changed = true;
  }

  certify(certificate: Certificate): void {
    const { rollout, atMs, decision } = certificate;
    const document = JSON.stringify(certificate);
    this.#certificates.push({ rollout, atMs, decision, document });
    this.#changed = true;
  }

  /** There is more evidence than is written down. */
  touch(): void {
    this.#changed = true;
  }

  /** Writes what is due. Called all the time, and after every decision. */
  write(): void {
    const urgent = this.#events.length > 0 || this.#certificates.length > 0;
    const now = this.#clock.monotonicMs();
    const waits = now < this.#nextMs && (!urgent || this.#fault !== null);
    if (!this.#changed || this.#writing !== undefined || waits) return;
    this.#writing = this.#writeNow(urgent).finally(() => {
      this.#writing = undefined;
      // What came meanwhile.
      if (this.#events.length > 0 && this.#fault === null) this.write();
    });
  }

  /** Writes everything, whether it is due or not. */
  async end(): Promise<void> {
    await this.#writing;
    this.#changed = true;
    await this.#writeNow(true);
  }

  async #writeNow(decision: boolean): Promise<void> {
    const events = this.#events.splice(0);
    const certificates = this.#certificates.splice(0);
    this.#changed = false;
    const from = this.#clock.monotonicMs();
    try {
      const rollout = this.#row(this.#rows);
      const tookMs = this.#clock.monotonicMs() - from;
      await (decision
        ? this.#records.write({ rollout, events, certificates, webhooks: this.#webhooks })
        : this.#records.keep(rollout));
      this.#rows = rollout.log.end;
      this.#fault = null;
      if (events.length > 0) this.#onWritten();
      const latestMs = Math.max(KEPT_WITHIN_MS, KEEP_TIMES_LATE * tookMs);
      const pauseMs = Math.min(latestMs, Math.max(KEEP_MS, KEEP_TIMES * tookMs));
      this.#nextMs = this.#clock.monotonicMs() + pauseMs;
    } catch (error) {
      this.#fault = messageOf(error);
      this.#events.unshift(...events);
      this.#certificates.unshift(...certificates);
      this.#changed = true;
      this.#nextMs = this.#clock.monotonicMs() + RETRY_MS;
    }
  }
}
