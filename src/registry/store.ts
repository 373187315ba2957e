// The relational side of the registry: versions, the events that moved aliases, tokens, and the record of
// what was done with them. libSQL in a file, through kysely, in SQL that a server would take too.

import {
  CompiledQuery,
  type DatabaseConnection,
  type Generated,
  Kysely,
  type Migration,
  Migrator,
  SqliteAdapter,
  SqliteDialect,
  SqliteDriver,
  type Transaction,
} from "kysely";
import Database from "libsql";
import { diskRefused, isBusyStore, sqliteCode, unusable } from "./refused.ts";

/** A version of a model; it never changes. */
export interface VersionTable {
  model: string;
  version: number;
  digest: string;
  bytes: number;
  created_ms: number;
  /** JSON. */
  metadata: string;
  /** JSON: digests by role. */
  attachments: string;
}

/** One move of an alias; the last one tells where it points. */
export interface AliasEventTable {
  id: Generated<number>;
  model: string;
  alias: string;
  version: number;
  at_ms: number;
  actor: string;
  reason: string;
}

/** One release check of a version; the last one counts. */
export interface CheckTable {
  id: Generated<number>;
  model: string;
  version: number;
  at_ms: number;
  actor: string;
  /** 0 or 1. */
  passed: number;
  /** Digest of the report. */
  report: string;
}

/** Who may talk to a server. */
export interface TokenTable {
  name: string;
  role: string;
  created_ms: number;
  revoked_ms: number | null;
}

/** What a token is known by; the secret itself is nowhere. */
export interface TokenSecretTable {
  /** SHA-256 of the secret, in hex. */
  digest: string;
  token: string;
  created_ms: number;
  expires_ms: number | null;
  last_used_ms: number | null;
}

/** One thing that was done, or refused. Each row has the digest of the one before. */
export interface AuditTable {
  id: number;
  at_ms: number;
  actor: string;
  action: string;
  result: string;
  /** JSON. */
  details: string;
  previous: string;
  digest: string;
}

/** One rollout of a model. */
export interface RolloutTable {
  id: string;
  model: string;
  /** 1 while it is not over: one of a model at the most. Null afterwards. */
  active: number | null;
  started_ms: number;
  updated_ms: number;
  /** JSON: its state, policy and plan. */
  document: string;
  /** JSON: what its judge goes on with. */
  evidence: string;
}

/** Something that happened in a rollout. */
export interface RolloutEventTable {
  seq: Generated<number>;
  id: string;
  rollout: string;
  at_ms: number;
  /** JSON. */
  document: string;
}

/** Why a rollout was moved: what can be computed again. */
export interface RolloutCertificateTable {
  id: Generated<number>;
  rollout: string;
  at_ms: number;
  decision: string;
  /** JSON. */
  document: string;
}

/** An event that a webhook has not taken yet. */
export interface RolloutDeliveryTable {
  event: string;
  webhook: string;
  /** That failed. */
  attempts: number;
}

/** Rows of a rollout's evidence, numbered since the beginning. */
export interface RolloutLogTable {
  rollout: string;
  from_row: number;
  /** The number after the last one. */
  to_row: number;
  /** JSON. */
  rows: string;
}

/** Which version answered a request, until its feedback comes. */
export interface RolloutRequestTable {
  request: string;
  rollout: string;
  at_ms: number;
  /** JSON. */
  document: string;
}

/** The tables. */
export interface Tables {
  rollouts: RolloutTable;
  rollout_events: RolloutEventTable;
  rollout_certificates: RolloutCertificateTable;
  rollout_deliveries: RolloutDeliveryTable;
  rollout_requests: RolloutRequestTable;
  rollout_log: RolloutLogTable;
  checks: CheckTable;
  versions: VersionTable;
  alias_events: AliasEventTable;
  tokens: TokenTable;
  token_secrets: TokenSecretTable;
  audit: AuditTable;
}

/** What made the tables what they are. */
export const MIGRATIONS: Readonly<Record<string, Migration>> = {
  "1-versions-and-aliases": {
    async up(db: Kysely<Tables>) {
      await db.schema
        .createTable("versions")
        .addColumn("model", "text", (column) => column.notNull())
        .addColumn("version", "integer", (column) => column.notNull())
        .addColumn("digest", "text", (column) => column.notNull())
        .addColumn("bytes", "integer", (column) => column.notNull())
        .addColumn("created_ms", "integer", (column) => column.notNull())
        .addColumn("metadata", "text", (column) => column.notNull())
        .addColumn("attachments", "text", (column) => column.notNull())
        .addPrimaryKeyConstraint("versions_key", ["model", "version"])
        .addUniqueConstraint("versions_content", ["model", "digest"])
        .execute();
      await db.schema
        .createTable("alias_events")
        .addColumn("id", "integer", (column) => column.primaryKey().autoIncrement())
        .addColumn("model", "text", (column) => column.notNull())
        .addColumn("alias", "text", (column) => column.notNull())
        .addColumn("version", "integer", (column) => column.notNull())
        .addColumn("at_ms", "integer", (column) => column.notNull())
        .addColumn("actor", "text", (column) => column.notNull())
        .addColumn("reason", "text", (column) => column.notNull())
        .execute();
      await db.schema
        .createIndex("alias_events_by_alias")
        .on("alias_events")
        .columns(["model", "alias", "id"])
        .execute();
    },
  },
  "2-checks": {
    async up(db: Kysely<Tables>) {
      await db.schema
        .createTable("checks")
        .addColumn("id", "integer", (column) => column.primaryKey().autoIncrement())
        .addColumn("model", "text", (column) => column.notNull())
        .addColumn("version", "integer", (column) => column.notNull())
        .addColumn("at_ms", "integer", (column) => column.notNull())
        .addColumn("actor", "text", (column) => column.notNull())
        .addColumn("passed", "integer", (column) => column.notNull())
        .addColumn("report", "text", (column) => column.notNull())
        .execute();
      await db.schema
        .createIndex("checks_by_version")
        .on("checks")
        .columns(["model", "version", "id"])
        .execute();
    },
  },
  "3-tokens-and-audit": {
    async up(db: Kysely<Tables>) {
      await db.schema
        .createTable("tokens")
        .addColumn("name", "text", (column) => column.primaryKey())
        .addColumn("role", "text", (column) => column.notNull())
        .addColumn("created_ms", "integer", (column) => column.notNull())
        .addColumn("revoked_ms", "integer")
        .execute();
      await db.schema
        .createTable("token_secrets")
        .addColumn("digest", "text", (column) => column.primaryKey())
        .addColumn("token", "text", (column) => column.notNull())
        .addColumn("created_ms", "integer", (column) => column.notNull())
        .addColumn("expires_ms", "integer")
        .addColumn("last_used_ms", "integer")
        .execute();
      await db.schema
        .createTable("audit")
        .addColumn("id", "integer", (column) => column.primaryKey())
        .addColumn("at_ms", "integer", (column) => column.notNull())
        .addColumn("actor", "text", (column) => column.notNull())
        .addColumn("action", "text", (column) => column.notNull())
        .addColumn("result", "text", (column) => column.notNull())
        .addColumn("details", "text", (column) => column.notNull())
        .addColumn("previous", "text", (column) => column.notNull())
        .addColumn("digest", "text", (column) => column.notNull())
        .execute();
    },
  },
  "4-rollouts": {
    async up(db: Kysely<Tables>) {
      await db.schema
        .createTable("rollouts")
        .addColumn("id", "text", (column) => column.primaryKey())
        .addColumn("model", "text", (column) => column.notNull())
        .addColumn("active", "integer")
        .addColumn("started_ms", "integer", (column) => column.notNull())
        .addColumn("updated_ms", "integer", (column) => column.notNull())
        .addColumn("document", "text", (column) => column.notNull())
        .addColumn("evidence", "text", (column) => column.notNull())
        // Nulls are no two equal values: of what is over there may be many.
        .addUniqueConstraint("rollouts_one_active", ["model", "active"])
        .execute();
      await db.schema
        .createTable("rollout_events")
        .addColumn("seq", "integer", (column) => column.primaryKey().autoIncrement())
        .addColumn("id", "text", (column) => column.notNull().unique())
        .addColumn("rollout", "text", (column) => column.notNull())
        .addColumn("at_ms", "integer", (column) => column.notNull())
        .addColumn("document", "text", (column) => column.notNull())
        .execute();
      await db.schema
        .createTable("rollout_certificates")
        .addColumn("id", "integer", (column) => column.primaryKey().autoIncrement())
        .addColumn("rollout", "text", (column) => column.notNull())
        .addColumn("at_ms", "integer", (column) => column.notNull())
        .addColumn("decision", "text", (column) => column.notNull())
        .addColumn("document", "text", (column) => column.notNull())
        .execute();
      await db.schema
        .createTable("rollout_deliveries")
        .addColumn("event", "text", (column) => column.notNull())
        .addColumn("webhook", "text", (column) => column.notNull())
        .addColumn("attempts", "integer", (column) => column.notNull())
        .addPrimaryKeyConstraint("rollout_deliveries_key", ["event", "webhook"])
        .execute();
      await db.schema
        .createTable("rollout_requests")
        .addColumn("request", "text", (column) => column.primaryKey())
        .addColumn("rollout", "text", (column) => column.notNull())
        .addColumn("at_ms", "integer", (column) => column.notNull())
        .addColumn("document", "text", (column) => column.notNull())
        .execute();
      for (const [table, column] of [
        ["rollout_events", "rollout"],
        ["rollout_certificates", "rollout"],
        ["rollout_requests", "at_ms"],
      ] as const) {
        await db.schema.createIndex(`${table}_by_${column}`).on(table).column(column).execute();
      }
    },
  },
  "5-rollout-log": {
    async up(db: Kysely<Tables>) {
      await db.schema
        .createTable("rollout_log")
        .addColumn("rollout", "text", (column) => column.notNull())
        .addColumn("from_row", "integer", (column) => column.notNull())
        .addColumn("to_row", "integer", (column) => column.notNull())
        .addColumn("rows", "text", (column) => column.notNull())
        .addPrimaryKeyConstraint("rollout_log_key", ["rollout", "from_row"])
        .execute();
    },
  },
};

/** How often something is begun before other writers are too much. */
const ATTEMPTS = 20;

/** Where each store lies. */
const files = new WeakMap<Kysely<Tables>, string>();

/** The write of this process that began last. */
let writing: Promise<unknown> = Promise.resolve();

/**
 * A transaction, one at a time in a process: a connection that waits for another holds up the thread that
 * the other needs to finish. Begun again when another process wrote between its first read and its first
 * write.
 *
 * @throws SkipwayError `environment` where the database refuses: a full disk, a lock that stays.
 */
export function writeTo<T>(
  db: Kysely<Tables>,
  work: (transaction: Transaction<Tables>) => Promise<T>,
): Promise<T> {
  const mine = writing.then(() => attempts(db, work));
  writing = mine.catch(() => undefined);
  return mine;
}

/** Closes a database once the writes that have begun are done: cut off in the middle they would be lost. */
export async function closeStore(db: Kysely<Tables>): Promise<void> {
  await writing;
  await db.destroy();
}

async function attempts<T>(
  db: Kysely<Tables>,
  work: (transaction: Transaction<Tables>) => Promise<T>,
): Promise<T> {
  try {
    return await unlessBusy(() => db.transaction().execute(work));
  } catch (error) {
    if (sqliteCode(error) === "") throw error;
    throw diskRefused(files.get(db) ?? "registry.db", error);
  }
}

/** Does it again while other processes are in the way, within a bound. Not at once for all of them. */
async function unlessBusy<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (attempt >= ATTEMPTS || !isBusyStore(error)) throw error;
      const pauseMs = attempt * 10 + (process.pid % 10);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }
}

/**
 * SQLite itself rolls back when a disk is full. Kysely would do it once more, fail, and tell of that instead of
 * the disk. Transactions, which all write, have the lock from their start: one that reads first and is overtaken
 * by another's write is refused without waiting. Tables are made in one, so that of two processes that open a new store
 * the second finds them.
 */
class Dialect extends SqliteDialect {
  readonly #database: Database.Database;

  constructor(database: Database.Database) {
    super({ database });
    this.#database = database;
  }

  override createAdapter(): SqliteAdapter {
    return new (class extends SqliteAdapter {
      override get supportsTransactionalDdl(): boolean {
        return true;
      }
    })();
  }

  override createDriver(): SqliteDriver {
    const database = this.#database;
    return new (class extends SqliteDriver {
      override async beginTransaction(connection: DatabaseConnection): Promise<void> {
        await connection.executeQuery(CompiledQuery.raw("begin immediate"));
      }

      override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
        if (database.inTransaction) await super.rollbackTransaction(connection);
      }
    })({ database });
  }
}

/**
 * Opens the database file and brings its tables up to date.
 *
 * @param survives what may happen right after a write without undoing it: a power cut costs a write to the disk, a
 * killed process costs nothing.
 * @throws SkipwayError `environment` for a file that is no database, is locked, or comes from a newer
 * skipway.
 */
export async function openStore(
  file: string,
  survives: "power-cut" | "kill" = "power-cut",
): Promise<Kysely<Tables>> {
  try {
    // Not all that is done here waits for a lock by itself: the switch to a log does not.
    return await unlessBusy(() => opened(file, survives));
  } catch (cause) {
    throw unusable(file, cause);
  }
}

async function opened(file: string, survives: "power-cut" | "kill"): Promise<Kysely<Tables>> {
  const database = new Database(file);
  try {
    // First: another process may be taking the log in, after a kill or at its own end.
    database.pragma("busy_timeout = 5000");
    database.pragma("journal_mode = WAL");
    database.pragma(`synchronous = ${survives === "kill" ? "NORMAL" : "FULL"}`);
    const db = new Kysely<Tables>({ dialect: new Dialect(database) });
    files.set(db, file);
    if (!isCurrent(database)) {
      const provider = { getMigrations: () => Promise.resolve({ ...MIGRATIONS }) };
      const { error } = await new Migrator({ db, provider }).migrateToLatest();
      if (error !== undefined) throw error;
    }
    return db;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** Whether its tables are those of this program: to find that out takes no lock. */
function isCurrent(database: Database.Database): boolean {
  const made = database.prepare(
    "select count(*) as n from sqlite_master where name = 'kysely_migration'",
  );
  if (made.pluck().get() !== 1) return false;
  const names = database.prepare("select name from kysely_migration").pluck().all();
  const known = new Set<unknown>(names);
  return (
    known.size === Object.keys(MIGRATIONS).length &&
    Object.keys(MIGRATIONS).every((one) => known.has(one))
  );
}

/** A file that one process holds until it ends, however it ends: the operating system lets go of its lock. */
export class Claim {
  readonly #file: string;
  #database: Database.Database | undefined;

  constructor(file: string) {
    this.#file = file;
  }

  /**
   * Takes it, where no other process has.
   *
   * @throws SkipwayError `environment` for a file that cannot be used.
   */
  take(): boolean {
    if (this.#database !== undefined) return true;
    let database: Database.Database | undefined;
    try {
      database = new Database(this.#file);
      database.exec("BEGIN EXCLUSIVE");
      this.#database = database;
      return true;
    } catch (error) {
      database?.close();
      if (isBusyStore(error)) return false;
      throw unusable(this.#file, error);
    }
  }

  close(): void {
    this.#database?.close();
    this.#database = undefined;
  }
}
