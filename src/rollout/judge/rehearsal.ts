// Simulated releases, to see what the judge does with them: requests that come one by one, clients that keep their
// version, batches that are slow as a whole, bursts and daily cycles. Used by the tests and by `npm run bench -- judge`.

import { mix32, Random } from "../../base/random.ts";
import { Judge } from "./judge.ts";
import type { Arm, GateName, JudgePolicy, Observation } from "./types.ts";

/** A step of the rollout: this share, until the candidate has had so many requests. */
export interface Step {
  readonly share: number;
  readonly requests: number;
}

/** How a release goes. */
export interface Rehearsal {
  readonly seed: number;
  readonly steps: readonly Step[];
  /** Requests a second, on average. */
  readonly ratePerSecond: number;
  /** Chance that a request of stable is slow, before bursts. */
  readonly slowRate: number;
  /** Candidate's chance over stable's: 1 is a candidate that is equal. */
  readonly ratio: number;
  /** Clients that keep their version, with unequal traffic (Zipf): so many; 0: each request by itself. */
  readonly stickyClients?: number;
  /** Of these, the share whose requests are slow half of the time, whichever version answers. */
  readonly slowClients?: number;
  /** A slow client makes the whole batch slow that its request is in. */
  readonly slowBatches?: boolean;
  /** So many first runs of the candidate are slow, whatever they are: its process is new. */
  readonly coldRuns?: number;
  /** Largest batch; batches are slow as a whole, and a version with less traffic has smaller ones. */
  readonly batchRows?: number;
  /** Every batch is that full, in both arms. */
  readonly fullBatches?: boolean;
  /** Slow spells and bursts of traffic, and a daily cycle of both (in minutes, to fit into a simulation). */
  readonly restless?: boolean;
  /** Quick requests have a latency each; without, all have the median, which is the same to the judge. */
  readonly latencies?: boolean;
}

/** A request that takes longer is slow: the P99 of latencies that are log-normal, milliseconds. */
export const REHEARSED_LIMIT_MS = 100;
/** Deviation of their logarithm, and the normal deviate of P99. */
const SPREAD = 0.5;
const P99_DEVIATE = 2.3263478740408408;

const STRATUM = "all";
const START_MS = 1_700_000_000_000;
/** A spell begins once in so many seconds and lasts so many; slow requests and traffic are multiplied by so much. */
const SPELL = { everyS: 30, lastsS: 2, slow: 6, traffic: 4 };
const CYCLE_S = 300;

/** A request that was routed. */
interface Row {
  readonly routedMs: number;
  readonly share: number;
  readonly key: number | undefined;
  readonly slow: boolean;
}

/** A batch that fills up. */
interface Filling {
  number: number;
  size: number;
  slow: boolean;
  rows: Row[];
}

/** Gives the observations of a release in order, until `observe` says that it is enough, or the steps have ended. */
export function rehearse(
  rehearsal: Rehearsal,
  observe: (observation: Observation) => boolean,
): void {
  const traffic = new Traffic(rehearsal);
  for (const step of rehearsal.steps) {
    traffic.share = step.share;
    for (let candidates = 0; candidates < step.requests; ) {
      const arm = traffic.request(observe);
      if (arm === undefined) return;
      if (arm === "candidate") candidates++;
    }
  }
}

/** How a rehearsed release ended, after so many candidate requests. */
export interface RehearsedEnd {
  readonly end: "promoted" | "rolled back" | "frozen" | "waiting";
  readonly cause?: GateName;
  readonly candidateRequests: number;
}

/** Requests between two looks for whether the candidate passes. */
const LOOK_EVERY = 1000;

/** Judges a rehearsed release: rolled back whenever a gate says so, promoted when it passes in the last step. */
export function rehearseRelease(rehearsal: Rehearsal, policy: JudgePolicy): RehearsedEnd {
  const judge = new Judge(policy);
  const lastShare = rehearsal.steps.at(-1)?.share ?? 1;
  let ended: RehearsedEnd["end"] = "waiting";
  let candidateRequests = 0;
  let untilLook = LOOK_EVERY;
  rehearse(rehearsal, (observation) => {
    const moved = judge.observe(observation);
    if (observation.kind === "request" && observation.arm === "candidate") candidateRequests++;
    if (moved && judge.regressed !== undefined) ended = "rolled back";
    untilLook--;
    if (ended === "waiting" && untilLook <= 0) {
      untilLook = LOOK_EVERY;
      if (judge.faulty) ended = "frozen";
      else if (observation.kind === "request" && observation.share === lastShare) {
        if (judge.verdict(observation.atMs).verdict === "PASS") ended = "promoted";
      }
    }
    return ended === "waiting";
  });
  const cause = judge.regressed;
  return { end: ended, candidateRequests, ...(cause === undefined ? {} : { cause }) };
}

class Traffic {
  share = 0;
  readonly #set: Rehearsal;
  readonly #random: Random;
  readonly #salt: number;
  readonly #weights: Float64Array;
  readonly #filling: Partial<Record<Arm, Filling>> = {};
  #atMs = START_MS;
  #batches = 0;
  #candidateRuns = 0;
  #spellEndsMs = 0;
  #stopped = false;

  constructor(rehearsal: Rehearsal) {
    this.#set = rehearsal;
    this.#random = new Random(rehearsal.seed, 9);
    this.#salt = mix32(rehearsal.seed, 77);
    this.#weights = zipf(rehearsal.stickyClients ?? 0);
  }

  /** One request; undefined: no more are wanted. */
  request(observe: (observation: Observation) => boolean): Arm | undefined {
    const random = this.#random;
    const mood = this.#mood();
    this.#atMs +=
      (-1000 * Math.log(1 - random.uniform())) / (this.#set.ratePerSecond * mood.traffic);
    const client = this.#weights.length === 0 ? undefined : pick(this.#weights, random.uniform());
    const key = client === undefined ? undefined : mix32(this.#salt, client);
    const chance = key === undefined ? random.uniform() : key / 2 ** 32;
    const arm: Arm = chance < this.share ? "candidate" : "stable";
    const times = arm === "candidate" ? this.#set.ratio : 1;
    const isSlowClient =
      client !== undefined &&
      mix32(this.#salt ^ 0x5eed, client) / 2 ** 32 < (this.#set.slowClients ?? 0);
    const usual = Math.min(1, this.#set.slowRate * mood.slow * times);
    const rate = isSlowClient ? 0.5 : usual;
    if (this.#set.batchRows === undefined) {
      const isSlow = random.uniform() < rate || this.#isCold(arm);
      this.#tell(observe, arm, { routedMs: this.#atMs, share: this.share, key, slow: isSlow });
    } else {
      const slow = isSlowClient && random.uniform() < 0.5;
      this.#fill(observe, arm, { routedMs: this.#atMs, share: this.share, key, slow }, usual);
    }
    return this.#stopped ? undefined : arm;
  }

  #mood(): { slow: number; traffic: number } {
    if (this.#set.restless !== true) return { slow: 1, traffic: 1 };
    const seconds = (this.#atMs - START_MS) / 1000;
    const cycle = 1 + 0.5 * Math.sin((2 * Math.PI * seconds) / CYCLE_S);
    const gapS = SPELL.everyS * this.#set.ratePerSecond;
    if (this.#atMs > this.#spellEndsMs && this.#random.uniform() * gapS < 1) {
      this.#spellEndsMs = this.#atMs + 1000 * SPELL.lastsS;
    }
    const spell = this.#atMs <= this.#spellEndsMs;
    return {
      slow: cycle * (spell ? SPELL.slow : 1),
      traffic: cycle * (spell ? SPELL.traffic : 1),
    };
  }

  #fill(observe: (observation: Observation) => boolean, arm: Arm, row: Row, rate: number): void {
    this.#filling[arm] ??= this.#empty(arm, rate);
    const batch = this.#filling[arm];
    batch.rows.push(row);
    if (row.slow && this.#set.slowBatches === true) batch.slow = true;
    if (batch.rows.length < batch.size) return;
    delete this.#filling[arm];
    for (const one of batch.rows) this.#tell(observe, arm, one, batch);
  }

  #empty(arm: Arm, rate: number): Filling {
    const most = this.#set.batchRows ?? 1;
    const share = arm === "candidate" ? this.share : 1 - this.share;
    const size =
      this.#set.fullBatches === true
        ? most
        : 1 + Math.round((most - 1) * share * 2 * this.#random.uniform());
    const slow = this.#random.uniform() < rate || this.#isCold(arm);
    return { number: this.#batches++, size: Math.min(most, size), slow, rows: [] };
  }

  #isCold(arm: Arm): boolean {
    return arm === "candidate" && this.#candidateRuns++ < (this.#set.coldRuns ?? 0);
  }

  #tell(
    observe: (observation: Observation) => boolean,
    arm: Arm,
    { routedMs, share, key, slow }: Row,
    batch?: Filling,
  ): void {
    if (this.#stopped) return;
    const isSlow = slow || batch?.slow === true;
    this.#stopped = !observe({
      kind: "request",
      atMs: this.#atMs,
      arm,
      share,
      key,
      batch: batch?.number,
      batchSize: batch?.size,
      routedMs,
      latencyMs: this.#latencyMs(isSlow),
      outcome: "good",
      stratum: STRATUM,
    });
  }

  /** As the tail of the distribution has it beyond the limit, or its body below. */
  #latencyMs(slow: boolean): number {
    const random = this.#random;
    let deviate = P99_DEVIATE;
    if (slow) deviate -= Math.log(1 - random.uniform()) / P99_DEVIATE;
    else if (this.#set.latencies === true) {
      do deviate = random.normal();
      while (deviate > P99_DEVIATE);
    } else deviate = 0;
    return REHEARSED_LIMIT_MS * Math.exp(SPREAD * (deviate - P99_DEVIATE)) + (slow ? 1e-9 : 0);
  }
}

/** Cumulative traffic of clients, the nth with a weight of 1/n. */
function zipf(clients: number): Float64Array {
  const sums = new Float64Array(clients);
  let sum = 0;
  for (let i = 0; i < clients; i++) {
    sum += 1 / (i + 1);
    sums[i] = sum;
  }
  return sums.map((one) => one / sum);
}

function pick(cumulative: Float64Array, at: number): number {
  let low = 0;
  let high = cumulative.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((cumulative[middle] ?? 1) > at) high = middle;
    else low = middle + 1;
  }
  return low;
}
