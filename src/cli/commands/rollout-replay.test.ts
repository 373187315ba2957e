import { existsSync } from "node:fs";
import { cp, mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "libsql";
import { afterAll, beforeAll, expect, test } from "vitest";
import { RolloutStore } from "../../registry/rollouts.ts";
import type { Records } from "../../rollout/record.ts";
import { served } from "../../rollout/served.test-helper.ts";
import type { Io } from "../io.ts";
import { runCommand } from "../run.ts";

// Evidence that somebody has damaged, or that a disk has.

let folder = "";
let id = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-replay-"));
  await using store = await RolloutStore.open(join(folder, "whole"));
  // The server forgets them when it ends.
  const records: Records = store;
  await using here = await served({}, { records });
  const policy = {
    ...{ shadow: false, autoPromote: false, thresholdMs: 1000, effect: 10 },
    steps: [{ share: 0.5, seconds: 0, requests: 20 }],
    gates: { failed: { floor: 0.2 } },
  };
  const order = await here.api("POST", "models/m/rollout", { to: 2, policy });
  expect(order.status, JSON.stringify(order.body)).toBe(201);
  const stop = here.load();
  await here.until(({ phase }) => phase === "canary");
  for (const one of here.runner.processes) if (one.path === "v2") one.script.run = "fails";
  const over = await here.until((document) => document.over);
  await stop();
  id = over.id;
  await here.rollouts.close();
  expect(await store.certificates(id)).toHaveLength(2);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A copy of the store in which something was changed. */
async function storeWith(name: string, sql: string): Promise<string> {
  const data = join(folder, name);
  await cp(join(folder, "whole"), data, { recursive: true });
  const database = new Database(join(data, "registry.db"));
  database.exec(sql);
  database.close();
  return data;
}

async function replay(data: string, rollout = id) {
  const said = { out: "", err: "" };
  const io: Io = {
    ...{ live: false, color: false, columns: 100, rows: 24, outColor: false },
    ...{ outColumns: Number.POSITIVE_INFINITY, outUnicode: true },
    out: (text) => {
      said.out += text;
    },
    err: (text) => {
      said.err += text;
    },
    signal: new AbortController().signal,
  };
  const code = await runCommand(["rollout", "replay", rollout, "--data", data], io);
  process.exitCode = undefined;
  return { code, ...said };
}

test("what is whole is judged once more", async () => {
  expect(await replay(await storeWith("same", ""))).toEqual({
    code: 0,
    out: expect.stringMatching(/^step: .*the same bits\nrollback: REGRESS, the same bits\n$/),
    err: "",
  });
});

const CERTIFICATES = "rollout_certificates";

test.each([
  [
    "a certificate is deleted",
    `delete from ${CERTIFICATES} where decision = 'rollback'`,
    /missing: 1 of 1 certificates of its decisions "rollback".*rolled-back/,
  ],
  ["all are deleted", `delete from ${CERTIFICATES}`, /"step" missing.*\nmissing: .*"rollback"/],
  [
    "one is cut off",
    `update ${CERTIFICATES} set document = '{' where decision = 'step'`,
    /step: not judged, not the same\n {2}it is damaged/,
  ],
  [
    "one is no object",
    `update ${CERTIFICATES} set document = 'null' where decision = 'rollback'`,
    /rollback: not judged, not the same\n {2}it is damaged/,
  ],
  [
    "one is sealed by somebody else, with nothing in it",
    `update ${CERTIFICATES} set document = '{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}'`,
    /nothing can be judged from it/,
  ],
  [
    "one stands in the place of another",
    `update ${CERTIFICATES} set document = (select document from ${CERTIFICATES} where decision = 'step')`,
    /rollback: .*not the same\n {2}it is the certificate of another decision/,
  ],
  ["the record is deleted", "delete from rollouts", /missing: the record of the rollout/],
  ["the record is cut off", "update rollouts set document = '{'", /missing: the record/],
])("%s: it is told, with exit code 1", async (name, sql, told) => {
  const { code, out, err } = await replay(await storeWith(name.replaceAll(/\W/g, "-"), sql));
  expect([code, err]).toEqual([1, ""]);
  expect(out).toMatch(told);
});

test("a folder without a store is told, and stays away", async () => {
  const data = join(folder, "typo");
  const { code, err } = await replay(data);
  expect(code).toBe(3);
  expect(err).toContain("there is no store in this folder");
  expect(existsSync(data)).toBe(false);
});

test("a rollout that is none is told", async () => {
  const data = await storeWith("none", "");
  expect(await replay(data, "nothing")).toMatchObject({ code: 3, out: "" });
  expect(await stat(join(data, "registry.db"))).toBeDefined();
  expect(await readdir(data)).not.toContain("blobs");
});
