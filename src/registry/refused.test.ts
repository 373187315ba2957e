import { expect, test } from "vitest";
import { diskRefused, unusable } from "./refused.ts";

function coded(code: string): Error {
  return Object.assign(new Error("the system's own words"), { code });
}

test.each([
  ["SQLITE_BUSY", /other processes/, /Try again/],
  ["SQLITE_BUSY_SNAPSHOT", /other processes/, /Try again/],
  ["SQLITE_FULL", /full/, /Free some space/],
  ["ENOSPC", /full/, /Free some space/],
  ["SQLITE_IOERR_SHMSIZE", /refuses/, /whether the disk is full/],
  ["SQLITE_READONLY", /not writable/, /writable/],
  ["EACCES", /not writable/, /writable/],
  ["SQLITE_CORRUPT", /damaged/, /from a copy/],
  ["SQLITE_NOTADB", /no database/, /from a copy/],
])("%s has a way out of its own", (code, text, fix) => {
  for (const refused of [diskRefused("store.db", coded(code)), unusable("store.db", coded(code))]) {
    const [found] = refused.diagnostics;
    expect(found?.text).toMatch(text);
    expect(found?.text).toContain("the system's own words");
    expect(found?.fix).toMatch(fix);
  }
});

test("what has no code keeps its words", () => {
  const [found] = unusable(
    "store.db",
    new Error("corrupted migrations: 9-new is gone"),
  ).diagnostics;
  expect(found?.id).toBe("registry/newer-store");
  expect(diskRefused("x", "x is no folder").message).toContain("x is no folder");
});
