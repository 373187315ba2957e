import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { alive, childrenOf, command, Running, skipway, until } from "./cli.ts";

// One drill as a user runs it: a real training, a server of its own, a rollout over HTTP, and a report. The others take
// longer, since evidence does: skipway drill all.

test("a drill ends as it stated, reports what it saw, and leaves nothing behind", async () => {
  const folder = await mkdtemp(join(tmpdir(), "skipway-drills-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const stages = async () =>
    (await readdir(tmpdir())).filter((name) => name.startsWith("skipway-drill-"));
  const before = await stages();
  const { code, out, err } = await skipway("drill", "corrupt-artifact", "--json", "--out", folder);
  expect(err).toContain("stated: Bits of the file");
  const { held, drills } = JSON.parse(out);
  expect(drills[0].misses).toEqual([]);
  expect(held).toBe(true);
  expect(code).toBe(0);
  expect(drills[0]).toMatchObject({
    schema: "skipway.drill/1",
    end: { phase: "failed", cause: "load-failed" },
    failed: 0,
    candidateAnswers: 0,
  });
  expect(await readFile(join(folder, "corrupt-artifact.md"), "utf8")).toContain("Ended as stated");
  expect((await stages()).filter((name) => !before.includes(name))).toEqual([]);
}, 120_000);

/** A drill whose server serves, with its own folder for temporary files and all processes below it. */
async function underWay(): Promise<{ drill: Running; own: string; below: number[] }> {
  const own = await mkdtemp(join(tmpdir(), "skipway-drilling-"));
  onTestFinished(() => rm(own, { recursive: true }));
  const drill = new Running(["drill", "good-version"], { TMPDIR: own });
  onTestFinished(() => drill.kill("SIGKILL"));
  await drill.says(/clients ask/);
  const servers = await childrenOf(drill.process.pid);
  const models = (await Promise.all(servers.map(childrenOf))).flat();
  expect([servers.length, models.length > 0]).toEqual([1, true]);
  return { drill, own, below: [...servers, ...models] };
}

test("the end of the terminal ends a drill, and it leaves nothing behind", async () => {
  const { drill, own, below } = await underWay();
  // The terminal and its shell send it both.
  drill.kill("SIGHUP");
  drill.kill("SIGHUP");
  const { code, err } = await drill.done;
  expect(code).toBe(130);
  expect(err).toMatch(/interrupted/);
  await until(() => !below.some(alive));
  expect(await readdir(own)).toEqual([]);
}, 120_000);

test("kill -9 of a drill ends its server and its models too", async () => {
  const { drill, below } = await underWay();
  drill.kill("SIGKILL");
  await drill.done;
  await until(() => !below.some(alive));
}, 120_000);

test("reports that cannot be written are told before anything runs", async () => {
  const folder = await mkdtemp(join(tmpdir(), "skipway-drills-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, "file"), "");
  const { code, err } = await command("drill", "all", "--out", join(folder, "file", "reports"));
  expect(code).toBe(4);
  expect(err).toMatch(/reports cannot be written there: .*ENOTDIR/);
  expect(err).not.toContain("Training");
});

test("a drill that nobody knows is told with those that there are", async () => {
  const { code, err } = await command("drill", "earthquake");
  expect(code).toBe(2);
  expect(err).toContain("corrupt-artifact, good-version, or all");
});
