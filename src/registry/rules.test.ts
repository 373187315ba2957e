import { describe, expect, test } from "vitest";
import { Random } from "../base/random.ts";
import { parseGraph } from "../graph/parse.ts";
import {
  accuracyRule,
  baselineLatencyRule,
  hazardsRule,
  invarianceRule,
  type LoadEvidence,
  latencyRule,
  requestsNeeded,
  signatureRule,
} from "./rules.ts";

const load = (
  p99: readonly [number, number, number] | null,
  more: Partial<LoadEvidence> = {},
): LoadEvidence => ({
  rate: 50,
  seconds: 10,
  sent: 500,
  failed: 0,
  latencies: [
    {
      p: 0.99,
      n: 500,
      lowMs: p99?.[0] ?? null,
      ms: p99?.[1] ?? null,
      highMs: p99?.[2] ?? null,
    },
  ],
  ...more,
});

describe("latency", () => {
  const objective = { p: 0.99, ms: 50 };
  test.each([
    ["the whole interval below", load([30, 40, 49]), true, "within 50.0 ms"],
    ["the interval across", load([30, 40, 51]), false, "not shown to be within"],
    ["the whole interval above", load([60, 70, 80]), false, "beyond 50.0 ms"],
    ["too few requests", load(null, { sent: 40 }), false, "368 are needed (--seconds 9)"],
    ["a failed request", load([1, 2, 3], { failed: 1 }), false, "1 of 500 requests failed"],
  ])("%s", (_, evidence, passed, says) => {
    const rule = latencyRule(objective, evidence);
    expect(rule).toMatchObject({ id: "latency-p99", passed });
    expect(rule.text).toContain(says);
  });

  test("of a baseline counts where the intervals are apart by more than a tenth", () => {
    const before = load([20, 22, 25]);
    expect(baselineLatencyRule(load([27, 30, 33]), before).passed).toBe(true);
    expect(baselineLatencyRule(load([28, 30, 33]), before).passed).toBe(false);
    expect(baselineLatencyRule(load([27, 30, 33]), before).measured).toBeUndefined();
    const unknown = baselineLatencyRule(load(null), before);
    expect(unknown).toMatchObject({ passed: true, measured: false });
    expect(unknown.text).toContain("368 of each are needed");
  });

  test("an upper end exists for as many events as the binomial says", () => {
    for (const p of [0.5, 0.9, 0.99, 0.999]) {
      const n = requestsNeeded(p);
      expect(p ** n).toBeLessThanOrEqual(0.025);
      expect(p ** (n - 1)).toBeGreaterThan(0.025);
    }
  });
});

describe("accuracy", () => {
  test("against a floor", () => {
    const found = { count: 200, right: 180 };
    expect(accuracyRule(found, { floor: 0.9, dropMax: 0.01 }).passed).toBe(true);
    expect(accuracyRule(found, { floor: 0.905, dropMax: 0.01 }).passed).toBe(false);
  });

  test.each([
    ["equal", 20, 20, true],
    ["better", 30, 5, true],
    ["worse within what is allowed and within chance", 19, 23, true],
    ["worse by more than allowed", 10, 21, false],
    ["worse beyond chance, though within what is allowed", 0, 9, false],
  ])("beside a baseline: %s", (_, onlyNew, onlyOld, passed) => {
    const found = { count: 1000, right: 900, baseline: { right: 900, onlyNew, onlyOld } };
    expect(accuracyRule(found, { dropMax: 0.01 }).passed).toBe(passed);
  });

  test("the interval of the difference holds the true one in about 95 of 100 samples", () => {
    const random = new Random(3);
    let held = 0;
    for (let i = 0; i < 2000; i++) {
      // The new one alone is right in 6 %, the old one alone in 10 %: a true difference of -4 points.
      let onlyNew = 0;
      let onlyOld = 0;
      for (let k = 0; k < 800; k++) {
        const u = random.uniform();
        if (u < 0.06) onlyNew++;
        else if (u < 0.16) onlyOld++;
      }
      const { text } = accuracyRule(
        { count: 800, right: 0, baseline: { right: 0, onlyNew, onlyOld } },
        { dropMax: 1 },
      );
      const [, low, high] = /interval ([-+\d.]+) to ([-+\d.]+)/.exec(text) ?? [];
      if (Number(low) <= -4 && -4 <= Number(high)) held++;
    }
    expect(held / 2000).toBeGreaterThan(0.93);
    expect(held / 2000).toBeLessThan(0.97);
  });
});

test("a model that cannot be batched passes, unless its baseline could", () => {
  const reason = "row 1 differs";
  const alone = { invariant: false, reason };
  expect(invarianceRule({ invariant: true, reason: "3 batches" })).toMatchObject({ passed: true });
  expect(invarianceRule(alone)).toMatchObject({
    passed: true,
    text: `each request is run alone: ${reason}`,
  });
  expect(invarianceRule(alone, { invariant: false }).passed).toBe(true);
  expect(invarianceRule(alone, { invariant: true }).passed).toBe(false);
});

describe("a graph", () => {
  const net = (head: string, body = "y = Relu (x)") =>
    parseGraph(`<ir_version: 10, opset_import: ["": 20]>\nnet ${head}\n{\n    ["r"] ${body}\n}`);
  const base = net("(float[N, 4] x) => (float[N, 4] y)");

  test.each([
    [
      "another name of the batch",
      net("(float[B, 4] x) => (float[B, 4] y)"),
      true,
      "those of the baseline",
    ],
    ["another size", net("(float[N, 5] x) => (float[N, 5] y)"), false, "was float32[?,4]"],
    ["another type", net("(double[N, 4] x) => (double[N, 4] y)"), false, "float64"],
    ["an input more", net("(float[N, 4] x, float[1] z) => (float[N, 4] y)"), false, '"z" is new'],
    [
      "an output less",
      net("(float[N, 4] x) => (float[N, 4] o)", "o = Relu (x)"),
      false,
      '"y" is gone',
    ],
  ])("with %s than the baseline", (_, graph, passed, says) => {
    const rule = signatureRule(graph, base);
    expect(rule.passed).toBe(passed);
    expect(rule.text).toContain(says);
  });

  test("with an error of lint fails, with warnings it passes", () => {
    expect(hazardsRule(base, {}).passed).toBe(true);
    const broken = net(
      "(float[N, 4] x) => (float[N, 4] y)\n<float[3] w = {1, 2, 3}>",
      "y = Add (x, w)",
    );
    expect(hazardsRule(broken, {})).toMatchObject({ passed: false });
  });
});
