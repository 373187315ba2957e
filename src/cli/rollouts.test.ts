import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import type { OnCallDocument } from "../dashboard/api.ts";
import { registerDashboard } from "../dashboard/routes.ts";
import { Registry } from "../registry/registry.ts";
import { RolloutStore } from "../registry/rollouts.ts";
import { ModelServer } from "../serve/server.ts";
import { openRollouts } from "./rollouts.ts";
import { dashboardSource } from "./up/source.ts";

test("a webhook that takes nothing is told of on the error stream, in /metrics and in the on-call document", async () => {
  const folder = await mkdtemp(join(tmpdir(), "skipway-webhooks-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const pager = { name: "pager", url: "http://127.0.0.1:9/hook", secret: "0123456789abcdef" };
  await writeFile(join(folder, "webhooks.json"), JSON.stringify({ webhooks: [pager] }));
  await using registry = await Registry.open(folder);
  await using store = await RolloutStore.open(folder);
  const times = { startedMs: 0, updatedMs: 0 };
  const rollout = { id: "r", model: "m", active: false, ...times, document: "{}", evidence: "{}" };
  const event = { id: "r.1", rollout: "r", atMs: systemClock.nowMs(), document: "{}" };
  await store.write({ rollout, events: [event], certificates: [], webhooks: ["pager"] });

  const server = new ModelServer({ version: "1" });
  const notices: string[] = [];
  await using opened = await openRollouts(server, {
    ...{ registry, folder, nodePool: "default", notice: (line: string) => notices.push(line) },
  });
  onTestFinished(() => server.stop());
  const about = { version: "1", startedMs: 0, folder, rollouts: opened };
  // What happened before is no event of a page here.
  const { rollouts: _past, ...source } = dashboardSource(registry, server, about);
  await registerDashboard(server.app, source);
  const at = await server.listen({ port: 0 });

  const why = /its address lies in a private network/;
  await expect.poll(() => notices, { timeout: 10_000 }).toEqual([expect.stringMatching(why)]);
  const reading = { webhook: "pager", delivered: 0, undelivered: 1, oldestMs: event.atMs };
  const told = async () => {
    const answer = await fetch(`${at}/api/v1/on-call`);
    return ((await answer.json()) as OnCallDocument).status.webhooks;
  };
  await expect.poll(told).toMatchObject([reading]);
  expect((await told())?.[0]?.failure?.why).toMatch(why);
  const metrics = await (await fetch(`${at}/metrics`)).text();
  expect(metrics).toContain('\nskipway_webhook_failing{webhook="pager"} 1\n');
  expect(metrics).toContain('\nskipway_webhook_undelivered{webhook="pager"} 1\n');
  expect(metrics).toMatch(
    /\nskipway_webhook_deliveries_total\{webhook="pager",result="failed"\} [1-9]/,
  );
  expect(await store.undelivered("nobody")).toEqual({ count: 0, oldestMs: null });
});
