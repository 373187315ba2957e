// Blocks that a run left out: models with conditional blocks have their gates among their outputs (graph/gates.ts).

import { float32Values } from "../graph/tensor.ts";
import type { Tensors } from "../runtime/runner.ts";

/** Gates by the names of their outputs, with the mean of a batch above which the block behind each is run. */
export type Gates = ReadonlyMap<string, number>;

/** What a gate said to a batch. */
export interface GatePassed {
  readonly gate: string;
  /** It has a number for each. */
  readonly rows: number;
  /** Whether the block behind it was left out. */
  readonly skipped: boolean;
}

/** What to ask of the model: a request that wants some outputs gets the gates besides; all are all. */
export function withGates(
  outputs: readonly string[] | undefined,
  gates: Gates,
): readonly string[] | undefined {
  return outputs && [...new Set([...outputs, ...gates.keys()])];
}

/** An answer as it was asked for. */
export function asAsked(answer: Tensors, outputs: readonly string[] | undefined): Tensors {
  if (outputs === undefined) return answer;
  const asked = new Set(outputs);
  return new Map([...answer].filter(([name]) => asked.has(name)));
}

/** What the gates said to the requests of one batch, whose rows decide together. */
export function passedGates(gates: Gates, answers: readonly Tensors[]): readonly GatePassed[] {
  return [...gates].flatMap(([gate, level]) => {
    let [sum, count] = [0, 0];
    for (const answer of answers) {
      const value = answer.get(gate);
      if (value?.dtype !== "float32") return [];
      for (const one of float32Values(value)) sum += one;
      count += value.data.bytes.byteLength / Float32Array.BYTES_PER_ELEMENT;
    }
    return count === 0 ? [] : [{ gate, rows: count, skipped: !(sum / count > level) }];
  });
}
