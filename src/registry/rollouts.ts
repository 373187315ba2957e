// What is kept of rollouts: their last state and evidence, what happened, why, what is still to be told to whom,
// and which version answered which request. Documents are JSON that this file does not read.

import { join } from "node:path";
import type { Kysely, Transaction } from "kysely";
import { makeDataFolder } from "./data-folder.ts";
import { openToRead } from "./reading.ts";
import { Claim, openStore, type Tables, writeTo } from "./store.ts";

/** Rows of the evidence, numbered since the beginning. JSON. */
export interface RolloutLog {
  readonly from: number;
  /** The number after the last one. */
  readonly end: number;
  readonly rows: string;
}

/** What became of the rows of the evidence since it was last written. */
export interface RolloutLogChange extends RolloutLog {
  /** Those before this one are wanted no more; those from `from` on are replaced. */
  readonly first: number;
}

/** A rollout as it is kept. */
export interface RolloutRow {
  readonly id: string;
  readonly model: string;
  /** Whether it is not over. */
  readonly active: boolean;
  readonly startedMs: number;
  readonly updatedMs: number;
  /** JSON. */
  readonly document: string;
  /** JSON: what the judge goes on with, beside the rows of the log. */
  readonly evidence: string;
  /** With it, what is written changes the log; it is read by itself (`log`). */
  readonly log?: RolloutLogChange;
}

/** An event as it is kept. */
export interface RolloutEventRow {
  readonly id: string;
  readonly rollout: string;
  readonly atMs: number;
  /** JSON. */
  readonly document: string;
}

/** A certificate as it is kept. */
export interface RolloutCertificateRow {
  readonly rollout: string;
  readonly atMs: number;
  readonly decision: string;
  /** JSON. */
  readonly document: string;
}

/** An event that somebody has to be told. */
export interface RolloutDelivery {
  readonly event: RolloutEventRow;
  readonly webhook: string;
  /** That failed. */
  readonly attempts: number;
}

/** What a webhook has not been told yet. */
export interface Undelivered {
  readonly count: number;
  /** When the oldest of it happened; null where there is none. */
  readonly oldestMs: number | null;
}

/** Which version answered a request. */
export interface RolloutRequestRow {
  readonly request: string;
  readonly rollout: string;
  readonly atMs: number;
  /** JSON. */
  readonly document: string;
}

/** What a decision leaves behind, together or not at all. */
export interface RolloutWrite {
  readonly rollout: RolloutRow;
  readonly events: readonly RolloutEventRow[];
  readonly certificates: readonly RolloutCertificateRow[];
  /** Names of the webhooks that get the events. */
  readonly webhooks: readonly string[];
}

/** Rows of one statement: SQLite takes 32,766 values. */
const ROWS_AT_ONCE = 4000;

/** The rollouts of a data folder. */
export class RolloutStore implements AsyncDisposable {
  readonly #db: Kysely<Tables>;
  /** For what is written all the time and only has to survive the end of the process. */
  readonly #quick: Kysely<Tables>;
  readonly #claim: Claim;

  private constructor(folder: string, db: Kysely<Tables>, quick: Kysely<Tables>) {
    this.#db = db;
    this.#quick = quick;
    this.#claim = new Claim(join(folder, "rollouts.lock"));
  }

  /**
   * Opens the store of a data folder, which is created.
   *
   * @throws SkipwayError `environment` when the folder cannot be written or its store not be opened.
   */
  static async open(folder: string): Promise<RolloutStore> {
    await makeDataFolder(folder);
    const file = join(folder, "registry.db");
    const db = await openStore(file);
    return new RolloutStore(folder, db, await openStore(file, "kill"));
  }

  /**
   * Opens the store of a data folder, which is there, to look at it: also where nothing can be written.
   *
   * @throws SkipwayError `environment` when it cannot be read.
   */
  static async openToRead(folder: string): Promise<RolloutStore> {
    const db = await openToRead(join(folder, "registry.db"));
    return new RolloutStore(folder, db, db);
  }

  /**
   * Whether this process is the one that moves the rollouts of this folder; the first that asks, until it ends.
   *
   * @throws SkipwayError `environment` where that cannot be found out.
   */
  claim(): boolean {
    return this.#claim.take();
  }

  /**
   * Writes down a decision with its reasons.
   *
   * @throws SkipwayError `environment` where the disk refuses, or another rollout of the model is active.
   */
  write({ rollout, events, certificates, webhooks }: RolloutWrite): Promise<void> {
    return writeTo(this.#db, async (db) => {
      await put(db, rollout);
      for (const { id, rollout: of, atMs, document } of events) {
        const row = { id, rollout: of, at_ms: atMs, document };
        await db
          .insertInto("rollout_events")
          .values(row)
          .onConflict((e) => e.column("id").doNothing())
          .execute();
        for (const webhook of webhooks) {
          const due = { event: id, webhook, attempts: 0 };
          await db
            .insertInto("rollout_deliveries")
            .values(due)
            .onConflict((e) => e.columns(["event", "webhook"]).doNothing())
            .execute();
        }
      }
      for (const { rollout: of, atMs, decision, document } of certificates) {
        const row = { rollout: of, at_ms: atMs, decision, document };
        await db.insertInto("rollout_certificates").values(row).execute();
      }
    });
  }

  /** Writes down how far a rollout is: it survives the end of the process, which is all that it has to. */
  keep(rollout: RolloutRow): Promise<void> {
    return writeTo(this.#quick, (db) => put(db, rollout));
  }

  /** Every rollout that is not over. */
  async active(): Promise<RolloutRow[]> {
    const query = this.#db.selectFrom("rollouts").selectAll().where("active", "=", 1);
    return (await query.orderBy("started_ms").execute()).map(rowOf);
  }

  /** The newest first. */
  async list(count: number, model?: string): Promise<RolloutRow[]> {
    const all = this.#db.selectFrom("rollouts").selectAll().orderBy("started_ms", "desc");
    const query = model === undefined ? all : all.where("model", "=", model);
    return (await query.orderBy("id", "desc").limit(count).execute()).map(rowOf);
  }

  async rollout(id: string): Promise<RolloutRow | undefined> {
    const query = this.#db.selectFrom("rollouts").selectAll().where("id", "=", id);
    const row = await query.executeTakeFirst();
    return row && rowOf(row);
  }

  /** The rows of a rollout's evidence. Where some are there twice, the later ones are right. */
  async log(rollout: string): Promise<readonly RolloutLog[]> {
    const query = this.#db.selectFrom("rollout_log").selectAll().where("rollout", "=", rollout);
    const parts = await query.orderBy("from_row").execute();
    return parts.map(({ from_row: from, to_row: end, rows }) => ({ from, end, rows }));
  }

  /** The events of a rollout, the oldest of the newest first. */
  async events(rollout: string, count: number): Promise<RolloutEventRow[]> {
    const query = this.#db.selectFrom("rollout_events").selectAll().where("rollout", "=", rollout);
    const rows = await query.orderBy("seq", "desc").limit(count).execute();
    return rows.reverse().map(eventOf);
  }

  /** The last events of all rollouts, the newest last. */
  async lastEvents(count: number): Promise<RolloutEventRow[]> {
    const query = this.#db.selectFrom("rollout_events").selectAll();
    const rows = await query.orderBy("seq", "desc").limit(count).execute();
    return rows.reverse().map(eventOf);
  }

  /** The certificates of a rollout, or the last ones of them, the oldest first. */
  async certificates(rollout: string, last?: number): Promise<RolloutCertificateRow[]> {
    const all = this.#db.selectFrom("rollout_certificates").selectAll();
    const query = all.where("rollout", "=", rollout).orderBy("id", "desc");
    const rows = await (last === undefined ? query : query.limit(last)).execute();
    return rows.reverse().map(({ rollout: of, at_ms: atMs, decision, document }) => ({
      rollout: of,
      atMs,
      decision,
      document,
    }));
  }

  /** What a webhook is still to be told, in the order in which it happened. */
  async due(webhook: string, count: number): Promise<RolloutDelivery[]> {
    const rows = await this.#db
      .selectFrom("rollout_deliveries")
      .innerJoin("rollout_events", "rollout_events.id", "rollout_deliveries.event")
      .selectAll()
      .where("webhook", "=", webhook)
      .orderBy("seq")
      .limit(count)
      .execute();
    return rows.map((row) => ({ event: eventOf(row), webhook, attempts: row.attempts }));
  }

  /** How much a webhook is still to be told. */
  async undelivered(webhook: string): Promise<Undelivered> {
    const row = await this.#db
      .selectFrom("rollout_deliveries")
      .innerJoin("rollout_events", "rollout_events.id", "rollout_deliveries.event")
      .select((e) => [e.fn.countAll().as("count"), e.fn.min("at_ms").as("oldest")])
      .where("webhook", "=", webhook)
      .executeTakeFirst();
    return { count: Number(row?.count ?? 0), oldestMs: row?.oldest ?? null };
  }

  /** It was told. */
  delivered(event: string, webhook: string): Promise<void> {
    return writeTo(this.#quick, async (db) => {
      const query = db.deleteFrom("rollout_deliveries").where("event", "=", event);
      await query.where("webhook", "=", webhook).execute();
    });
  }

  /** It could not be told so often. */
  failed(event: string, webhook: string, attempts: number): Promise<void> {
    return writeTo(this.#quick, async (db) => {
      const query = db.updateTable("rollout_deliveries").set({ attempts });
      await query.where("event", "=", event).where("webhook", "=", webhook).execute();
    });
  }

  /** Nothing is to be told to any other webhook any more. */
  keepWebhooks(names: readonly string[]): Promise<void> {
    return writeTo(this.#quick, async (db) => {
      const query = db.deleteFrom("rollout_deliveries");
      await (names.length === 0 ? query : query.where("webhook", "not in", [...names])).execute();
    });
  }

  /** Remembers which version answered which requests, and forgets those before a time. */
  remember(requests: readonly RolloutRequestRow[], beforeMs: number): Promise<void> {
    return writeTo(this.#quick, async (db) => {
      for (let i = 0; i < requests.length; i += ROWS_AT_ONCE) {
        const rows = requests.slice(i, i + ROWS_AT_ONCE).map((one) => ({
          request: one.request,
          rollout: one.rollout,
          at_ms: one.atMs,
          document: one.document,
        }));
        await db
          .insertInto("rollout_requests")
          .values(rows)
          .onConflict((e) =>
            e.column("request").doUpdateSet((x) => ({
              document: x.ref("excluded.document"),
              at_ms: x.ref("excluded.at_ms"),
              rollout: x.ref("excluded.rollout"),
            })),
          )
          .execute();
      }
      await db.deleteFrom("rollout_requests").where("at_ms", "<", beforeMs).execute();
    });
  }

  /** Which version answered a request. */
  async requests(requests: readonly string[]): Promise<RolloutRequestRow[]> {
    const query = this.#db.selectFrom("rollout_requests").selectAll();
    const rows = await query.where("request", "in", requests).execute();
    return rows.map(({ at_ms: atMs, request, rollout, document }) => {
      return { request, rollout, atMs, document };
    });
  }

  async close(): Promise<void> {
    this.#claim.close();
    await this.#quick.destroy();
    await this.#db.destroy();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

async function put(db: Transaction<Tables>, rollout: RolloutRow): Promise<void> {
  const { id, model, active, startedMs, updatedMs, document, evidence, log } = rollout;
  const changes = { active: active ? 1 : null, updated_ms: updatedMs, document, evidence };
  await db
    .insertInto("rollouts")
    .values({ id, model, started_ms: startedMs, ...changes })
    .onConflict((e) => e.column("id").doUpdateSet(changes))
    .execute();
  // What is over is judged no more, and its certificates have their own rows.
  if (!active) await db.deleteFrom("rollout_log").where("rollout", "=", id).execute();
  else if (log !== undefined) await putLog(db, id, log);
}

async function putLog(
  db: Transaction<Tables>,
  rollout: string,
  { first, from, end, rows }: RolloutLogChange,
): Promise<void> {
  await db
    .deleteFrom("rollout_log")
    .where("rollout", "=", rollout)
    .where((e) => e.or([e("to_row", "<=", first), e("from_row", ">=", from)]))
    .execute();
  if (end > from) {
    const part = { rollout, from_row: from, to_row: end, rows };
    await db.insertInto("rollout_log").values(part).execute();
  }
}

type Row = Omit<RolloutRow, "active" | "startedMs" | "updatedMs" | "log"> & {
  readonly active: number | null;
  readonly started_ms: number;
  readonly updated_ms: number;
};

function rowOf({ id, model, active, started_ms, updated_ms, document, evidence }: Row): RolloutRow {
  return {
    id,
    model,
    active: active === 1,
    startedMs: started_ms,
    updatedMs: updated_ms,
    document,
    evidence,
  };
}

function eventOf(row: Omit<RolloutEventRow, "atMs"> & { at_ms: number }): RolloutEventRow {
  return { id: row.id, rollout: row.rollout, atMs: row.at_ms, document: row.document };
}
