import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type RolloutRow, RolloutStore } from "./rollouts.ts";

const BUILT = join(process.cwd(), "dist/registry/rollouts.js");

let folder = "";
let store: RolloutStore;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-rollouts-"));
  store = await RolloutStore.open(folder);
});

afterAll(async () => {
  await store.close();
  await rm(folder, { recursive: true });
});

function row(id: string, more: Partial<RolloutRow> = {}): RolloutRow {
  const times = { startedMs: 1, updatedMs: 1 };
  return { id, model: "m", active: true, ...times, document: "{}", evidence: "{}", ...more };
}

function written(rollout: RolloutRow, events: readonly string[] = []): Promise<void> {
  const rows = events.map((id) => ({ id, rollout: rollout.id, atMs: 2, document: `"${id}"` }));
  const certificates = [{ rollout: rollout.id, atMs: 2, decision: "step", document: "{}" }];
  return store.write({ rollout, events: rows, certificates, webhooks: ["a", "b"] });
}

test("one rollout of a model is active; what is over is kept", async () => {
  await written(row("1"), ["e1"]);
  await expect(written(row("2"))).rejects.toThrow();
  expect(await store.rollout("2")).toBeUndefined();
  await written(row("1", { active: false, document: '{"x":1}' }), ["e2"]);
  await written(row("2", { startedMs: 5 }), ["e3"]);
  await written(row("3", { model: "n" }));
  expect((await store.active()).map(({ id }) => id)).toEqual(["3", "2"]);
  expect((await store.list(9, "m")).map(({ id }) => id)).toEqual(["2", "1"]);
  expect(await store.rollout("1")).toMatchObject({ active: false, document: '{"x":1}' });
  expect((await store.events("1", 9)).map(({ id }) => id)).toEqual(["e1", "e2"]);
  expect(await store.certificates("1")).toHaveLength(2);
});

test("how far it is is kept beside, and another connection sees it", async () => {
  await store.keep(row("2", { evidence: '{"n":3}', startedMs: 5 }));
  await using other = await RolloutStore.open(folder);
  expect((await other.rollout("2"))?.evidence).toBe('{"n":3}');
});

test("rows of the evidence are added, replaced, and let go of", async () => {
  const add = (first: number, from: number, end: number, rows: string): Promise<void> =>
    store.keep(row("4", { model: "log", log: { first, from, end, rows } }));
  const kept = async () => (await store.log("4")).map(({ from, end, rows }) => [from, end, rows]);
  expect(await kept()).toEqual([]);
  await add(0, 0, 3, "[a]");
  await add(0, 2, 5, "[b]");
  await add(0, 5, 5, "[]");
  expect(await kept()).toEqual([
    [0, 3, "[a]"],
    [2, 5, "[b]"],
  ]);
  // The last one again, with more in it; and those before are added up.
  await add(3, 2, 6, "[c]");
  expect(await kept()).toEqual([[2, 6, "[c]"]]);
  // What changes nothing of the log leaves it.
  await store.keep(row("4", { model: "log" }));
  expect(await kept()).toHaveLength(1);
  await store.keep(row("4", { model: "log", active: false }));
  expect(await kept()).toEqual([]);
});

test("each webhook is told each event once, or again later", async () => {
  const due = async (webhook: string) =>
    (await store.due(webhook, 100)).map(({ event, attempts }) => `${event.id} ${attempts}`);
  expect(await due("a")).toEqual(["e1 0", "e2 0", "e3 0"]);
  await store.delivered("e1", "a");
  await store.failed("e1", "b", 3);
  expect(await due("a")).toEqual(["e2 0", "e3 0"]);
  expect(await due("b")).toEqual(["e1 3", "e2 0", "e3 0"]);
  // Written again after a kill in between: what was told is not told twice for it.
  await written(row("2"), ["e2"]);
  expect(await due("a")).toHaveLength(2);
  await store.keepWebhooks(["b"]);
  expect(await due("a")).toEqual([]);
  expect(await due("b")).toHaveLength(3);
});

test("one process of all moves the rollouts of a folder", async () => {
  expect(store.claim()).toBe(true);
  expect(store.claim()).toBe(true);
  const code = `const {RolloutStore} = await import(${JSON.stringify(BUILT)});
    const store = await RolloutStore.open(${JSON.stringify(folder)});
    process.stdout.write(String(store.claim()));`;
  const other = async () =>
    (await promisify(execFile)(process.execPath, ["--input-type=module", "-e", code])).stdout;
  expect(await other()).toBe("false");
  await store.close();
  expect(await other()).toBe("true");
  store = await RolloutStore.open(folder);
});

test("requests are remembered for a time", async () => {
  const of = (request: string, atMs: number) => ({ request, rollout: "1", atMs, document: "{}" });
  await store.remember([of("a", 10), of("b", 20)], 0);
  await store.remember([of("b", 30), of("c", 30)], 20);
  expect(await store.requests(["a", "nobody"])).toEqual([]);
  expect(await store.requests(["b"])).toMatchObject([{ atMs: 30 }]);
  await store.remember(
    Array.from({ length: 9000 }, (_, i) => of(`r${i}`, 40)),
    0,
  );
  expect(await store.requests(["r8999"])).toMatchObject([{ rollout: "1" }]);
});
