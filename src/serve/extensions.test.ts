import { describe, expect, test } from "vitest";
import {
  type DescribedModel,
  modelConfiguration,
  modelMetadata,
  modelStatistics,
  refuseOverrides,
  serverMetadata,
} from "./extensions.ts";

const model: DescribedModel = {
  name: "m",
  version: 2,
  digest: "sha256:1",
  inputs: new Map([
    ["x", { dtype: "float16", shape: ["N", 3, "?"] }],
    ["t", { dtype: "string", shape: ["N"] }],
  ]),
  outputs: new Map([["y", { dtype: "float32", shape: ["N", 10] }]]),
};

describe("descriptions of the protocol", () => {
  test("metadata: unknown and symbolic dims are -1, the batch dim stands in it", () => {
    expect(modelMetadata(model, [2, 1])).toEqual({
      name: "m",
      versions: ["1", "2"],
      platform: "onnx_onnxv1",
      inputs: [
        { name: "x", datatype: "FP16", shape: [-1, 3, -1] },
        { name: "t", datatype: "BYTES", shape: [-1] },
      ],
      outputs: [{ name: "y", datatype: "FP32", shape: [-1, 10] }],
      properties: { digest: "sha256:1" },
    });
  });

  test("only what is there is advertised", () => {
    expect(serverMetadata("1", { repository: false }).extensions).not.toContain("model_repository");
    expect(serverMetadata("1", { repository: true }).extensions).toContain("model_repository");
  });

  test("a configuration has the batch dim in max_batch_size, or in dims", () => {
    expect(modelConfiguration(model, [2])).toMatchObject({
      max_batch_size: 0,
      input: [
        { name: "x", data_type: "TYPE_FP16", dims: [-1, 3, -1], optional: false },
        { name: "t", data_type: "TYPE_STRING", dims: [-1] },
      ],
      version_policy: { specific: { versions: [2] } },
    });
    const batching = { rowsMax: 8, delayMaxUs: 500 };
    const batched = modelConfiguration({ ...model, batching }, [2]);
    expect(batched).toMatchObject({
      max_batch_size: 8,
      input: [{ dims: [3, -1] }, { dims: [] }],
      output: [{ dims: [10] }],
      dynamic_batching: { max_queue_delay_microseconds: 500 },
    });
  });

  test("a first dim that is fixed is no batch dim", () => {
    const outputs = new Map([["y", { dtype: "float32" as const, shape: [1, 10] }]]);
    const batching = { rowsMax: 8, delayMaxUs: 0 };
    const found = modelConfiguration({ ...model, outputs, batching }, [2]);
    expect(found.max_batch_size).toBe(0);
    expect(found).not.toHaveProperty("dynamic_batching");
  });

  test("statistics are in nanoseconds, counts as they were", () => {
    const total = (count: number, ms: number) => ({ count, ms });
    const found = modelStatistics(model, {
      lastInferenceMs: 1234.5,
      inferences: 7,
      executions: 3,
      success: total(5, 1.5),
      fail: total(1, 0.25),
      queue: total(5, 0.1),
      computeInput: total(3, 0),
      computeInfer: total(3, 1),
      computeOutput: total(3, 0),
      batches: [
        {
          rows: 4,
          computeInput: total(1, 0),
          computeInfer: total(1, 0.5),
          computeOutput: total(1, 0),
        },
      ],
    });
    expect(found).toMatchObject({
      name: "m",
      version: "2",
      inference_count: 7,
      execution_count: 3,
      inference_stats: {
        success: { count: 5, ns: 1_500_000 },
        queue: { count: 5, ns: 100_000 },
        cache_hit: { count: 0, ns: 0 },
      },
      batch_stats: [{ batch_size: 4, compute_infer: { count: 1, ns: 500_000 } }],
    });
  });

  test("files and configurations are not taken from a load", () => {
    expect(() => refuseOverrides(new Map([["config", "{}"]]))).toThrow(/configuration/);
    expect(() => refuseOverrides(new Map([["file:1/model.onnx", "AA=="]]))).toThrow(/uploaded/);
    refuseOverrides(new Map([["unload_dependents", true]]));
  });
});
