// Plans of runs that somebody else makes, on another thread: asked for once for each shape, remembered, and
// refused where clients send new shapes faster than they can be planned.

import { limits } from "../../base/limits.ts";
import { RequestError } from "../errors.ts";
import { type InputShapes, rowsOf } from "./batch-axis.ts";
import { between, KNOTS, keyOf, type PlannedRun, type Plans } from "./knots.ts";

/** Runs of some shapes with as many rows as `KNOTS` has; one run where rows are no matter. */
export type KnotRuns = readonly (PlannedRun | undefined)[];

/** The plans of one model, as far as they are known. */
export class PlanTable implements Plans {
  readonly batched: boolean;
  readonly #ask: (shapes: InputShapes) => Promise<KnotRuns>;
  /** By shapes without rows; the one used last at the end. */
  readonly #known = new Map<string, KnotRuns>();
  readonly #asked = new Map<string, Promise<void>>();
  /** The plan that was asked for last: each batch is asked about several times in turn. */
  #last: { readonly shapes: InputShapes; readonly run: PlannedRun | undefined } | undefined;
  /** Shapes that stand at the end of what is known: the next request has the same. */
  #prepared: InputShapes | undefined;

  constructor(batched: boolean, ask: (shapes: InputShapes) => Promise<KnotRuns>) {
    this.batched = batched;
    this.#ask = ask;
  }

  plan(shapes: InputShapes): PlannedRun | undefined {
    if (shapes !== this.#last?.shapes) this.#last = { shapes, run: this.#planOf(shapes) };
    return this.#last.run;
  }

  #planOf(shapes: InputShapes): PlannedRun | undefined {
    const runs = this.#known.get(keyOf(shapes, this.batched));
    if (runs === undefined || !this.batched) return runs?.[0];
    return between(rowsOf(shapes), (rows) => runs[KNOTS.indexOf(rows)]);
  }

  /** @throws RequestError 503, as a rejection, where too many shapes wait for their plans already. */
  prepare(shapes: InputShapes): Promise<void> | undefined {
    if (shapes === this.#prepared) return undefined;
    const key = keyOf(shapes, this.batched);
    const known = this.#known.get(key);
    if (known !== undefined) {
      this.#known.delete(key);
      this.#known.set(key, known);
      this.#prepared = shapes;
      return undefined;
    }
    const asked = this.#asked.get(key);
    if (asked !== undefined) return asked;
    if (this.#asked.size >= limits.plansWaitingMax) return Promise.reject(tooManyShapes());
    const planned = this.#planned(key, shapes);
    this.#asked.set(key, planned);
    return planned;
  }

  async #planned(key: string, shapes: InputShapes): Promise<void> {
    // What cannot be planned is told from measurements; it is not tried again and again.
    const runs = await this.#ask(shapes).catch(() => []);
    this.#asked.delete(key);
    this.#known.set(key, runs);
    this.#last = undefined;
    this.#prepared = undefined;
    const [oldest] = this.#known.keys();
    if (this.#known.size > limits.plannedShapesMax && oldest !== undefined) {
      this.#known.delete(oldest);
    }
  }
}

function tooManyShapes(): RequestError {
  const text = `the memory of ${limits.plansWaitingMax} shapes that are new to the model is being planned already; shapes that it has seen are answered`;
  return new RequestError(503, "memory", text, { retryAfterSeconds: 1 });
}
