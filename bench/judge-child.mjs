// Simulated releases for `judge.bench.ts`, in a process of its own: candidates that are equal, candidates that are
// slow, forecasts against what happens, and the usual rules beside the judge on the same requests.

import { logEvidence, WORSE } from "../dist/rollout/judge/evidence.js";
import { Judge } from "../dist/rollout/judge/judge.js";
import { Suspects } from "../dist/rollout/judge/keys.js";
import { REHEARSED_LIMIT_MS, rehearse, rehearseRelease } from "../dist/rollout/judge/rehearsal.js";
import { forecastDetection, planRollout } from "../dist/rollout/planner.js";
import { incompleteBeta } from "../dist/rollout/planner-passage.js";

const [part, countText, seedText = "1", only = ""] = process.argv.slice(2);
const COUNT = Number(countText);
const SEED = Number(seedText) * 1_000_000;

const POLICY = {
  alpha: 0.001,
  thresholdMs: REHEARSED_LIMIT_MS,
  effect: 2,
  gates: {},
  disagreementAllowed: 0.02,
};
const TRAFFIC = { ratePerSecond: 200, slowRate: 0.01, ratio: 1 };
const CLIENTS = { stickyClients: 2000, slowClients: 0.02 };
const KINDS = {
  "by themselves": {},
  "bursts and daily cycle": { restless: true },
  "sticky Zipf clients, some slow": CLIENTS,
  "batches of 8": { batchRows: 8, fullBatches: true },
  "batches as each version's load makes them, bursts and cycle": { batchRows: 8, restless: true },
  "all of these": { batchRows: 8, restless: true, ...CLIENTS },
  "all of these, slow clients slow their batches": {
    ...{ batchRows: 8, restless: true, slowBatches: true },
    ...CLIENTS,
  },
};

/** What an operator would know of stable before the release: rates by what counts as one. */
function measured(kind, requests) {
  let [units, slow, counted, rows] = [0, 0, 0, 0];
  for (let i = 0; i < 5; i++) {
    const clients = new Set();
    const suspects = new Suspects();
    let batch = emptyBatch(undefined);
    const steps = [{ share: 0.5, requests }];
    rehearse({ ...TRAFFIC, ...kind, seed: 7_000_000 + i, steps }, (one) => {
      rows++;
      const isSlow = one.latencyMs > REHEARSED_LIMIT_MS;
      if (one.batch === undefined) {
        units++;
        slow += Number(isSlow);
        counted += Number(isSlow && !clients.has(one.key));
        if (isSlow && one.key !== undefined) clients.add(one.key);
        return true;
      }
      if (one.batch !== batch.number) batch = emptyBatch(one.batch);
      if (one.key !== undefined) batch.keys.add(one.key);
      if (isSlow) batch.slow.add(one.key);
      batch.rows++;
      if (batch.rows < one.batchSize) return true;
      units++;
      const isBad = batch.slow.size > 0;
      const alone = batch.slow.size === 1 ? [...batch.slow][0] : undefined;
      slow += Number(isBad);
      counted += Number(suspects.admits([...batch.keys], isBad, alone) && isBad);
      return true;
    });
  }
  return { slowRate: slow / units, distinct: counted / slow, rowsPerBatch: rows / units };
}

function emptyBatch(number) {
  return { number, keys: new Set(), slow: new Set(), rows: 0 };
}

function planOf(kind) {
  const shares = kind.batchRows === undefined ? [0.01, 0.05, 0.25, 0.5] : [0.05, 0.25, 0.5];
  const plan = (known) =>
    planRollout({
      ...known,
      ratePerSecond: TRAFFIC.ratePerSecond,
      power: 0.9,
      steps: shares.map((share) => ({ share })),
      policy: POLICY,
    });
  return plan(measured(kind, plan(measured(kind, 2000)).requests));
}

/** One-sided 95 % bound (Clopper and Pearson) of a chance of which so many of so many were seen. */
function upperBound(events, of) {
  let [low, high] = [0, 1];
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    // Chance of at most so many events.
    if (1 - incompleteBeta(middle, events + 1, of - events) > 0.05) low = middle;
    else high = middle;
  }
  return high;
}

function nullReleases() {
  return Object.entries(KINDS).flatMap(([name, kind], k) => {
    if (!name.includes(only)) return [];
    const plan = planOf(kind);
    const steps = plan.steps.map(({ share, requests }) => ({ share, requests }));
    // Twice the forecast.
    steps.at(-1).requests += plan.requests;
    const ends = { promoted: 0, "rolled back": 0, frozen: 0, waiting: 0 };
    const count = Math.ceil(COUNT / Object.keys(KINDS).length);
    const took = [];
    for (let i = 0; i < count; i++) {
      const seed = SEED + k * 100_000 + i;
      const release = rehearseRelease({ ...TRAFFIC, ...kind, seed, steps }, POLICY);
      ends[release.end]++;
      took.push(release.candidateRequests);
    }
    process.stderr.write(`${name}: ${JSON.stringify(ends)}\n`);
    return {
      traffic: name,
      releases: count,
      rolledBack: ends["rolled back"],
      promoted: ends.promoted,
      frozen: ends.frozen,
      waiting: ends.waiting,
      forecastRequests: plan.requests,
      medianRequests: quantile(took, 0.5),
      p95Requests: quantile(took, 0.95),
    };
  });
}

function quantile(values, at) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(at * sorted.length) - 1)];
}

/** Candidate requests until a slow candidate is rolled back, beside the forecast. */
function detections() {
  const rows = [];
  for (const share of [0.01, 0.05, 0.1, 0.25, 0.5]) {
    for (const ratio of [3, 5, 10, 30]) {
      const took = [];
      let missed = 0;
      for (let i = 0; i < COUNT; i++) {
        const steps = [{ share, requests: 20_000 }];
        const seed = SEED + i + 10_000 * rows.length;
        const release = rehearseRelease(
          { ...TRAFFIC, ratio, seed, steps },
          { ...POLICY, passAlpha: 1e-12 },
        );
        took.push(release.candidateRequests);
        missed += Number(release.end !== "rolled back");
      }
      const forecast = forecastDetection(POLICY, share, TRAFFIC.slowRate, ratio);
      const [median, p95] = [quantile(took, 0.5), quantile(took, 0.95)];
      rows.push({
        share,
        ratio,
        median,
        p95,
        forecastMedian: forecast.median,
        forecastP95: forecast.p95,
        offMedian: Number((median / forecast.median - 1).toFixed(3)),
        offP95: Number((p95 / forecast.p95 - 1).toFixed(3)),
        missed,
      });
    }
  }
  return rows;
}

/** Looks once a minute, as dashboards do; needs 30 requests. */
class Minutely {
  #minute = 0;
  #values = { stable: [], candidate: [] };
  fired = false;
  #bad;

  constructor(bad) {
    this.#bad = bad;
  }

  take({ atMs, arm, latencyMs }) {
    const minute = Math.floor(atMs / 60_000);
    if (minute !== this.#minute) {
      const { stable, candidate } = this.#values;
      if (candidate.length >= 30 && stable.length >= 30 && this.#bad(candidate, stable))
        this.fired = true;
      this.#values = { stable: [], candidate: [] };
      this.#minute = minute;
    }
    this.#values[arm].push(latencyMs);
  }
}

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

/** The e-process of the judge with every request as an event of its own. */
class PerRequest {
  fired = false;
  #tallies = new Map();

  take({ arm, share, latencyMs }) {
    if (this.fired || latencyMs <= REHEARSED_LIMIT_MS) return;
    const tally = this.#tallies.get(share) ?? { share, candidate: 0, stable: 0 };
    tally[arm]++;
    this.#tallies.set(share, tally);
    this.fired = logEvidence([...this.#tallies.values()], WORSE) >= Math.log(1 / POLICY.alpha);
  }
}

class OurJudge {
  #judge = new Judge(POLICY);

  take(observation) {
    this.#judge.observe(observation);
  }

  get fired() {
    return this.#judge.regressed !== undefined;
  }
}

const RULES = {
  judge: () => new OurJudge(),
  "P99 above stable's": () => new Minutely((c, s) => quantile(c, 0.99) > quantile(s, 0.99)),
  "P99 25 % above": () => new Minutely((c, s) => quantile(c, 0.99) > 1.25 * quantile(s, 0.99)),
  "mean 10 % above": () => new Minutely((c, s) => mean(c) > 1.1 * mean(s)),
  "every request an event": () => new PerRequest(),
};

/** How often each rule rolls back, on the same requests: 5 minutes at 5 %, 5 minutes at 25 %. */
function rules() {
  const rows = [];
  for (const ratio of [1, 3, 5]) {
    for (const [name, kind] of Object.entries(KINDS)) {
      const fired = Object.fromEntries(Object.keys(RULES).map((rule) => [rule, 0]));
      for (let i = 0; i < COUNT; i++) {
        const running = Object.entries(RULES).map(([rule, make]) => [rule, make()]);
        const steps = [
          { share: 0.05, requests: 3000 },
          { share: 0.25, requests: 15_000 },
        ];
        const seed = SEED + i;
        rehearse({ ...TRAFFIC, ...kind, ratio, seed, steps, latencies: true }, (one) => {
          for (const [, rule] of running) rule.take(one);
          return true;
        });
        for (const [rule, { fired: is }] of running) fired[rule] += Number(is);
      }
      const shares = Object.entries(fired).map(([rule, n]) => [
        rule,
        Number((n / COUNT).toFixed(4)),
      ]);
      rows.push({ slowTimes: ratio, traffic: name, ...Object.fromEntries(shares) });
    }
  }
  return rows;
}

const PARTS = { null: nullReleases, detection: detections, rules };
const rows = PARTS[part]();
if (part === "null") {
  const sum = (field) => rows.reduce((total, row) => total + row[field], 0);
  const [releases, rolledBack] = [sum("releases"), sum("rolledBack")];
  const upper = upperBound(rolledBack, releases);
  rows.push({
    traffic: "together",
    releases,
    rolledBack,
    promoted: sum("promoted"),
    promotedShare: Number((sum("promoted") / releases).toFixed(4)),
    frozen: sum("frozen"),
    rolledBackUpper95: Number(upper.toPrecision(3)),
  });
}
process.stdout.write(JSON.stringify(rows));
