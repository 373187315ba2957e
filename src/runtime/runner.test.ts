import { expect, test } from "vitest";
import { runnerContract } from "../../test/contracts/runner.ts";
import { parseGraph } from "../graph/parse.ts";
import { tensor } from "../graph/tensor.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
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

test("what the runtime says of a failure has none of its functions and files", async () => {
  const graph = parseGraph(
    "g (int64[1] n) => (float[K] y) <float[1] z = {0}> { y = Expand (z, n) }",
    { opsets: new Map([["", 20]]) },
  );
  await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
  const below = tensor("int64", [1], new Uint8Array(new BigInt64Array([-5n]).buffer));
  const error = await session.run(new Map([["n", below]])).catch(String);
  expect(error).toContain("must be >= 0");
  expect(error).not.toMatch(/onnxruntime::|\.cc|ONNXRuntimeError/);
});
