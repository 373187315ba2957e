import { expect, test } from "vitest";
import { runnerContract } from "../../test/contracts/runner.ts";
import { childProcessRunner } from "./child-process.ts";
import { inProcessRunner } from "./in-process.ts";
import { memoryLimitBytes, memoryOf, outOfMemoryKills, processMemory } from "./memory-probe.ts";
import { runtimeInfo } from "./ort.ts";

runnerContract("in-process", inProcessRunner);
runnerContract("child-process", childProcessRunner);

test("the runtime says what it is", async () => {
  const { version, providers } = await runtimeInfo();
  expect(version).toMatch(/^1\.30/);
  expect(providers).toContain("cpu");
});

test("memory of processes and of the machine", () => {
  expect(processMemory().residentBytes).toBeGreaterThan(10_000_000);
  expect(memoryOf(2 ** 30)).toBeUndefined();
  expect(outOfMemoryKills() ?? 0).toBeGreaterThanOrEqual(0);
  expect(memoryLimitBytes()).toBeGreaterThan(100_000_000);
});
