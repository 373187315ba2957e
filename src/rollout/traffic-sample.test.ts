import { describe, expect, test } from "vitest";
import { Random } from "../base/random.ts";
import { LastRequests } from "../serve/last-requests.ts";
import { sampledUnits } from "./traffic-sample.ts";

/** 2,000 batches of four; who is slow is said by client. */
function sampled(slow: (client: number, random: Random) => boolean, sticky = true): LastRequests {
  const requests = new LastRequests();
  const random = new Random(3);
  for (let batch = 1; batch <= 2000; batch++) {
    for (let i = 0; i < 4; i++) {
      const client = random.integer(1000);
      requests.add(batch, slow(client, random) ? 100 : 1, sticky ? client : undefined);
    }
  }
  return requests;
}

describe("what counts as one", () => {
  test("is a batch, and slow ones are told by their share", () => {
    const read = sampledUnits(
      sampled((_, random) => random.uniform() < 0.01, false),
      50,
    );
    expect(read?.rowsPerBatch).toBe(4);
    expect(read?.slowRate).toBeCloseTo(0.04, 2);
    expect(read?.distinct).toBe(1);
  });

  test("counts less where the same clients are slow again and again", () => {
    const anyone = sampledUnits(
      sampled((_, random) => random.uniform() < 0.01),
      50,
    );
    const few = sampledUnits(
      sampled((client) => client < 10),
      50,
    );
    expect(anyone?.distinct).toBeGreaterThan(0.7);
    expect(few?.distinct).toBeLessThan(0.3);
  });

  test("is not said where too little was slow", () => {
    expect(
      sampledUnits(
        sampled((client) => client < 10),
        500,
      ),
    ).toBeUndefined();
    expect(sampledUnits(new LastRequests(), 50)).toBeUndefined();
  });

  test("is of the last requests alone", () => {
    const requests = sampled(() => true);
    expect(sampledUnits(requests, 50)?.slowRate).toBe(1);
    for (let batch = 3000; batch < 11_192; batch++) requests.add(batch, 1, undefined);
    expect(requests.size).toBe(8192);
    expect(sampledUnits(requests, 50)).toBeUndefined();
  });
});
