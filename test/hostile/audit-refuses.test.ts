import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "libsql";
import { afterEach, beforeEach, expect, test } from "vitest";
import { SkipwayError } from "../../src/base/errors.ts";
import { AccessStore } from "../../src/registry/access.ts";
import { MemoryRecords } from "../../src/rollout/memory-records.ts";
import { served } from "../../src/rollout/served.test-helper.ts";
import { endpoint } from "../../src/serve/http/endpoint.ts";
import { ModelServer } from "../../src/serve/server.ts";

// An audit log that takes no entry, as on a full disk: what was done is told, in the form of all errors.

let folder = "";
let access: AccessStore;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-audit-"));
  access = await AccessStore.open(folder);
  const db = new Database(join(folder, "registry.db"));
  db.exec(
    "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ROLLBACK, 'disk is full'); END",
  );
  db.close();
});
afterEach(async () => {
  await access.close();
  await rm(folder, { recursive: true });
});

const DONE = { error: expect.stringMatching(/this was done, .* audit log/) };

test("a change that cannot be written down is told, and a refusal stays what it is", async () => {
  const server = new ModelServer({ version: "1", access });
  endpoint(server.app, "POST", "/a/change", async () => ({ long: "answer" }));
  const address = await server.listen({ port: 0 });
  const url = `${address}/a/change`;
  try {
    const done = await fetch(url, { method: "POST" });
    expect(done.status).toBe(500);
    expect(await done.json()).toEqual(DONE);
    const refused = await fetch(url, { method: "POST", headers: { origin: "https://other.test" } });
    expect(refused.status).toBe(403);
    expect(Object.keys(Object(await refused.json()))).toEqual(["error"]);
  } finally {
    await server.stop();
  }
});

test("a dry run has done nothing, so nobody says that it was done", async () => {
  await using here = await served({}, { access });
  const order = (act: string, body: unknown) => here.api("POST", `models/m/rollout${act}`, body);
  const policy = { steps: [{ share: 0.5, requests: 1e6 }], thresholdMs: 1000 };
  const plan = await order("", { to: 2, policy, dryRun: true });
  expect(plan).toMatchObject({ status: 200, body: { schema: "skipway.rollout-plan/1" } });
  expect((await here.api("GET", "models/m/rollout")).status).toBe(404);
  expect(await order("", { to: 2, policy })).toMatchObject({ status: 500, body: DONE });
  expect(await here.api("GET", "models/m/rollout")).toMatchObject({ body: { over: false } });
  expect(await order("/abort", { dryRun: true })).toMatchObject({ status: 200 });
  expect(await here.api("GET", "models/m/rollout")).toMatchObject({ body: { over: false } });
});

test("a start that the store does not take has not begun, and the next one may", async () => {
  const records = new MemoryRecords();
  const write = records.write.bind(records);
  records.write = async () => {
    throw new SkipwayError("environment", "the disk is full");
  };
  await using here = await served({}, { records });
  const policy = { steps: [{ share: 0.5, requests: 1e6 }], thresholdMs: 1000 };
  const start = () => here.api("POST", "models/m/rollout", { to: 2, policy });
  const refused = await start();
  expect(refused.status).toBeGreaterThanOrEqual(500);
  expect(JSON.stringify(refused.body)).not.toContain("this was done");
  expect((await here.api("GET", "models/m/rollout")).status).toBe(404);
  expect(here.runner.alive.map(({ path }) => path)).toEqual(["v1"]);
  records.write = write;
  expect((await start()).status).toBe(201);
});
