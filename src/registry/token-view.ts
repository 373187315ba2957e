// The tokens as a running server sees them: in memory, because every request asks, and never older than
// half a second, because a secret that has leaked must end at once.

import { timingSafeEqual } from "node:crypto";
import type { Kysely } from "kysely";
import { type Clock, systemClock } from "../base/clock.ts";
import { isSecret, secretDigest } from "./secret.ts";
import { type Tables, writeTo } from "./store.ts";
import { type Role, roleNamed } from "./tokens.ts";

/** Who a secret belongs to. */
export interface Identity {
  readonly name: string;
  readonly role: Role;
}

interface Entry extends Identity {
  readonly digest: Buffer;
  readonly expiresMs: number;
  lastUsedMs: number;
}

/** A revocation counts from here on: half of the second that is promised. */
const FRESH_MS = 500;
/** `last used` is written once in so long: a write for each request would be the dearest part of it. */
const USE_MS = 60_000;

/** Answers whose a secret is. */
export class TokenView {
  readonly #db: Kysely<Tables>;
  readonly #clock: Clock;
  readonly #used = new Map<string, number>();
  #entries: ReadonlyMap<string, Entry> = new Map();
  #readMs = Number.NEGATIVE_INFINITY;
  #reading: Promise<void> | undefined;

  constructor(db: Kysely<Tables>, clock: Clock = systemClock) {
    this.#db = db;
    this.#clock = clock;
  }

  /**
   * Whose secret this is; undefined for one that is unknown, has expired or was revoked.
   *
   * @throws what the store throws: without it nobody can be let in.
   */
  async identify(secret: string): Promise<Identity | undefined> {
    if (!isSecret(secret)) return undefined;
    await this.#refresh();
    const digest = secretDigest(secret);
    const entry = this.#entries.get(digest);
    // The map compares digests, of which a caller can choose none; the last word has a comparison that
    // takes as long for every one.
    if (entry === undefined || !timingSafeEqual(entry.digest, Buffer.from(digest, "hex"))) return;
    const now = this.#clock.nowMs();
    if (entry.expiresMs <= now) return;
    if (now - entry.lastUsedMs >= USE_MS) {
      entry.lastUsedMs = now;
      this.#used.set(digest, now);
    }
    return entry;
  }

  /** Whether some token has this role and a secret that works. */
  async hasRole(role: Role): Promise<boolean> {
    await this.#refresh();
    const now = this.#clock.nowMs();
    return [...this.#entries.values()].some((one) => one.role === role && one.expiresMs > now);
  }

  /** Writes down when secrets were last used. */
  async flush(): Promise<void> {
    const used = [...this.#used];
    if (used.length === 0) return;
    this.#used.clear();
    await writeTo(this.#db, async (db) => {
      for (const [digest, at] of used) {
        const change = db.updateTable("token_secrets").set({ last_used_ms: at });
        await change.where("digest", "=", digest).execute();
      }
    });
  }

  async #refresh(): Promise<void> {
    if (this.#clock.monotonicMs() - this.#readMs < FRESH_MS) return;
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    await this.#reading;
  }

  async #read(): Promise<void> {
    const from = this.#clock.monotonicMs();
    const rows = await this.#db
      .selectFrom("token_secrets")
      .innerJoin("tokens", "tokens.name", "token_secrets.token")
      .where("tokens.revoked_ms", "is", null)
      .select(["digest", "name", "role", "expires_ms", "last_used_ms"])
      .execute();
    const entries = new Map<string, Entry>();
    for (const row of rows) {
      const role = roleNamed(row.role);
      // A row that nobody of us wrote lets nobody in.
      if (role === undefined || !/^[0-9a-f]{64}$/.test(row.digest)) continue;
      entries.set(row.digest, {
        name: row.name,
        role,
        digest: Buffer.from(row.digest, "hex"),
        expiresMs: row.expires_ms ?? Number.POSITIVE_INFINITY,
        lastUsedMs: Math.max(row.last_used_ms ?? 0, this.#used.get(row.digest) ?? 0),
      });
    }
    this.#entries = entries;
    this.#readMs = from;
    // A store that takes no writes now still says who may come in.
    void this.flush().catch(() => undefined);
  }
}
