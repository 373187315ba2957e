// Opening a store to look at it alone: where nothing can be written, as on a disk that is mounted read-only, it is read
// as it lies there.

import { statSync } from "node:fs";
import { dirname } from "node:path";
import { pathToFileURL } from "node:url";
import { Kysely, SqliteDialect } from "kysely";
import Database from "libsql";
import { diagnostic } from "../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import { isWritable } from "./refused.ts";
import { MIGRATIONS, openStore, type Tables } from "./store.ts";

/**
 * Opens a store of which nothing is to be changed; it is there.
 *
 * @throws SkipwayError `environment` for a file that is no database, is locked, or comes from another skipway.
 */
export async function openToRead(
  file: string,
  writable: typeof isWritable = isWritable,
): Promise<Kysely<Tables>> {
  // Where it can be written it is opened as always: the log of a process that was killed is taken in.
  if (writable(file) && writable(dirname(file))) return openStore(file);
  return readStore(file);
}

/**
 * Opens a store without writing anything, beside it neither.
 *
 * @throws SkipwayError `environment` where it cannot be read so.
 */
export async function readStore(file: string): Promise<Kysely<Tables>> {
  let db: Kysely<Tables> | undefined;
  try {
    // What is not in the file itself yet lies in the log, and is found through an index that SQLite keeps beside it.
    // Without a log there is no such index, and it could not be made: then the file is all, and does not change.
    const address = pathToFileURL(file);
    address.searchParams.set("mode", "ro");
    if (sizeOf(`${file}-wal`) === 0) address.searchParams.set("immutable", "1");
    const database = new Database(address.href);
    db = new Kysely<Tables>({ dialect: new SqliteDialect({ database }) });
    await refuseOther(db, file);
    return db;
  } catch (cause) {
    await db?.destroy();
    if (cause instanceof SkipwayError) throw cause;
    throw unreadable(
      file,
      `the store lies where nothing can be written, and cannot be read there: ${messageOf(cause)}`,
      cause,
    );
  }
}

/** Tables cannot be brought up to date here. */
async function refuseOther(db: Kysely<Tables>, file: string): Promise<void> {
  const rows = await db
    .withTables<{ kysely_migration: { name: string } }>()
    .selectFrom("kysely_migration")
    .select("name")
    .execute();
  const there = new Set(rows.map(({ name }) => name));
  const older = Object.keys(MIGRATIONS).some((name) => !there.has(name));
  if (!older && there.size === Object.keys(MIGRATIONS).length) return;
  throw unreadable(
    file,
    older
      ? "the store was written by an older skipway, and lies where it cannot be brought up to date"
      : "the store was written by a newer skipway",
  );
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

function unreadable(file: string, text: string, cause?: unknown): SkipwayError {
  const found = diagnostic({
    id: "registry/unreadable-store",
    severity: "error",
    where: file,
    text,
    fix: "Copy the folder to where it can be written, and name the copy with --data DIR.",
  });
  return new SkipwayError("environment", found.text, { cause, diagnostics: [found] });
}
