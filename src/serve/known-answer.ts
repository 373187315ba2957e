// A question whose answer is known: how a server tells that a model is the one it was, and still answers.

import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { Random } from "../base/random.ts";
import type { ValueType } from "../graph/graph.ts";
import { inconclusive, madeUpInputs } from "../runtime/made-up.ts";
import type { Tensors } from "../runtime/runner.ts";
import { near } from "./tensor-diff.ts";

/** A question and its answer; one without an answer is only asked, to see that something comes. */
export interface KnownAnswer {
  readonly inputs: Tensors;
  readonly outputs: Tensors | undefined;
}

/** Said of a model that has none. */
export const UNPROBED =
  "its answers are not watched: no inputs could be made up that it answers, and none were recorded";

/** Different kernels round differently, also with the size of a batch; a wrong file is off by far more. */
const TOLERANCE = 1e-3;
const SEED = 20;

type Ask = (inputs: Tensors) => Promise<Tensors>;

/**
 * Makes up a question and records what the model says to it now. Undefined where none can be made up, or
 * where the model fails at it for reasons of its own (sizes inside).
 */
export async function recordAnswer(
  types: ReadonlyMap<string, ValueType>,
  ask: Ask,
): Promise<KnownAnswer | undefined> {
  const random = new Random(SEED);
  const inputs = madeUpInputs(types, () => random.uniform());
  if (inputs === undefined) return undefined;
  try {
    const [outputs, again] = [await ask(inputs), await ask(inputs)];
    // A model that draws random numbers has no known answer.
    const steady = firstWrong(outputs, again) === undefined;
    return { inputs, outputs: steady ? outputs : undefined };
  } catch (error) {
    if (inconclusive(error)) return undefined;
    throw error;
  }
}

/** @throws SkipwayError `check` `serve/probe-mismatch` where the answer is another one. */
export async function askKnown(known: KnownAnswer, model: string, ask: Ask): Promise<void> {
  const found = await ask(known.inputs);
  const output = known.outputs && firstWrong(known.outputs, found);
  if (output !== undefined) throw wrongAnswer(model, output);
}

function firstWrong(expected: Tensors, found: Tensors): string | undefined {
  for (const [name, value] of expected) {
    if (!near(value, found.get(name), TOLERANCE)) return name;
  }
  return undefined;
}

function wrongAnswer(model: string, output: string): SkipwayError {
  return SkipwayError.fromDiagnostics("check", [
    diagnostic({
      id: "serve/probe-mismatch",
      severity: "error",
      where: `${model}, output "${output}"`,
      text: "the model does not give the answer that was recorded for it, so it is not served",
      fix: "Register the model again; its file or the runtime has changed since.",
    }),
  ]);
}
