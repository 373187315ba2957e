import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { command, skipway } from "./cli.ts";

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

test("a drill that nobody knows is told with those that there are", async () => {
  const { code, err } = await command("drill", "earthquake");
  expect(code).toBe(2);
  expect(err).toContain("corrupt-artifact, good-version, or all");
});
