// What the first process of a version is asked before clients are: a question whose answer is kept, and whether
// rows keep to themselves.

import type { Clock } from "../base/clock.ts";
import type { ChildSession } from "../runtime/child-process.ts";
import type { Tensors } from "../runtime/runner.ts";
import { idOf } from "./errors.ts";
import { batchInvariance, type Invariance } from "./invariance.ts";
import { type KnownAnswer, recordAnswer } from "./known-answer.ts";

/** Runs a model. */
export type Run = (inputs: Tensors) => Promise<Tensors>;

/** What is kept of them. */
interface Found {
  readonly known: KnownAnswer | undefined;
  readonly invariance: Invariance | undefined;
}

/** For all runs of the comparison that decides whether requests share runs, about. */
const INVARIANCE_MS = 1000;

/** A model whose rows were not compared. */
const UNCOMPARED: Invariance = {
  invariant: false,
  worst: 0,
  reason: "there is no memory to compare rows of several requests; it is served without batches",
};

/**
 * Asks what is not known yet.
 *
 * @throws SkipwayError when the process dies, or fails in a way that says something of the model.
 */
export async function firstRuns(
  model: Pick<ChildSession, "inputs" | "outputs"> & { readonly run: Run },
  before: Found,
  options: {
    readonly clock: Clock;
    readonly ties: ReadonlySet<string> | undefined;
    /** Whether requests are to share runs at all. */
    readonly compares: boolean;
  },
): Promise<Found> {
  const { clock, ties, compares } = options;
  const known = before.known ?? (await recordAnswer(model.inputs, model.run).catch(roomless));
  if (!compares || before.invariance !== undefined) return { ...before, known };
  const settings = { clock, timeMs: INVARIANCE_MS, ...(ties && { ties }) };
  const invariance = await batchInvariance(model, settings).catch(roomless);
  return { known, invariance: invariance ?? UNCOMPARED };
}

/** What is made up may be larger than what clients send: that there is no room for it says nothing of the model. */
function roomless(error: unknown): undefined {
  if (idOf(error) !== "serve/no-memory") throw error;
}
