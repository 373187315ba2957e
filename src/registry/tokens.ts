// Tokens: who may talk to a server, and as what. A token has a name, a role and up to two live secrets, so
// that a secret can be replaced while clients still use the one before.

import { type Kysely, type Selectable, sql, type Transaction } from "kysely";
import { type Clock, systemClock } from "../base/clock.ts";
import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { newSecret, secretDigest } from "./secret.ts";
import { type Tables, type TokenSecretTable, type TokenTable, writeTo } from "./store.ts";

/**
 * What a token is for: `viewer` looks at pages and metrics, `infer` asks models, `deployer` also changes
 * what is served, `admin` may do everything.
 */
export type Role = "viewer" | "infer" | "deployer" | "admin";

/** All roles, the least first. */
export const ROLES: readonly Role[] = ["viewer", "infer", "deployer", "admin"];

/** A live secret of a token, without the secret. */
export interface SecretInfo {
  /** The first digits of its SHA-256: enough to tell two apart. */
  readonly id: string;
  readonly createdMs: number;
  /** Absent: never. */
  readonly expiresMs?: number;
  /** To the minute. */
  readonly lastUsedMs?: number;
}

/** A token as it is listed. */
export interface TokenInfo {
  readonly name: string;
  readonly role: Role;
  readonly createdMs: number;
  readonly revokedMs?: number;
  /** Those that work now, oldest first. */
  readonly secrets: readonly SecretInfo[];
}

/** A secret that was just made. It is shown once and stored nowhere. */
export interface Issued {
  readonly token: TokenInfo;
  readonly secret: string;
}

const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/;
const SECRETS_LIVE_MAX = 2;
const ID_CHARS = 12;

/** The tokens of a store. Times are milliseconds. */
export class Tokens {
  readonly #db: Kysely<Tables>;
  readonly #clock: Clock;

  constructor(db: Kysely<Tables>, clock: Clock = systemClock) {
    this.#db = db;
    this.#clock = clock;
  }

  /**
   * Makes a token with its first secret.
   *
   * @throws SkipwayError `input` for a name that is taken, also by a token that was revoked: the audit
   * log must not mean two by one name.
   */
  async create(name: string, role: Role, options: { lifetimeMs?: number } = {}): Promise<Issued> {
    checkName(name);
    return writeTo(this.#db, async (db) => {
      if ((await tokenRow(db, name)) !== undefined) throw taken(name);
      const row = { name, role, created_ms: this.#clock.nowMs(), revoked_ms: null };
      await db.insertInto("tokens").values(row).execute();
      return this.#issue(db, name, options.lifetimeMs);
    });
  }

  /**
   * Adds a secret. The one before works for `overlapMs` longer, and any before that no more.
   *
   * @throws SkipwayError `input` for a token that does not exist or was revoked.
   */
  async rotate(name: string, options: { lifetimeMs?: number; overlapMs: number }): Promise<Issued> {
    return writeTo(this.#db, async (db) => {
      const row = await tokenRow(db, name);
      if (row === undefined || row.revoked_ms !== null) throw unknown(name);
      const now = this.#clock.nowMs();
      const live = (await secretRows(db, name)).filter((one) => isLive(one, now));
      const kept = live.slice(-(SECRETS_LIVE_MAX - 1));
      for (const { digest, expires_ms } of live) {
        const stays = kept.some((one) => one.digest === digest);
        const end = stays ? Math.min(expires_ms ?? Infinity, now + options.overlapMs) : now;
        const change = db.updateTable("token_secrets").set({ expires_ms: end });
        await change.where("digest", "=", digest).execute();
      }
      return this.#issue(db, name, options.lifetimeMs);
    });
  }

  /**
   * Ends a token with all its secrets.
   *
   * @throws SkipwayError `input` for a token that does not exist or was revoked.
   */
  async revoke(name: string): Promise<TokenInfo> {
    return writeTo(this.#db, async (db) => {
      const row = await tokenRow(db, name);
      if (row === undefined || row.revoked_ms !== null) throw unknown(name);
      const change = db.updateTable("tokens").set({ revoked_ms: this.#clock.nowMs() });
      await change.where("name", "=", name).execute();
      return this.#read(db, name);
    });
  }

  /** All tokens, revoked ones too, by name. */
  async list(): Promise<TokenInfo[]> {
    const tokens = await this.#db.selectFrom("tokens").selectAll().orderBy("name").execute();
    const secrets = await this.#db
      .selectFrom("token_secrets")
      .selectAll()
      .orderBy("created_ms")
      .execute();
    const now = this.#clock.nowMs();
    return tokens.map((row) =>
      infoOf(
        row,
        secrets.filter((one) => one.token === row.name),
        now,
      ),
    );
  }

  async #issue(db: Transaction<Tables>, name: string, lifetimeMs?: number): Promise<Issued> {
    const secret = newSecret();
    const now = this.#clock.nowMs();
    const row: TokenSecretTable = {
      digest: secretDigest(secret),
      token: name,
      created_ms: now,
      expires_ms: lifetimeMs === undefined ? null : now + lifetimeMs,
      last_used_ms: null,
    };
    await db.insertInto("token_secrets").values(row).execute();
    return { token: await this.#read(db, name), secret };
  }

  async #read(db: Transaction<Tables>, name: string): Promise<TokenInfo> {
    const row = await tokenRow(db, name);
    if (row === undefined) throw unknown(name);
    return infoOf(row, await secretRows(db, name), this.#clock.nowMs());
  }
}

/** A role by its name; undefined for anything else. */
export function roleNamed(text: string): Role | undefined {
  return ROLES.find((role) => role === text);
}

function tokenRow(
  db: Transaction<Tables>,
  name: string,
): Promise<Selectable<TokenTable> | undefined> {
  return db.selectFrom("tokens").selectAll().where("name", "=", name).executeTakeFirst();
}

function secretRows(
  db: Transaction<Tables>,
  name: string,
): Promise<Selectable<TokenSecretTable>[]> {
  // Two of one millisecond stay in the order in which they were written.
  const rows = db.selectFrom("token_secrets").selectAll().where("token", "=", name);
  return rows.orderBy("created_ms").orderBy(sql`rowid`).execute();
}

function isLive({ expires_ms }: Selectable<TokenSecretTable>, nowMs: number): boolean {
  return expires_ms === null || expires_ms > nowMs;
}

function infoOf(
  row: Selectable<TokenTable>,
  secrets: readonly Selectable<TokenSecretTable>[],
  nowMs: number,
): TokenInfo {
  const role = roleNamed(row.role);
  if (role === undefined) throw damaged(row.name);
  const live = row.revoked_ms === null ? secrets.filter((one) => isLive(one, nowMs)) : [];
  return {
    name: row.name,
    role,
    createdMs: row.created_ms,
    ...(row.revoked_ms === null ? {} : { revokedMs: row.revoked_ms }),
    secrets: live.map((one) => ({
      id: one.digest.slice(0, ID_CHARS),
      createdMs: one.created_ms,
      ...(one.expires_ms === null ? {} : { expiresMs: one.expires_ms }),
      ...(one.last_used_ms === null ? {} : { lastUsedMs: one.last_used_ms }),
    })),
  };
}

function checkName(name: string): void {
  if (NAME.test(name)) return;
  const text =
    "is no name: letters, digits, dot, hyphen and underscore, at most 64, no dot in front";
  throw refused("tokens/name", name, text, "Choose another name.");
}

function taken(name: string): SkipwayError {
  const text = "there is, or was, a token of this name";
  return refused("tokens/name-taken", name, text, "Choose another name, or rotate its secret.");
}

function unknown(name: string): SkipwayError {
  const text = "there is no token of this name, or it was revoked";
  return refused("tokens/unknown", name, text, "`skipway token list` shows which there are.");
}

function damaged(name: string): SkipwayError {
  const text = "its entry in the store is damaged";
  return refused("tokens/damaged", name, text, "Restore the data folder from a copy.");
}

function refused(id: string, name: string, text: string, fix: string): SkipwayError {
  const where = `token "${name.slice(0, 64)}"`;
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({ id, severity: "error", where, text, fix }),
  ]);
}
