import { describe, expect, test } from "vitest";
import { Random } from "../base/random.ts";
import type { RequestOutcome } from "../serve/outcomes.ts";
import { TrafficSample } from "./traffic-sample.ts";

function request(over: Partial<RequestOutcome>): RequestOutcome {
  return {
    ...{ kind: "request", model: "m", version: 1, role: "stable", share: 0, rows: 1 },
    ...{ atMs: 0, monotonicMs: 0, endedMs: 1, latencyMs: 1, batch: 1 },
    ...{ outcome: "good", outOfMemory: false, finite: true, shape: "x[1]" },
    ...over,
  };
}

/** So many batches of four; who is slow is said by client. */
function sampled(slow: (client: number, random: Random) => boolean, sticky = true): TrafficSample {
  const sample = new TrafficSample();
  const random = new Random(3);
  for (let batch = 1; batch <= 2000; batch++) {
    for (let i = 0; i < 4; i++) {
      const client = random.integer(1000);
      const latencyMs = slow(client, random) ? 100 : 1;
      sample.take(request({ batch, latencyMs, ...(sticky && { key: client }) }));
    }
  }
  return sample;
}

describe("what counts as one", () => {
  test("is a batch, and slow ones are told by their share", () => {
    const read = sampled((_, random) => random.uniform() < 0.01, false).read(1, 50);
    expect(read?.rowsPerBatch).toBe(4);
    expect(read?.slowRate).toBeCloseTo(0.04, 2);
    expect(read?.distinct).toBe(1);
  });

  test("counts less where the same clients are slow again and again", () => {
    const anyone = sampled((_, random) => random.uniform() < 0.01).read(1, 50);
    const few = sampled((client) => client < 10).read(1, 50);
    expect(anyone?.distinct).toBeGreaterThan(0.7);
    expect(few?.distinct).toBeLessThan(0.3);
  });

  test("is not said of another version, of another role, or where too little was slow", () => {
    const sample = sampled((client) => client < 10);
    expect(sample.read(2, 50)).toBeUndefined();
    expect(sample.read(1, 500)).toBeUndefined();
    sample.take(request({ role: "pinned", version: 2, latencyMs: 100 }));
    expect(sample.read(1, 50)).toBeDefined();
    sample.take(request({ version: 2, latencyMs: 100 }));
    expect(sample.read(1, 50)).toBeUndefined();
  });

  test("is of the last requests alone", () => {
    const sample = sampled(() => true);
    expect(sample.read(1, 50)?.slowRate).toBe(1);
    for (let batch = 3000; batch < 11_192; batch++) sample.take(request({ batch }));
    expect(sample.read(1, 50)).toBeUndefined();
  });
});
