import { describe, expect, test } from "vitest";
import {
  affineModel,
  brittleModel,
  identityModel,
  slowModel,
  tinyClassifier,
} from "../../test/models.ts";
import { float32 } from "../graph/tensor.ts";
import { readModel } from "../onnx/read.ts";
import { childProcessRunner } from "../runtime/child-process.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import { digits } from "../train/data.ts";
import { type CheckOptions, checkModel } from "./gate.ts";
import { decodeGolden, encodeGolden, recordGolden } from "./golden.ts";

async function check(file: Uint8Array, more: Partial<CheckOptions> = {}) {
  await using session = await inProcessRunner().load({ bytes: file });
  const { graph } = readModel(file);
  return await checkModel({ graph, session, memoryBudgetBytes: 1e9, batch: 32, ...more });
}

function failed(report: Awaited<ReturnType<typeof check>>): string[] {
  return report.rules.filter((rule) => !rule.passed).map((rule) => rule.id);
}

describe("the gate", () => {
  test("a sound model passes; rules without evidence do not run", async () => {
    const report = await check(affineModel());
    expect(report.passed).toBe(true);
    expect(report.rules.map((rule) => rule.id)).toEqual(["shapes", "memory"]);
  });

  test("shapes: the reason names the merge and the repair", async () => {
    const file = affineModel();
    const { graph } = readModel(file);
    const nodes = graph.nodes.map((node) =>
      node.op === "Add" ? { ...node, inputs: ["m", "wide"] } : node,
    );
    const wide = float32([4], [1, 2, 3, 4]);
    const broken = { ...graph, nodes, initializers: new Map(graph.initializers).set("wide", wide) };
    const report = await check(file, { graph: broken });
    expect(failed(report)).toEqual(["shapes"]);
    expect(report.rules[0]?.text).toMatch(/cannot join "m" \[N,3\] and "wide" \[4\]/);
  });

  test("memory: activations and weights against the budget", async () => {
    // x, m, y and z of 32 x 3 floats at most together, and two scalars.
    expect(failed(await check(affineModel(), { memoryBudgetBytes: 3 * 384 + 8 }))).toEqual([]);
    expect(failed(await check(affineModel(), { memoryBudgetBytes: 3 * 384 + 7 }))).toEqual([
      "memory",
    ]);
  });

  test("golden: recorded answers are replayed, a changed weight is found", async () => {
    const file = tinyClassifier();
    await using session = await inProcessRunner().load({ bytes: file });
    const golden = await recordGolden(session);
    if (golden === undefined) throw new Error("inputs can be made up");
    const again = decodeGolden(encodeGolden(golden));
    expect(failed(await check(file, { golden: again }))).toEqual([]);
    const answers = golden.outputs.get("logits");
    const changed = float32([1, 10], new Array(10).fill(0.5));
    expect(answers?.shape).toEqual([1, 10]);
    const wrong = { inputs: golden.inputs, outputs: new Map([["logits", changed]]) };
    expect(failed(await check(file, { golden: wrong }))).toEqual(["golden"]);
    const other = {
      inputs: golden.inputs,
      outputs: new Map([["logits", float32([1, 9], new Array(9).fill(0))]]),
    };
    expect(failed(await check(file, { golden: other }))).toEqual(["golden"]);
  });

  test("accuracy: against a floor on the holdout", async () => {
    const data = await digits();
    const report = await check(tinyClassifier(), { holdout: { data, floor: 0.9 } });
    expect(failed(report)).toEqual(["accuracy"]);
    expect(report.rules.at(-1)?.text).toMatch(
      /^\d+ of 360 holdout examples right .*at least 90 % needed/,
    );
    expect(failed(await check(tinyClassifier(), { holdout: { data, floor: 0 } }))).toEqual([]);
  });

  test("no answers are recorded where none can be made up", async () => {
    const models = [
      brittleModel(),
      identityModel("float32", ["N", 100_000, 100_000]),
      identityModel("float32", [2 ** 40, 2 ** 20]),
      identityModel("string", ["N"]),
    ];
    for (const bytes of models) {
      await using session = await inProcessRunner().load({ bytes });
      expect(await recordGolden(session)).toBeUndefined();
    }
  });

  test("a model that does not end can be given up", async () => {
    const bytes = slowModel(1_000_000);
    await using session = await childProcessRunner().load({ bytes });
    const signal = AbortSignal.timeout(100);
    await expect(recordGolden(session, { signal })).rejects.toThrow();
  });
});
