import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { OnCallDocument } from "../src/dashboard/api.ts";
import { command as skipway } from "./cli.ts";
import { clientsOf, killOnce, MODEL, QUICK, RolloutServer, twoVersions } from "./rollouts.ts";

// `skipway rollout` from the command line, and servers that are killed in the middle of one.

let folder = "";
let server: RolloutServer;
let data = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-rollout-"));
  data = join(folder, "data");
  await twoVersions(data);
  server = await RolloutServer.start(data);
});
afterAll(async () => {
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

const rollout = (...args: string[]) => skipway("rollout", ...args, "--url", server.at);

test("from the plan to the promotion, with the certificates judged once more", async () => {
  const clients = clientsOf(() => server, 4);
  const policy = join(folder, "policy.json");
  await writeFile(policy, JSON.stringify(QUICK));
  const dry = await rollout("start", MODEL, "--to", "2", "--policy", policy, "--dry-run");
  expect(dry).toMatchObject({ code: 0 });
  expect(dry.out).toMatch(/step +share +candidate requests/);
  expect((await rollout("status")).out).toContain("There has been no rollout.");

  const start = ["start", MODEL, "--to", "2", "--policy", policy, "--watch", "--json"];
  const done = await rollout(...start);
  await clients.stop();
  expect(done.err).toContain("canary step 2 of 2");
  const document = JSON.parse(done.out);
  expect(document).toMatchObject({ schema: "skipway.rollout/1", phase: "promoted", over: true });
  expect(done.code).toBe(0);
  expect(clients.counts.bad).toEqual([]);
  expect((await rollout("status", MODEL)).out).toMatch(/promoted[\s\S]*disagreement/);
  expect((await rollout("status", MODEL)).out).toMatch(
    /drift of y .*\n *drift of z .*\n *cost of an inference .*ms/,
  );

  const live = await rollout("replay", document.id, "--json");
  expect(live.code).toBe(0);
  const again = JSON.parse(live.out);
  expect(again.certificates.map((one: { decision: string }) => one.decision)).toEqual([
    "step",
    "step",
    "promote",
  ]);
  const stored = await skipway("rollout", "replay", document.id, "--data", data);
  expect(stored).toMatchObject({ code: 0, err: "" });
  expect(stored.out).toMatch(/promote: PASS, the same bits/);
});

test("what cannot be done says why, with its exit code", async () => {
  const gone = await rollout("hold", MODEL);
  expect(gone).toMatchObject({ code: 3, out: "" });
  expect(gone.err).toContain("no rollout");
  expect((await rollout("start", MODEL, "--to", "7")).code).toBe(3);
  expect((await rollout("start", MODEL)).code).toBe(2);
  expect((await rollout("replay", "nothing")).code).toBe(3);
  expect((await skipway("rollout", "replay", "nothing", "--data", data)).code).toBe(3);
  const nowhere = await skipway("rollout", "status", "--url", "http://127.0.0.1:1");
  expect(nowhere).toMatchObject({ code: 4 });
  expect((await skipway("rollout", "status", "--url", "nothing")).code).toBe(2);
});

test("a plan that is refused ends as the start itself, also from a file that an editor put a mark in front of", async () => {
  const names = ["slow", "slow-run", "failed", "out-of-memory", "wrong", "disagreement"];
  const gates = Object.fromEntries(names.map((name) => [name, false]));
  const policy = join(folder, "marked.json");
  await writeFile(policy, `\uFEFF${JSON.stringify({ thresholdMs: 1000, gates })}`);
  const start = ["start", MODEL, "--to", "1", "--policy", policy];
  const dry = await rollout(...start, "--dry-run");
  expect(dry.out).toMatch(/refused +every gate is off/);
  const json = await rollout(...start, "--dry-run", "--json");
  expect(JSON.parse(json.out)).toMatchObject({ plan: { refusal: "every gate is off" } });
  const begun = await rollout(...start);
  expect(begun.err).toContain("every gate is off");
  expect([dry.code, json.code, begun.code]).toEqual([3, 3, 3]);
});

test("after a restart the list of events goes back to what rollouts told before it", async () => {
  const events = async () => (await server.api<OnCallDocument>("GET", "on-call")).events;
  const told = (await events()).filter(({ rollout: of }) => of !== undefined);
  await server.kill();
  server = await RolloutServer.start(data);
  const again = await events();
  const old = again.filter(({ rollout: of }) => of !== undefined);
  expect(old.map(({ eventId, kind, atMs }) => [eventId, kind, atMs])).toEqual(
    told.map(({ eventId, kind, atMs }) => [eventId, kind, atMs]),
  );
  expect(old.at(-1)?.kind).toBe("promoted");
  expect(again.at(-1)?.id).toBeGreaterThan(old.at(-1)?.id ?? 0);
});

test("kill -9 in the middle: the next server goes on, and the evidence is kept", async () => {
  const point = { phase: "canary", step: 1, waitMs: 100 } as const;
  const { phase, faults } = await killOnce(join(folder, "killed"), point);
  expect(faults).toEqual([]);
  // On a busy machine it may have gone on while it was looked at.
  expect(["canary 1", "promoting", "promoted"]).toContain(phase);
});
