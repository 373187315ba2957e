import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { makeDataFolder } from "./data-folder.ts";

const root = mkdtempSync(join(tmpdir(), "skipway-data-folder-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

test("a data folder is made with the folders above it, and stays where it is there", async () => {
  const folder = join(root, "a", "b", "c");
  await makeDataFolder(folder);
  await makeDataFolder(folder);
  expect(statSync(folder).isDirectory()).toBe(true);
});

test("several who make it at the same time all find it", async () => {
  const folder = join(root, "d", "e", "f");
  await Promise.all(Array.from({ length: 8 }, () => makeDataFolder(folder)));
  expect(statSync(folder).isDirectory()).toBe(true);
});

test("a file in the way is told", async () => {
  const file = join(root, "file");
  writeFileSync(file, "");
  await expect(makeDataFolder(file)).rejects.toMatchObject({ code: "environment" });
  await expect(makeDataFolder(join(file, "x"))).rejects.toMatchObject({ code: "environment" });
});

test("a file system that takes no folders is told, not tried for ever", async () => {
  await expect(makeDataFolder("/proc/skipway/data")).rejects.toThrow("cannot be written");
});
