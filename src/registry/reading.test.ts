import { copyFile, mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "libsql";
import { afterEach, beforeEach, expect, test } from "vitest";
import { idOf } from "../serve/errors.ts";
import { openToRead, readStore } from "./reading.ts";
import { unusable } from "./refused.ts";
import { Registry } from "./registry.ts";

let folder = "";
let alone = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-reading-"));
  const whole = join(folder, "whole");
  alone = join(folder, "alone");
  await mkdir(alone);
  {
    await using registry = await Registry.open(whole);
    const metadata = { createdBy: "test", metrics: {} };
    await registry.push("m", Buffer.from("model"), { metadata });
  }
  const database = new Database(join(whole, "registry.db"));
  database.pragma("wal_checkpoint(TRUNCATE)");
  database.close();
  // As it lies in a backup, or on a disk that is mounted read-only: without a log.
  await copyFile(join(whole, "registry.db"), join(alone, "registry.db"));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const file = (): string => join(alone, "registry.db");

test("a store is read without a trace beside it, and refuses to be written", async () => {
  const db = await readStore(file());
  expect(await db.selectFrom("versions").select("model").execute()).toEqual([{ model: "m" }]);
  await expect(db.deleteFrom("versions").execute()).rejects.toThrow(/readonly/);
  await db.destroy();
  expect(await readdir(alone)).toEqual(["registry.db"]);
});

test("what a process that was killed has left in its log is read", async () => {
  const writer = new Database(file());
  writer.pragma("journal_mode = WAL");
  writer.exec("update versions set model = 'n'");
  const db = await readStore(file());
  expect(await db.selectFrom("versions").select("model").execute()).toEqual([{ model: "n" }]);
  await db.destroy();
  writer.close();
});

test.each([
  ["delete from kysely_migration where name like '5-%'", /written by an older skipway/],
  ["insert into kysely_migration values ('9-more', 'then')", /written by a newer skipway/],
  ["drop table kysely_migration", /cannot be read there/],
])("one that needs other tables is told: %s", async (sql, told) => {
  const database = new Database(file());
  database.exec(sql);
  database.pragma("wal_checkpoint(TRUNCATE)");
  database.close();
  await expect(readStore(file())).rejects.toThrow(told);
});

// Rights do not bind the administrator, who may run these tests.
test("where nothing can be written: read as it is, and why it cannot be changed", async () => {
  const db = await openToRead(file(), (path) => path !== alone);
  expect(await db.selectFrom("versions").select("model").execute()).toEqual([{ model: "m" }]);
  await db.destroy();
  expect(await readdir(alone)).toEqual(["registry.db"]);
  // SQLite does not say why it cannot open a file.
  const cause = new Error("unable to open database file");
  for (const path of [alone, file()]) {
    const refused = unusable(file(), cause, (one) => one !== path);
    expect([idOf(refused), refused.diagnostics[0]?.where]).toEqual(["registry/read-only", path]);
  }
  expect(idOf(unusable(file(), cause))).toBe("registry/unusable-store");
});
