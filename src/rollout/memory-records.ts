// Rollouts of a server without a data folder: kept as long as it runs, bounded, in the form of the store.

import { SkipwayError } from "../base/errors.ts";
import type {
  RolloutCertificateRow,
  RolloutDelivery,
  RolloutEventRow,
  RolloutLog,
  RolloutRequestRow,
  RolloutRow,
  RolloutWrite,
  Undelivered,
} from "../registry/rollouts.ts";
import type { Records } from "./record.ts";

/** Rollouts that are remembered. */
const ROLLOUTS_MAX = 100;

/** Keeps rollouts in memory. */
export class MemoryRecords implements Records {
  readonly #rollouts = new Map<string, RolloutRow>();
  readonly #logs = new Map<string, readonly RolloutLog[]>();
  readonly #events = new Map<string, RolloutEventRow>();
  readonly #certificates: RolloutCertificateRow[] = [];
  readonly #deliveries = new Map<string, RolloutDelivery>();
  #requests = new Map<string, RolloutRequestRow>();

  claim(): boolean {
    return true;
  }

  async write({ rollout, events, certificates, webhooks }: RolloutWrite): Promise<void> {
    await this.keep(rollout);
    for (const event of events) {
      if (this.#events.has(event.id)) continue;
      this.#events.set(event.id, event);
      for (const webhook of webhooks) {
        const due = { event, webhook, attempts: 0 };
        this.#deliveries.set(`${event.id} ${webhook}`, due);
      }
    }
    this.#certificates.push(...certificates);
    this.#forget();
  }

  async keep(rollout: RolloutRow): Promise<void> {
    const other = [...this.#rollouts.values()].find(
      ({ id, model, active }) => active && id !== rollout.id && model === rollout.model,
    );
    if (rollout.active && other !== undefined) {
      throw new SkipwayError("environment", `another rollout of ${rollout.model} is active`);
    }
    const { log, ...row } = rollout;
    this.#rollouts.set(row.id, row);
    if (!row.active) this.#logs.delete(row.id);
    else if (log !== undefined) {
      const { first, ...part } = log;
      const before = this.#logs.get(row.id) ?? [];
      const kept = before.filter(({ from, end }) => end > first && from < part.from);
      this.#logs.set(row.id, [...kept, part]);
    }
  }

  async log(rollout: string): Promise<readonly RolloutLog[]> {
    return this.#logs.get(rollout) ?? [];
  }

  async active(): Promise<RolloutRow[]> {
    return [...this.#rollouts.values()].filter(({ active }) => active);
  }

  async list(count: number, model?: string): Promise<RolloutRow[]> {
    const all = [...this.#rollouts.values()].reverse();
    return all.filter((one) => model === undefined || one.model === model).slice(0, count);
  }

  async rollout(id: string): Promise<RolloutRow | undefined> {
    return this.#rollouts.get(id);
  }

  async events(rollout: string, count: number): Promise<RolloutEventRow[]> {
    return [...this.#events.values()].filter((one) => one.rollout === rollout).slice(-count);
  }

  async lastEvents(count: number): Promise<RolloutEventRow[]> {
    return [...this.#events.values()].slice(-count);
  }

  async certificates(rollout: string, last?: number): Promise<RolloutCertificateRow[]> {
    const all = this.#certificates.filter((one) => one.rollout === rollout);
    return last === undefined ? all : all.slice(-last);
  }

  async due(webhook: string, count: number): Promise<RolloutDelivery[]> {
    const all = [...this.#deliveries.values()];
    return all.filter((one) => one.webhook === webhook).slice(0, count);
  }

  async undelivered(webhook: string): Promise<Undelivered> {
    const all = [...this.#deliveries.values()].filter((one) => one.webhook === webhook);
    const times = all.map(({ event }) => event.atMs);
    return { count: all.length, oldestMs: times.length === 0 ? null : Math.min(...times) };
  }

  async delivered(event: string, webhook: string): Promise<void> {
    this.#deliveries.delete(`${event} ${webhook}`);
  }

  async failed(event: string, webhook: string, attempts: number): Promise<void> {
    const key = `${event} ${webhook}`;
    const found = this.#deliveries.get(key);
    if (found !== undefined) this.#deliveries.set(key, { ...found, attempts });
  }

  async keepWebhooks(names: readonly string[]): Promise<void> {
    for (const [key, { webhook }] of this.#deliveries) {
      if (!names.includes(webhook)) this.#deliveries.delete(key);
    }
  }

  async remember(requests: readonly RolloutRequestRow[], beforeMs: number): Promise<void> {
    for (const one of requests) this.#requests.set(one.request, one);
    const kept = [...this.#requests].filter(([, { atMs }]) => atMs >= beforeMs);
    this.#requests = new Map(kept);
  }

  async requests(requests: readonly string[]): Promise<RolloutRequestRow[]> {
    return requests.flatMap((request) => this.#requests.get(request) ?? []);
  }

  #forget(): void {
    for (const [id, { active }] of this.#rollouts) {
      if (this.#rollouts.size <= ROLLOUTS_MAX) return;
      if (active) continue;
      this.#rollouts.delete(id);
      for (const [key, { rollout }] of this.#events) if (rollout === id) this.#events.delete(key);
      for (let i = this.#certificates.length - 1; i >= 0; i--) {
        if (this.#certificates[i]?.rollout === id) this.#certificates.splice(i, 1);
      }
    }
  }
}
