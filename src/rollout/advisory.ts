// What of a rollout informs and decides nothing: how the answers of both versions are spread, and what they cost.

import { messageOf } from "../base/errors.ts";
import type { Outcome } from "../serve/outcomes.ts";
import { CostMeter, type CostReading, type SavedCost } from "./cost.ts";
import type { Arm } from "./judge/types.ts";
import { type DriftReading, OutputDrift, type SavedDrift } from "./output-drift.ts";

/** What is known. */
export interface AdvisoryReading {
  /** Of each output. */
  readonly drift: readonly DriftReading[];
  readonly cost: CostReading;
  /** Why nothing is gathered any more; null where it is. */
  readonly fault: string | null;
}

/** Everything that is kept. Plain JSON. */
export interface SavedAdvisory {
  readonly drift: SavedDrift;
  readonly cost: SavedCost;
}

/** Gathers it from what the server tells. */
export class Advisory {
  readonly #drift: OutputDrift;
  readonly #cost: CostMeter;
  #fault: string | null = null;

  constructor(saved?: SavedAdvisory) {
    this.#drift = new OutputDrift(saved?.drift);
    this.#cost = new CostMeter(saved?.cost);
  }

  /**
   * Takes what a version did. A defect in here ends the gathering and not the rollout.
   *
   * @param shadow whether only copies go to the candidate; later they would count beside the requests themselves.
   */
  take(arm: Arm, outcome: Outcome, shadow: boolean): void {
    if (this.#fault !== null) return;
    try {
      this.#take(arm, outcome, shadow);
    } catch (error) {
      this.#fault = `a defect of skipway: ${messageOf(error)}`;
    }
  }

  #take(arm: Arm, outcome: Outcome, shadow: boolean): void {
    switch (outcome.kind) {
      case "request": {
        const { role, share, key, outputs } = outcome;
        if (role === arm && outputs !== undefined) this.#drift.take({ arm, share, key, outputs });
        return;
      }
      case "pair":
        if (shadow && outcome.answers !== undefined) this.#drift.takePair(outcome.answers);
        return;
      case "batch": {
        // Copies run when nothing else does: their batches are no like ones.
        if (outcome.role !== arm || outcome.outcome !== "good") return;
        const { atMs, bucket, rows, executeMs, bytes } = outcome;
        this.#cost.take({ arm, atMs, bucket, rows, executeMs, bytes });
        return;
      }
      case "golden":
      case "life":
        return;
    }
  }

  reading(): AdvisoryReading {
    return { drift: this.#drift.readings(), cost: this.#cost.reading(), fault: this.#fault };
  }

  saved(): SavedAdvisory {
    return { drift: this.#drift.saved(), cost: this.#cost.saved() };
  }
}
