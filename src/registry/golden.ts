// Golden answers of a version: recorded when it is registered, replayed by the gate, asked by the server. Apart from
// the gate, whose rules bring all analysis with them: a server is live before it needs any.

import { Random } from "../base/random.ts";
import type { Tensor } from "../graph/tensor.ts";
import { inconclusive, madeUpInputs } from "../runtime/made-up.ts";
import type { Session, Tensors } from "../runtime/runner.ts";
import { decodeSafetensors, encodeSafetensors } from "../train/safetensors.ts";

/** Inputs with the outputs that were recorded for them. */
export interface Golden {
  readonly inputs: Tensors;
  readonly outputs: Tensors;
}

/**
 * Records golden answers: the model's own outputs for these inputs, or for seeded ones. Undefined where
 * none can be made up, or their answers cannot be had.
 */
export async function recordGolden(
  session: Session,
  options: { inputs?: Tensors; signal?: AbortSignal } = {},
): Promise<Golden | undefined> {
  const { inputs, ...run } = options;
  if (inputs !== undefined) return goldenOf(inputs, await session.run(inputs, run));
  const random = new Random(1);
  const seeded = madeUpInputs(session.inputs, () => random.uniform());
  if (seeded === undefined) return undefined;
  try {
    return goldenOf(seeded, await session.run(seeded, run));
  } catch (error) {
    if (inconclusive(error)) return undefined;
    throw error;
  }
}

/** Safetensors has no text: outputs of it are left out, and of nothing but text there is no record. */
function goldenOf(inputs: Tensors, all: Tensors): Golden | undefined {
  const outputs = new Map([...all].filter(([, { dtype }]) => dtype !== "string"));
  return outputs.size === 0 ? undefined : { inputs, outputs };
}

/** Golden answers as the bytes of a safetensors file: `input.NAME` and `output.NAME`. */
export function encodeGolden(golden: Golden): Uint8Array {
  const tensors = new Map<string, Tensor>();
  for (const [name, value] of golden.inputs) tensors.set(`input.${name}`, value);
  for (const [name, value] of golden.outputs) tensors.set(`output.${name}`, value);
  return encodeSafetensors(tensors, new Map());
}

/** Reads golden answers back. @throws SkipwayError `input` for a broken file. */
export function decodeGolden(bytes: Uint8Array): Golden {
  const { tensors } = decodeSafetensors(bytes);
  const part = (prefix: string): Tensors =>
    new Map(
      [...tensors].flatMap(([name, value]) =>
        name.startsWith(prefix) ? [[name.slice(prefix.length), value] as const] : [],
      ),
    );
  return { inputs: part("input."), outputs: part("output.") };
}
