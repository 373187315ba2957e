import { expect, test } from "vitest";
import type { Clock } from "../base/clock.ts";
import { Random } from "../base/random.ts";
import type { RolloutRow } from "../registry/rollouts.ts";
import { Journal } from "./journal.ts";
import { Judge } from "./judge/judge.ts";
import type { JudgePolicy, RequestObservation } from "./judge/types.ts";
import { MemoryRecords } from "./memory-records.ts";
import { evidenceOf } from "./record.ts";

const POLICY: JudgePolicy = {
  ...{ alpha: 0.05, effect: 2, thresholdMs: 100, disagreementAllowed: 0.01 },
  gates: { slow: { floor: 0.01 }, failed: { floor: 0.01 } },
  // So few that the oldest are added up again and again.
  logRows: 40,
};

/** Remembers rollouts; the disk is full when it is told so. */
class FullRecords extends MemoryRecords {
  full = false;
  /** Rows of the evidence of the last write. */
  rows = 0;

  override async keep(rollout: RolloutRow): Promise<void> {
    if (this.full) throw new Error("the disk is full");
    this.rows = JSON.parse(rollout.log?.rows ?? "[]").length;
    await super.keep(rollout);
  }
}

function rowOf(judge: Judge, written: number): ReturnType<Parameters<typeof journalOf>[2]> {
  const { head, from, rows } = judge.since(written);
  const { first = 0 } = head;
  return {
    ...{ id: "r", model: "m", active: true, startedMs: 0, updatedMs: 0, document: "{}" },
    evidence: JSON.stringify(head),
    log: { first, from, end: from + rows.length, rows: JSON.stringify(rows) },
  };
}

function journalOf(
  records: FullRecords,
  clock: Clock,
  row: ConstructorParameters<typeof Journal>[2]["row"],
  rows = 0,
): Journal {
  return new Journal(records, clock, { row, rows, webhooks: [], onWritten: () => undefined });
}

async function stored(records: FullRecords): Promise<ReturnType<typeof evidenceOf>> {
  const row = await records.rollout("r");
  if (row === undefined) throw new Error("nothing was written");
  return evidenceOf(row, await records.log("r"));
}

function requestAt(i: number, random: Random): RequestObservation {
  const share = i < 200 ? 0.25 : 0.5;
  const arm = random.uniform() < share ? "candidate" : "stable";
  const latencyMs = random.uniform() < 0.2 ? 200 : 20;
  const [atMs, stratum] = [1e12 + 20 * i, `s${random.integer(3)}`];
  return { kind: "request", atMs, arm, share, latencyMs, outcome: "good", stratum };
}

test.each([1, 2, 3])(
  "what is written down is all that the judge knows, though each write is of what is new (seed %d)",
  async (seed) => {
    const random = new Random(seed, 11);
    const records = new FullRecords();
    const now = { ms: 0 };
    const clock: Clock = { nowMs: () => 1e12 + now.ms, monotonicMs: () => now.ms };
    let judge = new Judge(POLICY);
    let journal = journalOf(records, clock, (written) => rowOf(judge, written));
    for (let i = 0; i < 400; i++) {
      judge.observe(requestAt(i, random));
      if (i % 10 === 3) judge.verdict(1e12 + 20 * i);
      records.full = i % 100 > 80;
      now.ms += 5000;
      journal.touch();
      journal.write();
      // As long as a write takes, and more.
      await new Promise((resolve) => setImmediate(resolve));
      if (records.full) {
        expect(journal.fault).toMatch(/disk is full/);
        continue;
      }
      expect(journal.fault).toBeNull();
      const kept = await stored(records);
      expect(kept).toEqual(JSON.parse(JSON.stringify(judge.snapshot())));
      if (i % 100 > 5) expect(records.rows).toBeLessThan(8);
      if (i % 70 === 69) {
        // Another server goes on.
        judge = new Judge(POLICY, kept);
        const rows = (await records.log("r")).at(-1)?.end ?? 0;
        journal = journalOf(records, clock, (written) => rowOf(judge, written), rows);
      }
    }
    const { first = 0, rows } = await stored(records);
    expect(first).toBeGreaterThan(0);
    expect(rows.length).toBeLessThanOrEqual(40);
  },
);

test("evidence of a store that had no log of its own is read", () => {
  const judge = new Judge(POLICY);
  const random = new Random(5);
  for (let i = 0; i < 50; i++) judge.observe(requestAt(i, random));
  const whole = judge.snapshot();
  const { first: _, ...before } = whole;
  const row = { ...rowOf(judge, 0), evidence: JSON.stringify(before) };
  expect(evidenceOf(row, [])).toEqual(JSON.parse(JSON.stringify(before)));
});

test("rows that are missing are a defect, and no evidence", () => {
  const judge = new Judge(POLICY);
  const log = [{ from: 7, end: 8, rows: '[["golden",1,"stable",true]]' }];
  expect(() => evidenceOf(rowOf(judge, 0), log)).toThrow(/gap/);
});
