import { spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import Database from "libsql";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { idsOf } from "../../test/contracts/runner.ts";
import { Blobs } from "./blobs.ts";
import { codeCommit } from "./commit.ts";
import { digestOf, isDigest } from "./digest.ts";
import { Registry } from "./registry.ts";

let root = "";
let made = 0;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "skipway-registry-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

const fresh = (): string => join(root, `r${made++}`);
const bytes = (text: string): Uint8Array => Buffer.from(text);
const metadata = { createdBy: "test", metrics: { accuracy: 0.97 }, seed: 1 };
const by = { actor: "test", reason: "because", override: true };

describe("registry", () => {
  test("keeps what it was given", async () => {
    const folder = fresh();
    {
      await using registry = await Registry.open(folder);
      const attachments = new Map([["golden", bytes("answers")]]);
      const { version, created } = await registry.push("m", bytes("one"), {
        metadata,
        attachments,
      });
      expect(created).toBe(true);
      expect(version).toMatchObject({
        model: "m",
        version: 1,
        digest: digestOf(bytes("one")),
        bytes: 3,
      });
    }
    await using registry = await Registry.open(folder);
    const version = await registry.version("m", 1);
    if (version === undefined) throw new Error("the version is gone");
    expect(version.metadata).toEqual(metadata);
    expect(Buffer.from(await registry.modelBytes(version)).toString()).toBe("one");
    expect(Buffer.from((await registry.attachment(version, "golden")) ?? []).toString()).toBe(
      "answers",
    );
    expect(await registry.attachment(version, "none")).toBeUndefined();
  });

  test("moves no alias to a version that did not pass its last check, unless told to", async () => {
    await using registry = await Registry.open(fresh());
    const { version } = await registry.push("m", bytes("one"), { metadata });
    const plain = { actor: "test", reason: "release" };
    const move = (more = {}) => registry.setAlias("m", "stable", 1, { ...plain, ...more });
    const check = (passed: boolean) =>
      registry.recordCheck(version, { actor: "ci", passed, report: bytes(`{"passed":${passed}}`) });
    expect(await idsOf(move())).toEqual(["registry/not-passed"]);
    await check(true);
    await check(false);
    expect(await idsOf(move())).toEqual(["registry/not-passed"]);
    await move({ override: true });
    expect(await registry.aliasEvents("m", "stable")).toMatchObject([
      { version: 1, actor: "test", reason: "override: release" },
    ]);
    await check(true);
    const last = await registry.lastCheck(version);
    expect(last).toMatchObject({ actor: "ci", passed: true });
    if (last === undefined) throw new Error("there was a check");
    expect(Buffer.from(await registry.checkReport(last)).toString()).toBe('{"passed":true}');
    await registry.push("m", bytes("two"), { metadata });
    expect(await idsOf(registry.setAlias("m", "stable", 2, plain))).toEqual([
      "registry/not-passed",
    ]);
    await registry.setAlias("m", "canary", 1, plain);
    expect(await registry.aliasEvents("m", "canary")).toMatchObject([{ reason: "release" }]);
  });

  test("does what a plain model of it does, for any order of calls", async () => {
    const name = fc.constantFrom("a", "b");
    const push = fc.record({
      kind: fc.constant("push" as const),
      model: name,
      content: fc.constantFrom("x", "y", "z"),
    });
    const alias = fc.record({
      kind: fc.constant("alias" as const),
      model: name,
      alias: fc.constantFrom("stable", "canary"),
      version: fc.integer({ min: 1, max: 4 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(push, alias), { maxLength: 14 }), async (calls) => {
        await using registry = await Registry.open(fresh());
        const versions = new Map<string, string[]>();
        const aliases = new Map<string, number>();
        const events = new Map<string, number>();
        for (const call of calls) {
          const list = versions.get(call.model) ?? [];
          if (call.kind === "push") {
            const known = list.indexOf(call.content);
            const { version, created } = await registry.push(call.model, bytes(call.content), {
              metadata,
            });
            expect(created).toBe(known < 0);
            if (known < 0) list.push(call.content);
            versions.set(call.model, list);
            expect(version.version).toBe(list.indexOf(call.content) + 1);
            continue;
          }
          const moved = registry.setAlias(call.model, call.alias, call.version, by);
          if (call.version > list.length) {
            expect(await idsOf(moved)).toEqual(["registry/unknown-version"]);
            continue;
          }
          await moved;
          const key = `${call.model}/${call.alias}`;
          if (aliases.get(key) !== call.version) events.set(key, (events.get(key) ?? 0) + 1);
          aliases.set(key, call.version);
        }
        expect(await registry.models()).toEqual([...versions.keys()].sort());
        for (const [model, list] of versions) {
          expect((await registry.versions(model)).map((v) => v.digest)).toEqual(
            list.map((c) => digestOf(bytes(c))),
          );
        }
        for (const [key, version] of aliases) {
          const [model = "", alias = ""] = key.split("/");
          expect((await registry.resolve(model, alias))?.version).toBe(version);
          expect((await registry.aliases(model)).get(alias)).toBe(version);
          expect(await registry.aliasEvents(model, alias)).toHaveLength(events.get(key) ?? 0);
        }
      }),
      { numRuns: 12 },
    );
  });

  test("pointing an alias where it points already is no event", async () => {
    await using registry = await Registry.open(fresh());
    for (const content of ["one", "two"]) await registry.push("m", bytes(content), { metadata });
    for (const version of [1, 1, 2, 2, 1]) await registry.setAlias("m", "stable", version, by);
    const events = await registry.aliasEvents("m", "stable");
    expect(events.map((event) => event.version)).toEqual([1, 2, 1]);
  });

  test("what an alias pointed to at a time is a query", async () => {
    let now = 1000;
    const clock = { nowMs: () => now, monotonicMs: () => now };
    await using registry = await Registry.open(fresh(), { clock });
    for (const content of ["one", "two"]) await registry.push("m", bytes(content), { metadata });
    for (const version of [1, 2, 1]) {
      await registry.setAlias("m", "stable", version, by);
      now += 1000;
    }
    const at = (ms: number) => registry.aliasAt("m", "stable", ms);
    expect([await at(999), await at(1500), await at(2000), await at(9000)]).toEqual([
      undefined,
      1,
      2,
      1,
    ]);
  });

  test("a stored file that was changed is not given out, and the finding says what to do", async () => {
    const folder = fresh();
    await using registry = await Registry.open(folder);
    const { version } = await registry.push("m", bytes("good"), { metadata });
    await writeFile(await registry.modelPath(version), "evil");
    expect(await idsOf(registry.modelPath(version))).toEqual(["registry/digest-mismatch"]);
    expect(await idsOf(registry.modelBytes(version))).toEqual(["registry/digest-mismatch"]);
    await rm(new Blobs(join(folder, "blobs")).path(version.digest));
    expect(await idsOf(registry.modelPath(version))).toEqual(["registry/blob-missing"]);
  });

  test("what was damaged or is gone is put back by pushing the same file again", async () => {
    const folder = fresh();
    await using registry = await Registry.open(folder);
    const blobs = new Blobs(join(folder, "blobs"));
    const attachments = new Map([["golden", bytes("answers")]]);
    const push = () => registry.push("m", bytes("good"), { metadata, attachments });
    const { version, repaired } = await push();
    expect(repaired).toEqual([]);
    expect((await push()).repaired).toEqual([]);
    // As long as it was.
    await writeFile(blobs.path(version.digest), "gooD");
    await rm(blobs.path(version.attachments["golden"] ?? ""));
    expect(await push()).toMatchObject({ created: false, repaired: ["model", "golden"] });
    expect(Buffer.from(await registry.modelBytes(version)).toString()).toBe("good");
    expect(await registry.attachment(version, "golden")).toBeDefined();
  });

  test.each(["2", "01", "007"])("no alias is called %s: it would hide a version", async (alias) => {
    await using registry = await Registry.open(fresh());
    await registry.push("m", bytes("one"), { metadata });
    expect(await idsOf(registry.setAlias("m", alias, 1, by))).toEqual(["registry/alias-number"]);
    expect(await registry.aliases("m")).toEqual(new Map());
  });

  test("an override says why", async () => {
    await using registry = await Registry.open(fresh());
    await registry.push("m", bytes("one"), { metadata });
    for (const reason of ["", " \n"]) {
      const moved = registry.setAlias("m", "stable", 1, { ...by, reason });
      expect(await idsOf(moved)).toEqual(["registry/no-reason"]);
    }
    expect(await registry.aliasEvents("m", "stable")).toEqual([]);
  });

  test.each(["metadata = '{'", "attachments = 'null}'", "digest = '../../etc/passwd'"])(
    "a version whose entry was damaged is told: %s",
    async (damage) => {
      const folder = fresh();
      await using registry = await Registry.open(folder);
      await registry.push("m", bytes("good"), { metadata });
      const db = new Database(join(folder, "registry.db"));
      db.exec(`update versions set ${damage}`);
      db.close();
      expect(await idsOf(registry.version("m", 1))).toEqual(["registry/damaged-version"]);
    },
  );

  test("a folder of blobs that is a file is told as the disk's refusal", async () => {
    const folder = fresh();
    await using registry = await Registry.open(folder);
    await writeFile(join(folder, "blobs"), "");
    expect(await idsOf(registry.push("m", bytes("x"), { metadata }))).toEqual([
      "registry/unwritable",
    ]);
  });

  test.each(["", ".hidden", "a/b", "..", "a".repeat(129), "white space"])(
    "refuses the name %j",
    async (name) => {
      await using registry = await Registry.open(fresh());
      expect(await idsOf(registry.push(name, bytes("x"), { metadata }))).toEqual(["registry/name"]);
    },
  );

  test("a folder that cannot be one, a store that is none, a store of a newer version", async () => {
    const file = fresh();
    await writeFile(file, "not a folder");
    expect(await idsOf(Registry.open(file))).toEqual(["registry/unwritable"]);
    const folder = fresh();
    await mkdir(folder);
    await writeFile(
      join(folder, "registry.db"),
      "this is no database, whatever its name says".repeat(40),
    );
    expect(await idsOf(Registry.open(folder))).toEqual(["registry/unusable-store"]);
  });

  test("two at once on one folder", async () => {
    const folder = fresh();
    await using one = await Registry.open(folder);
    await using two = await Registry.open(folder);
    await Promise.all([
      ...Array.from({ length: 5 }, (_, i) => one.push("m", bytes(`one ${i}`), { metadata })),
      ...Array.from({ length: 5 }, (_, i) => two.push("m", bytes(`two ${i}`), { metadata })),
    ]);
    const numbers = (await one.versions("m")).map((version) => version.version);
    expect(numbers).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  test("kill -9 while writing: what was acknowledged is there, nothing is half there", async () => {
    for (let round = 0; round < 3; round++) {
      const folder = fresh();
      const writer = spawn(process.execPath, ["test/scripts/writer.mjs", folder], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      let said = "";
      writer.stdout.on("data", (data: Buffer) => {
        said += data.toString();
      });
      while (said.split("\n").length < 6 + 5 * round) await new Promise((r) => setTimeout(r, 5));
      const gone = new Promise((resolve) => writer.once("exit", resolve));
      writer.kill("SIGKILL");
      await gone;
      const acknowledged = said.split("\n").slice(0, -1).map(Number);
      await using registry = await Registry.open(folder);
      const versions = await registry.versions("m");
      expect(versions.length).toBeGreaterThanOrEqual(acknowledged.at(-1) ?? 0);
      for (const version of versions) {
        expect(Buffer.from(await registry.modelBytes(version)).toString()).toBe(
          `content ${version.version}`,
        );
        expect(await registry.attachment(version, "note")).toBeDefined();
      }
    }
  });
});

test("digests have one form", () => {
  expect(digestOf(bytes(""))).toBe(
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  );
  expect(isDigest("sha256:../../etc/passwd")).toBe(false);
});

describe("the commit of the code", () => {
  const hash = "0123456789abcdef0123456789abcdef01234567";
  const repository = async (files: Record<string, string>): Promise<string> => {
    const folder = fresh();
    for (const [name, text] of Object.entries(files)) {
      const path = join(folder, ".git", name);
      await mkdir(join(path, ".."), { recursive: true });
      await writeFile(path, text);
    }
    return folder;
  };

  test.each([
    ["a branch", { HEAD: "ref: refs/heads/main\n", "refs/heads/main": `${hash}\n` }, hash],
    [
      "a packed branch",
      { HEAD: "ref: refs/heads/main\n", "packed-refs": `# pack\n${hash} refs/heads/main\n` },
      hash,
    ],
    ["a detached head", { HEAD: hash }, hash],
    ["a head that points out of the repository", { HEAD: "ref: refs/../../secret\n" }, undefined],
    ["an empty repository", { HEAD: "ref: refs/heads/main\n" }, undefined],
  ])("of %s", async (_what, files, expected) => {
    expect(await codeCommit(await repository(files as Record<string, string>))).toBe(expected);
  });

  test("outside a clone there is none", async () => {
    expect(await codeCommit(root)).toBeUndefined();
  });
});
