import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import Database from "libsql";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { idsOf } from "../../test/contracts/runner.ts";
import { AccessStore } from "./access.ts";
import { isSecret, newSecret, redacted, secretDigest } from "./secret.ts";

let folder = "";
let nowMs = 1_000_000;
const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs };
const stores: AccessStore[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-access-"));
  nowMs = 1_000_000;
});
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
  await rm(folder, { recursive: true });
});

async function open(): Promise<AccessStore> {
  const store = await AccessStore.open(folder, clock);
  stores.push(store);
  return store;
}

const DAY = 86_400_000;

describe("secrets", () => {
  test("have a form, and a slip in any place is no secret", () => {
    const secret = newSecret();
    expect(secret).toMatch(/^skw_[0-9A-Za-z]{49}$/);
    expect(isSecret(secret)).toBe(true);
    for (let at = 0; at < secret.length; at++) {
      const other = secret[at] === "a" ? "b" : "a";
      expect(isSecret(secret.slice(0, at) + other + secret.slice(at + 1))).toBe(false);
    }
    for (const text of ["", "skw_", secret.slice(1), `${secret}0`, `${secret}\n`]) {
      expect(isSecret(text)).toBe(false);
    }
    expect(new Set(Array.from({ length: 1000 }, newSecret)).size).toBe(1000);
  });

  test("do not survive in a text, whole or cut", () => {
    const secret = newSecret();
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.integer({ min: 12, max: 53 }), (a, b, chars) => {
        const part = secret.slice(0, chars);
        expect(redacted(`${a} ${part} ${b}`)).not.toContain(part.slice(4));
      }),
    );
  });
});

describe("tokens", () => {
  test("a secret is good for its token, and stands in no file", async () => {
    const store = await open();
    const { token, secret } = await store.tokens.create("ci", "deployer", { lifetimeMs: DAY });
    expect(token).toMatchObject({
      name: "ci",
      role: "deployer",
      secrets: [{ id: expect.any(String) }],
    });
    expect(await store.view.identify(secret)).toMatchObject({ name: "ci", role: "deployer" });
    expect(await store.view.identify(newSecret())).toBeUndefined();
    expect(await store.view.identify(`${secret}x`)).toBeUndefined();
    for (const file of ["registry.db", "registry.db-wal"]) {
      const bytes = await readFile(join(folder, file));
      expect(bytes.includes(secret.slice(4))).toBe(false);
    }
    expect((await readFile(join(folder, "registry.db-wal"))).includes(secretDigest(secret))).toBe(
      true,
    );
  });

  test("a rotated secret works beside the new one, for as long as it was given", async () => {
    const store = await open();
    const works = async (...secrets: string[]) => {
      nowMs += 500;
      return Promise.all(
        secrets.map(async (one) => (await store.view.identify(one)) !== undefined),
      );
    };
    const first = (await store.tokens.create("ci", "infer")).secret;
    const rotate = async () => (await store.tokens.rotate("ci", { overlapMs: 10_000 })).secret;
    const second = await rotate();
    expect(await works(first, second)).toEqual([true, true]);
    const third = await rotate();
    expect(await works(first, second, third)).toEqual([false, true, true]);
    expect((await store.tokens.list())[0]?.secrets).toHaveLength(2);
    nowMs += 10_000;
    expect(await works(second, third)).toEqual([false, true]);
  });

  test("expiry and revocation end a secret within a second, seen from another process's connection", async () => {
    const server = await open();
    const other = await open();
    const short = (await other.tokens.create("short", "viewer", { lifetimeMs: 1000 })).secret;
    const long = (await other.tokens.create("long", "viewer")).secret;
    expect(await server.view.identify(short)).toBeDefined();
    expect(await server.view.identify(long)).toBeDefined();
    nowMs += 1000;
    expect(await server.view.identify(short)).toBeUndefined();
    await other.tokens.revoke("long");
    nowMs += 999;
    expect(await server.view.identify(long)).toBeUndefined();
    expect((await other.tokens.list()).map(({ secrets }) => secrets)).toEqual([[], []]);
  });

  test("when one was last used is written down, once a minute", async () => {
    const store = await open();
    const { secret } = await store.tokens.create("ci", "infer");
    await store.view.identify(secret);
    await store.view.flush();
    expect((await store.tokens.list())[0]?.secrets[0]?.lastUsedMs).toBe(1_000_000);
    nowMs += 59_999;
    await store.view.identify(secret);
    await store.view.flush();
    expect((await store.tokens.list())[0]?.secrets[0]?.lastUsedMs).toBe(1_000_000);
  });

  test("names are used once, and only live tokens are rotated or revoked", async () => {
    const { tokens, view } = await open();
    await tokens.create("a", "admin");
    expect(await view.hasRole("admin")).toBe(true);
    expect(await view.hasRole("viewer")).toBe(false);
    expect(await idsOf(tokens.create("a", "infer"))).toEqual(["tokens/name-taken"]);
    await tokens.revoke("a");
    nowMs += 500;
    expect(await view.hasRole("admin")).toBe(false);
    expect(await idsOf(tokens.create("a", "infer"))).toEqual(["tokens/name-taken"]);
    for (const name of ["a", "b"]) {
      expect(await idsOf(tokens.revoke(name))).toEqual(["tokens/unknown"]);
      expect(await idsOf(tokens.rotate(name, { overlapMs: 1 }))).toEqual(["tokens/unknown"]);
    }
    expect(await idsOf(tokens.create("../a", "infer"))).toEqual(["tokens/name"]);
  });
});

describe("audit log", () => {
  const record = (i: number) => ({ actor: `a${i % 3}`, action: `do ${i}`, result: "200" });

  test("keeps what it is told, without secrets", async () => {
    const { audit } = await open();
    const secret = newSecret();
    await audit.append({
      actor: "ci",
      action: `POST /x?t=${secret}`,
      result: "200",
      details: { secret },
    });
    const [entry] = await audit.list(1);
    expect(entry).toMatchObject({ id: 1, atMs: nowMs, actor: "ci", result: "200" });
    expect(JSON.stringify(entry)).not.toContain(secret.slice(4));
  });

  test("what is being written when the store closes is written", async () => {
    const store = await open();
    const writes = [1, 2].map((i) => store.audit.append(record(i)));
    await store.close();
    await Promise.all(writes);
    const actions = (await (await open()).audit.list(2)).map(({ action }) => action);
    expect(actions).toEqual(["do 1", "do 2"]);
  });

  test("two processes write one chain", async () => {
    const [one, two] = [await open(), await open()];
    await Promise.all(
      Array.from({ length: 20 }, (_, i) => (i % 2 ? one : two).audit.append(record(i))),
    );
    expect(await one.audit.verify()).toMatchObject({ entries: 20 });
    expect(await one.audit.verify()).not.toHaveProperty("broken");
  });

  test("every edit, cut and move is found", async () => {
    const { audit } = await open();
    for (let i = 1; i <= 12; i++) await audit.append(record(i));
    const { head } = await audit.verify();
    const db = new Database(join(folder, "registry.db"));
    const columns = ["id", "at_ms", "actor", "action", "result", "details", "previous", "digest"];
    const damage = fc.oneof(
      fc.record({
        kind: fc.constant("edit"),
        id: fc.integer({ min: 1, max: 12 }),
        column: fc.constantFrom(...columns),
      }),
      fc.record({
        kind: fc.constant("cut"),
        id: fc.integer({ min: 1, max: 12 }),
        column: fc.constant(""),
      }),
      fc.record({
        kind: fc.constant("swap"),
        id: fc.integer({ min: 1, max: 11 }),
        column: fc.constant(""),
      }),
    );
    await fc.assert(
      fc.asyncProperty(damage, async ({ kind, id, column }) => {
        db.exec("CREATE TEMP TABLE kept AS SELECT * FROM audit");
        try {
          if (kind === "edit")
            db.exec(
              `UPDATE audit SET ${column} = ${column === "id" ? "id + 100" : column === "at_ms" ? "at_ms + 1" : `${column} || ' '`} WHERE id = ${id}`,
            );
          if (kind === "cut") db.exec(`DELETE FROM audit WHERE id = ${id}`);
          if (kind === "swap")
            db.exec(
              `UPDATE audit SET id = 1000 WHERE id = ${id}; UPDATE audit SET id = ${id} WHERE id = ${id + 1}; UPDATE audit SET id = ${id + 1} WHERE id = 1000`,
            );
          expect((await audit.verify(head)).broken).toBeDefined();
        } finally {
          db.exec("DELETE FROM audit; INSERT INTO audit SELECT * FROM kept; DROP TABLE kept");
        }
      }),
      { numRuns: 60 },
    );
    expect(await audit.verify(head)).toEqual({ entries: 12, head });
    db.close();
  });

  test("a database that rolls back by itself, as on a full disk, is told with its own words", async () => {
    const { audit, tokens } = await open();
    const db = new Database(join(folder, "registry.db"));
    for (const table of ["audit", "tokens"]) {
      db.exec(
        `CREATE TRIGGER full_${table} BEFORE INSERT ON ${table} BEGIN SELECT RAISE(ROLLBACK, 'disk is full'); END`,
      );
    }
    const entry = { actor: "a", action: "b", result: "done" };
    for (const write of [() => audit.append(entry), () => tokens.create("t", "viewer", {})]) {
      const refused = write();
      await expect(refused).rejects.toThrow("disk is full");
      expect(await idsOf(refused)).toEqual(["registry/unwritable"]);
    }
    db.exec("DROP TRIGGER full_audit");
    await audit.append(entry);
    expect(await audit.verify()).toMatchObject({ entries: 1 });
    db.close();
  });
});
