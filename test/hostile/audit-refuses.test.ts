import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "libsql";
import { expect, test } from "vitest";
import { AccessStore } from "../../src/registry/access.ts";
import { endpoint } from "../../src/serve/http/endpoint.ts";
import { ModelServer } from "../../src/serve/server.ts";

// An audit log that takes no entry, as on a full disk: what was done is told, in the form of all errors.

test("a change that cannot be written down is told, and a refusal stays what it is", async () => {
  const folder = await mkdtemp(join(tmpdir(), "skipway-audit-"));
  const access = await AccessStore.open(folder);
  const db = new Database(join(folder, "registry.db"));
  db.exec(
    "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ROLLBACK, 'disk is full'); END",
  );
  db.close();
  const server = new ModelServer({ version: "1", access });
  endpoint(server.app, "POST", "/a/change", async () => ({ long: "answer" }));
  const address = await server.listen({ port: 0 });
  const url = `${address}/a/change`;
  try {
    const done = await fetch(url, { method: "POST" });
    expect(done.status).toBe(500);
    expect(await done.json()).toEqual({ error: expect.stringContaining("audit log") });
    const refused = await fetch(url, { method: "POST", headers: { origin: "https://other.test" } });
    expect(refused.status).toBe(403);
    expect(Object.keys(Object(await refused.json()))).toEqual(["error"]);
  } finally {
    await server.stop();
    await access.close();
    await rm(folder, { recursive: true });
  }
});
