import { describe, expect, test } from "vitest";
import { Random } from "../../base/random.ts";
import { planRollout } from "../planner.ts";
import { Judge } from "./judge.ts";
import { replay } from "./log.ts";
import type { Arm, JudgePolicy, Observation, RequestObservation, Verdict } from "./types.ts";

const POLICY: JudgePolicy = {
  alpha: 0.001,
  thresholdMs: 100,
  effect: 2,
  gates: {},
  disagreementAllowed: 0.02,
  // Has tests of its own.
  warmup: 0,
};

function request(over: Partial<RequestObservation>): RequestObservation {
  const common = { kind: "request", atMs: 0, arm: "stable", share: 0.05, latencyMs: 20 } as const;
  return { ...common, outcome: "good", stratum: "all", ...over };
}

/** Requests one by one; `change` makes the candidate what it is. */
function* traffic(
  count: number,
  share: number,
  change: (random: Random, one: RequestObservation) => Partial<RequestObservation>,
  seed = 1,
): Generator<RequestObservation> {
  const random = new Random(seed);
  for (let i = 0; i < count; i++) {
    const arm = random.uniform() < share ? "candidate" : "stable";
    const latencyMs = random.uniform() < 0.01 ? 200 : 20;
    const one = request({ atMs: 1e12 + i * 5, arm, share, latencyMs });
    yield { ...one, ...change(random, one) };
  }
}

/** Everything that can be observed, at random. */
function mixture(seed: number, count: number): Observation[] {
  const random = new Random(seed, 3);
  return Array.from({ length: count }, (_, i): Observation => {
    const atMs = 1e12 + i * 20 + random.integer(50);
    const share = [0, 0.05, 0.25, 0.5, 1][random.integer(5)] ?? 0;
    const arm = random.uniform() < share ? "candidate" : "stable";
    const bad = random.uniform() < 0.03;
    switch (random.integer(8)) {
      case 0:
        return {
          ...{ kind: "batch", atMs, arm, bucket: `b${random.integer(2)}`, rows: 4 },
          ...{ executeMs: bad ? 50 : 5 + random.uniform(), outcome: "good" },
        } as const;
      case 1: {
        const outcome = bad ? "failed" : "good";
        return { kind: "pair", atMs, agrees: !bad, stableMs: 20, candidateMs: 20, outcome };
      }
      case 2:
        return { kind: "label", atMs, arm, share, key: random.integer(500), correct: !bad };
      case 3:
        return { kind: "golden", atMs, arm, right: true };
      default:
        return request({
          ...{ atMs, arm, share, stratum: `s${random.integer(40)}` },
          ...{ latencyMs: bad ? 200 : 20, outcome: random.integer(200) === 0 ? "failed" : "good" },
          ...(random.integer(2) === 0 ? { key: random.integer(300) } : {}),
          ...(random.integer(2) === 0 ? { batch: Math.floor(i / 4) } : {}),
        });
    }
  });
}

function judged(
  observations: Iterable<Observation>,
  policy: JudgePolicy = POLICY,
): [Judge, Verdict] {
  const judge = new Judge(policy);
  let atMs = 0;
  for (const one of observations) {
    judge.observe(one);
    atMs = one.atMs;
  }
  return [judge, judge.verdict(atMs)];
}

/** Candidate requests until a gate rolls back. */
function until(observations: Iterable<Observation>): [string | undefined, number] {
  const judge = new Judge(POLICY);
  let candidates = 0;
  for (const one of observations) {
    if (one.kind === "request" && one.arm === "candidate") candidates++;
    if (judge.observe(one) && judge.regressed !== undefined) break;
  }
  return [judge.regressed, candidates];
}

describe("labels", () => {
  function* labels(arm: Arm, right: number, wrong: number): Generator<Observation> {
    for (let i = 0; i < right + wrong; i++) {
      yield { kind: "label", atMs: 2e12, arm, share: 0.4, correct: i >= wrong };
    }
  }
  const good = [...traffic(4000, 0.5, () => ({ latencyMs: 20 }))];
  const wrongOf = ({ gates }: Verdict) => gates.find(({ gate }) => gate === "wrong");

  test("that are too few prove nothing by themselves and hold nothing up; how many came is said", () => {
    expect(wrongOf(judged(good)[1])?.labels).toBeUndefined();
    const [, verdict] = judged([
      ...good,
      ...labels("candidate", 24, 1),
      ...labels("stable", 59, 1),
    ]);
    expect(verdict.verdict).toBe("PASS");
    expect(verdict.text).toMatch(/of 25 labels 1 were wrong, of stable's 60 1: about \d+ more/);
    const gate = wrongOf(verdict);
    expect(gate).toMatchObject({
      verdict: "pass",
      candidate: { events: 0 },
      labels: {
        candidate: { events: 1, of: 25 },
        stable: { events: 1, of: 60 },
        decide: false,
      },
    });
    expect(gate?.labels?.needed).toBeGreaterThan(10);
  });

  test("that speak against the candidate are waited for, until further ones clear it", () => {
    const bad = [...good, ...labels("candidate", 20, 5), ...labels("stable", 60, 0)];
    const [, verdict] = judged(bad);
    expect(verdict.verdict).toBe("UNDERPOWERED");
    expect(verdict.text).toMatch(
      /^wrong: .*of 25 labels 5 were wrong, of stable's 60 0: about \d+/,
    );
    const gate = wrongOf(verdict);
    expect(gate).toMatchObject({
      verdict: "underpowered",
      candidate: { events: 5, of: 25 },
      labels: { decide: true },
    });
    const { needed } = gate?.labels ?? {};
    expect(verdict.requestsNeeded).toBeGreaterThan(needed ?? Number.POSITIVE_INFINITY);
    const cleared = [...labels("stable", 900, 100), ...labels("candidate", 900, 20)];
    const [, after] = judged([...bad, ...cleared]);
    expect(after).toMatchObject({ verdict: "PASS" });
    expect(wrongOf(after)?.labels).toMatchObject({ decide: false, needed: 0 });
    const [worse] = judged([...bad, ...labels("candidate", 0, 20)]);
    expect(worse.regressed).toBe("wrong");
  });

  test("of an equal candidate are waited for as seldom as promised", () => {
    let doubted = 0;
    for (let seed = 1; seed <= 200; seed++) {
      const random = new Random(seed, 5);
      const judge = new Judge(POLICY);
      let seen = false;
      for (let i = 0; i < 400; i++) {
        const arm = random.uniform() < 0.4 ? "candidate" : "stable";
        const correct = random.uniform() > 0.2;
        judge.observe({ kind: "label", atMs: 1, arm, share: 0.4, correct });
        if (!correct) seen ||= wrongOf(judge.verdict(1))?.labels?.decide === true;
      }
      doubted += Number(seen);
    }
    expect(doubted).toBeGreaterThan(0);
    expect(doubted).toBeLessThan(20);
  });

  test("that must come: as many as the plan says pass, and fewer do not", () => {
    const policy = { ...POLICY, labelsRequired: true };
    const input = {
      ratePerSecond: 100,
      slowRate: 0.01,
      power: 0.9,
      steps: [{ share: 0.5 }],
      policy,
    };
    const [warning = ""] = planRollout(input).warnings;
    const needed = Number(/before (\d+) right ones/.exec(warning)?.[1]);
    const [, none] = judged(good, policy);
    expect(none.text).toMatch(/^wrong: not known before labels .*come; no label has come/);
    expect(judged([...good, ...labels("candidate", needed - 10, 0)], policy)[1]).toMatchObject({
      verdict: "UNDERPOWERED",
    });
    expect(judged([...good, ...labels("candidate", needed, 0)], policy)[1].verdict).toBe("PASS");
  });
});

describe("a verdict", () => {
  test("is underpowered at first, says what is needed, and passes an equal candidate", () => {
    const [, early] = judged(traffic(1000, 0.5, () => ({})));
    expect(early.verdict).toBe("UNDERPOWERED");
    expect(early.requestsNeeded).toBeGreaterThan(100);
    expect(early.secondsNeeded).toBeGreaterThan(1);
    expect(early.text).toMatch(
      /slow.*candidate requests still needed, about \d+ s at today's rate/,
    );
    const [, late] = judged(traffic(20_000, 0.5, () => ({})));
    expect(late.verdict).toBe("PASS");
    expect(late.requestsNeeded).toBe(0);
    const slow = late.gates.find(({ gate }) => gate === "slow");
    expect(slow?.upper).toBeLessThan(2);
    expect(slow?.lower).toBeLessThan(1);
  });

  test("says never, where nothing comes", () => {
    const judge = new Judge(POLICY);
    const verdict = judge.verdict(1e12);
    expect(verdict).toMatchObject({ verdict: "UNDERPOWERED", secondsNeeded: null });
    expect(verdict.text).toContain("cannot be decided");
  });

  test("does not change while there is no traffic", () => {
    const [judge, verdict] = judged(traffic(1000, 0.5, () => ({})));
    const later = judge.verdict(1e12 + 1e9);
    expect(later.verdict).toBe(verdict.verdict);
    expect(later.gates).toEqual(verdict.gates);
    expect(later.secondsNeeded).toBeNull();
  });

  test("stays what it was once a gate has said no", () => {
    const judge = new Judge(POLICY);
    const failing = traffic(2000, 0.05, (_, { arm }) =>
      arm === "candidate" ? { outcome: "failed", latencyMs: undefined } : {},
    );
    for (const one of failing) judge.observe(one);
    for (const one of traffic(10_000, 0.5, () => ({}), 2)) judge.observe(one);
    expect(judge.verdict(1e12)).toMatchObject({ verdict: "REGRESS", cause: "failed" });
  });
});

describe("gates", () => {
  const candidate =
    (change: (random: Random) => Partial<RequestObservation>) =>
    (random: Random, { arm }: RequestObservation) =>
      arm === "candidate" ? change(random) : {};

  test.each([
    ["failed", 20, () => ({ outcome: "failed", latencyMs: undefined })],
    ["out-of-memory", 20, () => ({ outcome: "out-of-memory", latencyMs: undefined })],
    ["wrong", 20, () => ({ outcome: "not-finite" })],
    ["slow", 20, () => ({ latencyMs: 101 })],
    ["failed", 1500, (r: Random) => (r.uniform() < 0.02 ? { outcome: "failed" } : {})],
  ] as const)("%s: found within %d requests", (gate, most, change) => {
    for (const share of [0.01, 0.05, 0.5]) {
      const [found, requests] = until(traffic(80_000, share, candidate(change as never)));
      expect(found).toBe(gate);
      expect(requests).toBeLessThanOrEqual(most);
    }
  });

  test("a known answer that is wrong is enough, unless stable's is too", () => {
    const golden = { kind: "golden", atMs: 1, right: false } as const;
    const [, wrong] = judged([{ ...golden, arm: "candidate" }]);
    expect(wrong).toMatchObject({ verdict: "REGRESS", cause: "wrong" });
    expect(wrong.text).toContain("known answer");
    const [both] = judged([
      { ...golden, arm: "stable" },
      { ...golden, arm: "candidate" },
    ]);
    expect(both.regressed).toBeUndefined();
  });

  test("labels that come late tell a candidate that is wrong more often", () => {
    const random = new Random(4);
    const labels = Array.from({ length: 20_000 }, (_, i): Observation => {
      const arm = random.uniform() < 0.25 ? "candidate" : "stable";
      const correct = random.uniform() > (arm === "candidate" ? 0.08 : 0.03);
      return { kind: "label", atMs: 1e12 - i, arm, share: 0.25, correct };
    });
    expect(until(labels)[0]).toBe("wrong");
  });

  test("shadow copies: disagreement beyond what is allowed, and passing without a request", () => {
    const pairs = (rate: number): Observation[] => {
      const random = new Random(5);
      return Array.from({ length: 3000 }, (_, i) => ({
        ...({ kind: "pair", atMs: 1e12 + i, agrees: random.uniform() >= rate } as const),
        ...({ stableMs: 20, candidateMs: 20, outcome: "good" } as const),
      }));
    };
    expect(until(pairs(0.08))[0]).toBe("disagreement");
    const [judge] = judged(pairs(0.002));
    expect(judge.verdict(1e12, true).verdict).toBe("PASS");
    expect(judge.verdict(1e12).verdict).toBe("UNDERPOWERED");
  });

  test("slow runs: found in the same bucket, and a few per cent are no event", () => {
    const batches = (times: number): Observation[] => {
      const random = new Random(6);
      return Array.from({ length: 6000 }, (_, i) => {
        const arm = random.uniform() < 0.25 ? "candidate" : "stable";
        const executeMs = Math.exp(0.1 * random.normal()) * 5 * (arm === "candidate" ? times : 1);
        const common = { kind: "batch", bucket: "8", rows: 8, outcome: "good" } as const;
        return { ...common, atMs: 1e12 + i * 50, arm, executeMs };
      });
    };
    expect(until(batches(3))[0]).toBe("slow-run");
    expect(until(batches(1.04))[0]).toBeUndefined();
  });

  test("one that is off says nothing, and the others share its part of the error", () => {
    const failing = () =>
      traffic(
        2000,
        0.5,
        candidate(() => ({ outcome: "failed" }) as const),
      );
    const [, verdict] = judged(failing(), { ...POLICY, gates: { failed: { off: true } } });
    expect(verdict.gates.map(({ gate }) => gate)).not.toContain("failed");
    expect(verdict.cause).toBeUndefined();
    const total = verdict.gates.reduce((sum, { limit }) => sum + Math.exp(-limit), 0);
    expect(total).toBeCloseTo(POLICY.alpha, 12);
  });

  test("a policy with a number out of its range is refused", () => {
    expect(() => new Judge({ ...POLICY, alpha: 0 })).toThrow(/alpha/);
    expect(() => new Judge({ ...POLICY, effect: 1 })).toThrow(/effect/);
  });
});

describe("the assignment", () => {
  const skewed = (where: (one: RequestObservation) => boolean) => {
    const random = new Random(8);
    return [...traffic(30_000, 0.25, () => ({ stratum: `pool ${random.integer(4)}` }))].map(
      (one) => (where(one) && random.uniform() < 0.3 ? { ...one, arm: "stable" as const } : one),
    );
  };

  test("one that is off freezes the verdict", () => {
    const [judge, verdict] = judged(skewed(() => true));
    expect(judge.faulty).toBe(true);
    expect(verdict).toMatchObject({ verdict: "UNDERPOWERED", sampleRatio: { fault: true } });
  });

  test("one that is off in a stratum is found there", () => {
    const [, verdict] = judged(skewed(({ stratum }) => stratum === "pool 2"));
    expect(verdict.sampleRatio).toMatchObject({ fault: true, stratum: "pool 2" });
  });

  test("one that is right is not, while shares change", () => {
    const judge = new Judge(POLICY);
    for (const [i, share] of [0.01, 0.05, 0.25, 0.5].entries()) {
      for (const one of traffic(20_000, share, () => ({}), 20 + i)) {
        judge.observe({ ...one, atMs: one.atMs + i * 100_000 });
      }
    }
    expect(judge.verdict(2e12).sampleRatio).toMatchObject({ fault: false });
  });

  test("a hung candidate is no fault of the assignment: who came lately is not counted yet", () => {
    const judge = new Judge(POLICY);
    for (const one of traffic(5000, 0.25, () => ({}))) {
      if (one.arm === "stable") judge.observe(one);
    }
    expect(judge.faulty).toBe(false);
  });
});

test("batches of unlike rows are not compared", () => {
  const batches = (candidateRows: number) =>
    Array.from({ length: 2000 }, (_, i): RequestObservation => {
      const arm = i % 2 === 0 ? "candidate" : "stable";
      const batchRows = arm === "candidate" ? candidateRows : 1;
      const latencyMs = arm === "candidate" && i % 10 === 0 ? 200 : 20;
      const times = { atMs: 1e12 + i * 5, latencyMs };
      return request({ ...times, arm, share: 0.5, batch: i, batchSize: 1, batchRows });
    });
  expect(until(batches(1))[0]).toBe("slow");
  expect(until(batches(8))[0]).toBeUndefined();
});

describe("what is kept", () => {
  test.each([1, 2, 3])("a log replays to the same bits (seed %d)", (seed) => {
    for (const logRows of [50_000, 64]) {
      const policy = { ...POLICY, logRows };
      const judge = new Judge(policy);
      for (const one of mixture(seed, 3000)) {
        judge.observe(one);
        if (one.atMs % 97 === 0) judge.verdict(one.atMs);
      }
      const verdict = judge.verdict(1e12 + 200_000);
      const log = JSON.parse(JSON.stringify(judge.log(1e12 + 200_000)));
      expect(log.rows.length).toBeLessThanOrEqual(logRows);
      expect(JSON.stringify(replay(policy, log))).toBe(JSON.stringify(verdict));
    }
  });

  test("a judge goes on after a restart as if there had been none", () => {
    for (let seed = 1; seed <= 3; seed++) {
      const all = mixture(seed, 2000);
      const whole = new Judge(POLICY);
      let broken = new Judge(POLICY);
      for (const [i, one] of all.entries()) {
        expect(broken.observe(one)).toBe(whole.observe(one));
        if (i % 500 === 250) {
          broken = new Judge(POLICY, JSON.parse(JSON.stringify(broken.snapshot())));
          whole.snapshot();
        }
      }
      expect(broken.verdict(2e12)).toEqual(whole.verdict(2e12));
      expect(broken.snapshot()).toEqual(whole.snapshot());
    }
  });

  test("is bounded, whatever comes", () => {
    const judge = new Judge({ ...POLICY, logRows: 100 });
    const random = new Random(9);
    for (let i = 0; i < 4000; i++) {
      judge.observe(
        request({
          ...{ atMs: 1e12 + random.integer(1e9), share: random.uniform(), key: i, latencyMs: 200 },
          ...{ stratum: `s${i}`, arm: i % 2 === 0 ? "stable" : "candidate" },
          ...(i % 3 === 0 ? { batch: i } : {}),
        }),
      );
    }
    expect(JSON.stringify(judge.snapshot()).length).toBeLessThan(6e6);
    expect(judge.path().length).toBeLessThanOrEqual(2000);
  });
});
