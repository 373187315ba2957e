// The judge of a release: takes what is observed, makes independent events of it, and says what follows. It has no
// clock and does nothing; a month of releases simulates in minutes.

import { Assignment, type SavedAssignment } from "./assignment.ts";
import { type Rules, rulesOf, type SourceName } from "./gates.ts";
import { KeyMemory, type SavedKeys, type SavedSuspects, Suspects } from "./keys.ts";
import { Ledger, NO_STAKE, type SavedLedger } from "./ledger.ts";
import { type JudgeLog, Keeper } from "./log.ts";
import { Rate, type SavedRate } from "./rate.ts";
import { Runs, type SavedRuns } from "./runs.ts";
import {
  apply,
  COUNTED,
  type Counted,
  type Evidence,
  gateEvidence,
  type LogRow,
  noEvidence,
  PLACE,
} from "./state.ts";
import type {
  Arm,
  BatchObservation,
  GateName,
  JudgePolicy,
  LabelObservation,
  Observation,
  PairObservation,
  PathPoint,
  RequestObservation,
  Verdict,
} from "./types.ts";
import { blame, FAULTS, type Unit, Units } from "./units.ts";
import { type Circumstances, verdictOf } from "./verdict.ts";
import { type SavedWarmup, Warmup } from "./warmup.ts";

/** Everything that a judge knows. Plain JSON. */
export interface JudgeSnapshot {
  readonly evidence: Evidence;
  readonly base: Evidence;
  readonly rows: readonly LogRow[];
  readonly path: readonly PathPoint[];
  readonly keys: readonly (readonly [SourceName, SavedKeys])[];
  readonly suspects: SavedSuspects;
  readonly units: readonly Unit[];
  readonly ledger: SavedLedger;
  readonly slowLedger?: SavedLedger;
  readonly warmup?: SavedWarmup;
  readonly runs: SavedRuns;
  readonly assignment: SavedAssignment;
  readonly rate: SavedRate;
  readonly share: number;
  readonly lastMs: number;
  readonly settledMs: number;
}

/** Batches and assignments become complete by time; it is looked at so often, milliseconds. */
const SETTLE_MS = 50;

/** Strata that are told apart; whatever comes later counts as one. */
const STRATA_MAX = 32;
const ARMS = ["stable", "candidate"] as const;
const SLOW = 1 << FAULTS.indexOf("slow");
const OTHERS = "others";
const PATH_MAX = 2_000;

/** Judges one release. */
export class Judge {
  readonly #rules: Rules;
  readonly #evidence: Evidence;
  readonly #keeper: Keeper;
  readonly #keys: Map<SourceName, KeyMemory>;
  readonly #suspects: Suspects;
  readonly #units: Units;
  readonly #ledger: Ledger;
  /** Of batches that are judged by time too. */
  readonly #slowLedger: Ledger;
  readonly #warmup: Warmup;
  readonly #runs: Runs;
  readonly #assignment: Assignment;
  readonly #rate: Rate;
  readonly #strata = new Map<string, number>();
  /** Counts that are not yet in the evidence. */
  readonly #pending: number[] = COUNTED.flatMap(() => [0, 0]);
  #isPending = false;
  /** Whether something was decided since the last row, so that counts may not be added to it. */
  #closed = false;
  #path: PathPoint[];
  /** Share of the last request. */
  #share: number;
  #lastMs: number;
  #settledMs: number;

  /**
   * @throws SkipwayError with code `usage` where the policy has a number that is out of its range.
   */
  constructor(policy: JudgePolicy, saved?: JudgeSnapshot) {
    this.#rules = rulesOf(policy);
    this.#evidence = structuredClone(saved?.evidence ?? noEvidence());
    this.#keeper = new Keeper(this.#rules, saved?.base, saved?.rows);
    this.#keys = new Map(saved?.keys.map(([name, keys]) => [name, new KeyMemory(keys)]));
    this.#suspects = new Suspects(saved?.suspects);
    this.#units = new Units(saved?.units);
    this.#ledger = new Ledger(saved?.ledger);
    this.#slowLedger = new Ledger(saved?.slowLedger);
    this.#warmup = new Warmup(this.#rules.warmup, saved?.warmup);
    this.#runs = new Runs(saved?.runs);
    this.#assignment = new Assignment(saved?.assignment);
    this.#rate = new Rate(saved?.rate);
    this.#path = [...(saved?.path ?? [])];
    this.#share = saved?.share ?? 0;
    this.#lastMs = saved?.lastMs ?? 0;
    this.#settledMs = saved?.settledMs ?? 0;
    this.#evidence.strata.forEach((name, i) => {
      this.#strata.set(name, i);
    });
  }

  /**
   * Takes one observation.
   *
   * @returns whether a gate or the check of the assignment moved. A release can pass by good requests alone, so
   * whoever waits for that asks for a verdict from time to time.
   */
  observe(observation: Observation): boolean {
    this.#lastMs = observation.atMs;
    switch (observation.kind) {
      case "request":
        return this.#request(observation);
      case "batch":
        return this.#batch(observation);
      case "pair":
        return this.#pair(observation);
      case "label":
        return this.#label(observation);
      case "golden": {
        const { atMs, arm, right } = observation;
        this.#row(["golden", atMs, arm, right]);
        return true;
      }
      case "process":
        this.#warmup.restart(observation.arm);
        return false;
    }
  }

  /** The gate that says to roll back, if one does: known at once, where a verdict with its bounds takes a while. */
  get regressed(): GateName | undefined {
    return this.#evidence.regressed;
  }

  /** Whether the assignment is off, so that nothing can be concluded. */
  get faulty(): boolean {
    return this.#evidence.fault !== undefined;
  }

  /** What follows from everything so far. `shadow`: only shadow copies have been sent. */
  verdict(nowMs: number, shadow = false): Verdict {
    this.#settle(nowMs);
    this.#flush(nowMs);
    return verdictOf(this.#evidence, this.#rules, this.#circumstances(nowMs, shadow));
  }

  /** What a certificate keeps of a verdict that was asked for at `nowMs`: `replay` makes it again. */
  log(nowMs: number, shadow = false): JudgeLog {
    this.#flush(nowMs);
    const circumstances = this.#circumstances(nowMs, shadow);
    return structuredClone({ base: this.#keeper.base, rows: this.#keeper.rows, circumstances });
  }

  /** Everything, to go on after a restart. */
  snapshot(): JudgeSnapshot {
    this.#flush(this.#lastMs);
    return structuredClone({
      evidence: this.#evidence,
      base: this.#keeper.base,
      rows: this.#keeper.rows,
      path: this.#path,
      keys: [...this.#keys].map(([name, memory]) => [name, memory.saved()] as const),
      suspects: this.#suspects.saved(),
      units: this.#units.saved(),
      ledger: this.#ledger.saved(),
      slowLedger: this.#slowLedger.saved(),
      warmup: this.#warmup.saved(),
      runs: this.#runs.saved(),
      assignment: this.#assignment.saved(),
      rate: this.#rate.saved(),
      share: this.#share,
      lastMs: this.#lastMs,
      settledMs: this.#settledMs,
    });
  }

  /** How the evidence went, for drawing: thinned to at most 2,000 points. */
  path(): readonly PathPoint[] {
    return this.#path;
  }

  #circumstances(nowMs: number, shadow: boolean): Circumstances {
    return { nowMs, candidateRate: this.#rate.perSecond(nowMs), share: this.#share, shadow };
  }

  #request(request: RequestObservation): boolean {
    const { atMs, arm, share, key, latencyMs, outcome, batch, batchSize } = request;
    let moved = this.#settleSometimes(atMs);
    const stratum = this.#stratum(request.stratum, atMs);
    this.#share = share;
    if (isRandom(share)) {
      const routedMs = request.routedMs ?? atMs - (latencyMs ?? 0);
      this.#assignment.count(routedMs, arm, stratum, share, key);
    }
    if (outcome === "excluded") return moved;
    const bad = this.#countRequest(request);
    const { form, batchRows } = request;
    if (batch === undefined) {
      const { bad: judged } = this.#countUnit(arm, form, bad);
      return (judged > 0 && this.#requestEvents(request, judged, stratum)) || moved;
    }
    const unit = this.#units.unit({ arm, batch, firstMs: atMs, stratum, share, form, batchRows });
    unit.rows++;
    unit.bad |= bad;
    if (key !== undefined && !unit.keys.includes(key)) unit.keys.push(key);
    if (bad > 0) blame(unit, key);
    const excess = this.#units.excess(arm);
    if (excess !== undefined) moved = this.#unit(excess, atMs) || moved;
    if (batchSize !== undefined && unit.rows >= batchSize) {
      this.#units.close(unit);
      moved = this.#unit(unit, atMs) || moved;
    }
    return moved;
  }

  /** Counts a request, and gives what is bad about it as bits. */
  #countRequest({ arm, atMs, latencyMs, outcome }: RequestObservation): number {
    if (arm === "candidate") this.#rate.count(atMs);
    this.#count("requests", arm);
    let bad = outcome === "good" || outcome === "excluded" ? 0 : 1 << FAULTS.indexOf(outcome);
    if (latencyMs !== undefined && (outcome === "good" || outcome === "not-finite")) {
      this.#count("answered", arm);
      if (latencyMs > this.#rules.policy.thresholdMs) bad |= SLOW;
    }
    if (bad > 0) eachFault(bad, (fault) => this.#count(fault, arm));
    return bad;
  }

  /** Events of a request that was answered by itself. */
  #requestEvents(
    { atMs, arm, share, key }: RequestObservation,
    bad: number,
    stratum: number,
  ): boolean {
    let moved = false;
    eachFault(bad, (fault) => {
      const chance = this.#chance(fault, share, arm, key);
      if (chance === 0) return;
      this.#row(["event", atMs, fault, arm, stratum, chance, chance]);
      moved = true;
    });
    return moved;
  }

  /** Counts what is one event, and gives what is bad about it: in a warm-up it may be slow. */
  #countUnit(
    arm: Arm,
    form: string | undefined,
    bits: number,
  ): { readonly warm: boolean; readonly bad: number } {
    this.#count("unit", arm);
    const warm = this.#warmup.take(`unit ${form ?? ""}`, arm).both;
    if (!warm) this.#count("unit-left-out", arm);
    const bad = warm ? bits : bits & ~SLOW;
    if (bad > 0) eachFault(bad, (fault) => this.#count(`unit-${fault}`, arm));
    return { warm, bad };
  }

  /** A batch of which all requests are told: compared with batches of as many requests and rows, to the next power of two. */
  #unit(unit: Unit, atMs: number): boolean {
    const { arm, stratum, share, rows, batchRows = rows, keys, alone } = unit;
    const { warm, bad } = this.#countUnit(arm, unit.form, unit.bad);
    const admitted = keys.length === 0 || this.#suspects.admits(keys, bad > 0, alone ?? undefined);
    if (!isRandom(share) || !admitted) return false;
    const bucket = `${stratum}/${sizeClass(rows)}/${sizeClass(batchRows)}`;
    const most = (1 - share) / share;
    const stake = this.#ledger.stake(bucket, arm, most);
    const slowStake = warm ? this.#slowLedger.stake(bucket, arm, most) : NO_STAKE;
    let moved = false;
    eachFault(bad, (fault) => {
      const { up, down } = fault === "slow" ? slowStake : stake;
      if (up === 0 && down === 0) return;
      this.#row(["event", atMs, fault, arm, stratum, up, down]);
      moved = true;
    });
    return moved;
  }

  #batch({ atMs, arm, bucket, executeMs, outcome }: BatchObservation): boolean {
    // A batch that failed shows in its requests.
    if (outcome !== "good") return false;
    const share = this.#share;
    const most = isRandom(share) ? (1 - share) / share : 1;
    if (!this.#warmup.take(`run ${bucket}`, arm).own) return false;
    const run = this.#runs.run(bucket, arm, atMs, executeMs, most);
    if (run === undefined) return false;
    this.#count("run", arm);
    if (!run.slow) return false;
    this.#count("slow-run", arm);
    const { up, down } = run.stake;
    if (up === 0 && down === 0) return false;
    this.#row(["event", atMs, "slow-run", arm, -1, up, down]);
    return true;
  }

  #pair({ atMs, agrees, stableMs, candidateMs, outcome }: PairObservation): boolean {
    this.#count("pair", "candidate");
    if (outcome !== "good") {
      this.#count(`pair-${outcome}`, "candidate");
      this.#flush(atMs);
      return true;
    }
    let moved = false;
    // Both are counted: stable's time beside it is of a process that may be new too.
    const warm = ARMS.map((arm) => this.#warmup.take("pair", arm).own).every(Boolean);
    if (candidateMs !== undefined && warm) {
      const { thresholdMs } = this.#rules.policy;
      const slow = { stable: stableMs > thresholdMs, candidate: candidateMs > thresholdMs };
      for (const arm of ARMS) {
        this.#count("pair-timed", arm);
        if (slow[arm]) this.#count("pair-slow", arm);
      }
      // Where only one is slow, it is the candidate with chance one half at most.
      if (slow.stable !== slow.candidate) {
        const arm = slow.candidate ? "candidate" : "stable";
        this.#row(["event", atMs, "pair-slow", arm, -1, 0.5, 0.5]);
        moved = true;
      }
    }
    if (agrees) return moved;
    this.#count("disagreement", "candidate");
    this.#flush(atMs);
    return true;
  }

  #label({ atMs, arm, share, key, correct }: LabelObservation): boolean {
    this.#count("label", arm);
    if (correct) return false;
    this.#count("wrong-label", arm);
    const chance = this.#chance("label", share, arm, key);
    if (chance === 0) return false;
    this.#row(["event", atMs, "label", arm, -1, chance, chance]);
    return true;
  }

  /** The chance that an event is the candidate's, before one looks; 0: it tells nothing. */
  #chance(source: SourceName, share: number, arm: Arm, key: number | undefined): number {
    if (!isRandom(share)) return 0;
    if (key === undefined) return share;
    let memory = this.#keys.get(source);
    if (memory === undefined) {
      memory = new KeyMemory();
      this.#keys.set(source, memory);
    }
    return memory.chance(key, share, arm);
  }

  #stratum(name: string, atMs: number): number {
    const found = this.#strata.get(name);
    if (found !== undefined) return found;
    const count = this.#evidence.strata.length;
    if (count >= STRATA_MAX) return STRATA_MAX - 1;
    this.#strata.set(name, count);
    this.#row(["stratum", atMs, count === STRATA_MAX - 1 ? OTHERS : name]);
    return count;
  }

  #settleSometimes(nowMs: number): boolean {
    return Math.abs(nowMs - this.#settledMs) >= SETTLE_MS && this.#settle(nowMs);
  }

  /** Counts what time has made complete. */
  #settle(nowMs: number): boolean {
    this.#settledMs = nowMs;
    let moved = false;
    for (let unit = this.#units.expired(nowMs); unit !== undefined; ) {
      moved = this.#unit(unit, nowMs) || moved;
      unit = this.#units.expired(nowMs);
    }
    for (let cells = this.#assignment.due(nowMs); cells !== undefined; ) {
      const counted = cells.map(
        ({ stratum, share, candidate, stable }) => [stratum, share, candidate, stable] as const,
      );
      this.#row(["assigned", nowMs, counted]);
      moved = true;
      cells = this.#assignment.due(nowMs);
    }
    return moved;
  }

  #count(name: Counted, arm: Arm): void {
    const place = PLACE[name] + (arm === "candidate" ? 1 : 0);
    this.#pending[place] = (this.#pending[place] ?? 0) + 1;
    this.#isPending = true;
  }

  /** Brings what was counted into the evidence. */
  #flush(atMs: number): void {
    if (!this.#isPending) return;
    this.#isPending = false;
    const counts = [...this.#pending];
    this.#pending.fill(0);
    this.#keep(["counts", atMs, counts]);
    if (counts[PLACE.disagreement + 1] !== 0) this.#mark(atMs, "disagreement");
  }

  #row(row: LogRow): void {
    this.#flush(row[1]);
    this.#keep(row);
    if (row[0] === "event") this.#mark(row[1], row[2]);
  }

  #keep(row: LogRow): void {
    const before = this.#evidence.regressed;
    apply(this.#evidence, row, this.#rules);
    this.#keeper.add(row, !this.#closed);
    this.#closed = this.#evidence.regressed !== before;
  }

  /** Adds a point to the path of the gate of a source. */
  #mark(atMs: number, source: SourceName): void {
    const gate = this.#rules.gateOf.get(source);
    if (gate === undefined) return;
    const { logE } = gateEvidence(this.#evidence, gate, this.#rules);
    this.#path.push({ atMs, gate: gate.name, logE });
    if (this.#path.length > PATH_MAX) this.#path = this.#path.filter((_, i) => i % 2 === 0);
  }
}

/** To the next power of two. */
function sizeClass(count: number): number {
  return Math.ceil(Math.log2(count));
}

/** Where every request goes to one version, its events tell nothing. */
function isRandom(share: number): boolean {
  return share > 0 && share < 1;
}

function eachFault(bits: number, then: (fault: (typeof FAULTS)[number]) => void): void {
  FAULTS.forEach((fault, i) => {
    if ((bits & (1 << i)) !== 0) then(fault);
  });
}
