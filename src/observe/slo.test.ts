import { describe, expect, test } from "vitest";
import { parseBytes, parseDuration } from "../base/format.ts";
import { NO_OBJECTIVES, objectivesOf, parseLatencyObjective, parseSlo } from "./slo.ts";

describe("slo.json", () => {
  test("has objectives by model, and some for all others", () => {
    const slo = parseSlo(
      JSON.stringify({
        models: {
          net: { latency: { p99: "50ms", "p99.9": "0.2s" }, availability: "99.9%", window: "7d" },
          "*": { availability: 0.99 },
        },
      }),
      "slo.json",
    );
    expect(objectivesOf(slo, "net")).toEqual({
      latency: [
        { p: 0.99, ms: 50 },
        { p: 0.999, ms: 200 },
      ],
      availability: 0.999,
      windowDays: 7,
    });
    expect(objectivesOf(slo, "other")).toEqual({ latency: [], availability: 0.99, windowDays: 28 });
    expect(objectivesOf(new Map(), "net")).toEqual(NO_OBJECTIVES);
  });

  test.each([
    ["{", "no JSON"],
    ["[]", "models"],
    ['{"models":{"a":{"latency":{"p100":"5ms"}}}}', "p100"],
    ['{"models":{"a":{"latency":{"p99":"fast"}}}}', "p99"],
    ['{"models":{"a":{"availability":"100%"}}}', "availability"],
    ['{"models":{"a":{"window":"soon"}}}', "window"],
    ['{"models":{"a":{"lateness":1}}}', "lateness"],
  ])("%s is refused", (text, says) => {
    expect(() => parseSlo(text, "slo.json")).toThrow(says);
  });
});

test.each([
  ["p99=50ms", { p: 0.99, ms: 50 }],
  ["p99.9=1.5s", { p: 0.999, ms: 1500 }],
  ["p50=200us", { p: 0.5, ms: 0.2 }],
  ["p99", undefined],
  ["99=1s", undefined],
  ["p0=1s", undefined],
  ["p99=0ms", undefined],
  ["p99=1s=2", undefined],
])("%s is an objective or none", (text, expected) => {
  expect(parseLatencyObjective(text)).toEqual(expected);
});

test.each([
  ["512MB", 512_000_000],
  ["2GiB", 2_147_483_648],
  ["1.5 kb", 1500],
  ["1000", 1000],
  ["-1", undefined],
  ["12 parsecs", undefined],
  ["", undefined],
  ["9e99", undefined],
])("%s is a number of bytes or none", (text, expected) => {
  expect(parseBytes(text)).toBe(expected);
});

test("a time has its unit", () => {
  expect(["50ms", "1.5s", "2m", "28d", "5", "ms", "-1s"].map(parseDuration)).toEqual([
    50,
    1500,
    120_000,
    2_419_200_000,
    undefined,
    undefined,
    undefined,
  ]);
});

test("what is no object is no objectives", () => {
  expect(() => parseSlo('{"models": {"net": 5}}', "slo.json")).toThrow("net: its objectives");
});
