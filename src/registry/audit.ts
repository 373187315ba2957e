// The audit log: who did what, and how it went. Each entry has the digest of the one before, so that one
// that is changed, taken out or moved later is found.

import type { Kysely, Selectable } from "kysely";
import { type Clock, systemClock } from "../base/clock.ts";
import { digestOf } from "./digest.ts";
import { redacted } from "./secret.ts";
import { type AuditTable, type Tables, writeTo } from "./store.ts";

/** What is written down. */
export interface AuditRecord {
  /** The token's name, or who else it was. */
  readonly actor: string;
  readonly action: string;
  readonly result: string;
  /** Further facts: role, peer, request id. */
  readonly details?: Readonly<Record<string, string>>;
}

/** An entry of the log. */
export interface AuditEntry extends Required<AuditRecord> {
  readonly id: number;
  readonly atMs: number;
  readonly digest: string;
}

/** What a check of the log found. `head` is the digest of the last entry. */
export interface AuditVerdict {
  readonly entries: number;
  readonly head: string;
  /** The first entry that is not as it was written; absent where all are. */
  readonly broken?: { readonly id: number; readonly text: string };
}

/** The digest before the first entry. */
const ROOT = digestOf(new Uint8Array());
/** One text of an entry: longer ones are cut, since some come from requests. */
const TEXT_CHARS_MAX = 512;
/** Entries that a check holds at a time. */
const PAGE = 1000;

/** The audit log of a store. */
export class AuditLog {
  readonly #db: Kysely<Tables>;
  readonly #clock: Clock;

  constructor(db: Kysely<Tables>, clock: Clock = systemClock) {
    this.#db = db;
    this.#clock = clock;
  }

  /** Adds an entry; it is on the disk when this resolves. */
  append(record: AuditRecord): Promise<void> {
    return writeTo(this.#db, async (db) => {
      const query = db.selectFrom("audit").select(["id", "digest"]).orderBy("id", "desc");
      const last = await query.limit(1).executeTakeFirst();
      const row = {
        id: (last?.id ?? 0) + 1,
        at_ms: this.#clock.nowMs(),
        actor: stored(record.actor),
        action: stored(record.action),
        result: stored(record.result),
        details: JSON.stringify(
          Object.fromEntries(
            Object.entries(record.details ?? {}).map(([key, value]) => [key, stored(value)]),
          ),
        ),
        previous: last?.digest ?? ROOT,
      };
      await db
        .insertInto("audit")
        .values({ ...row, digest: chainDigest(row) })
        .execute();
    });
  }

  /** The newest entries, oldest of them first. */
  async list(count: number): Promise<AuditEntry[]> {
    const query = this.#db.selectFrom("audit").selectAll().orderBy("id", "desc").limit(count);
    return (await query.execute()).reverse().map(entryOf);
  }

  /**
   * Checks every entry. A log that lost its newest entries still fits together: whoever wants to find that
   * too keeps a `head` elsewhere and gives it here.
   */
  async verify(knownHead?: string): Promise<AuditVerdict> {
    let head = ROOT;
    let id = 0;
    let headSeen = knownHead === undefined || knownHead === ROOT;
    for (;;) {
      const query = this.#db.selectFrom("audit").selectAll().orderBy("id").where("id", ">", id);
      const rows = await query.limit(PAGE).execute();
      for (const row of rows) {
        const text = faultOf(row, id + 1, head);
        if (text !== undefined) return { entries: id, head, broken: { id: row.id, text } };
        ({ id, digest: head } = row);
        headSeen ||= head === knownHead;
      }
      if (rows.length < PAGE) break;
    }
    if (headSeen) return { entries: id, head };
    const text = "the entry that was the last one is not there: the end was cut off";
    return { entries: id, head, broken: { id: id + 1, text } };
  }
}

function faultOf(row: Selectable<AuditTable>, id: number, previous: string): string | undefined {
  if (row.id !== id) return `entry ${id} is missing`;
  if (row.previous !== previous) return "it does not follow the entry before it";
  if (row.digest !== chainDigest(row)) return "it was changed";
  return undefined;
}

type Chained = Omit<Selectable<AuditTable>, "digest">;

/** JSON of a list: no two different rows have the same text. */
function chainDigest({ id, at_ms, actor, action, result, details, previous }: Chained): string {
  return digestOf(
    Buffer.from(JSON.stringify([previous, id, at_ms, actor, action, result, details])),
  );
}

function entryOf(row: Selectable<AuditTable>): AuditEntry {
  const { id, at_ms, actor, action, result, digest } = row;
  return { id, atMs: at_ms, actor, action, result, details: detailsOf(row.details), digest };
}

/** What cannot be read is shown as it is: a damaged log is when one needs it. */
function detailsOf(text: string): Record<string, string> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null) return { text };
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, String(one)]));
  } catch {
    return { text };
  }
}

function stored(text: string): string {
  return redacted(text).slice(0, TEXT_CHARS_MAX);
}
