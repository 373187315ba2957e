// Runs a model and its rewritten form on the same seeded inputs, in a process that may be killed: some
// models compute for ever on inputs that were made up.

import { Random } from "../src/base/random.ts";
import { dtypeBytes } from "../src/graph/dtype.ts";
import type { ValueType } from "../src/graph/graph.ts";
import { isStatic } from "../src/graph/shape.ts";
import { float32Values, type Tensor, tensor } from "../src/graph/tensor.ts";
import { inProcessRunner } from "../src/runtime/in-process.ts";
import type { Session, Tensors } from "../src/runtime/runner.ts";

/** A model in two forms. */
export interface RunRequest {
  readonly original: Uint8Array;
  readonly rewritten: Uint8Array;
}

/**
 * `refused`: the runtime does not take the original, or not these inputs. `close`: within rounding, as where
 * the runtime fuses other nodes.
 */
export type RunAnswer = "refused" | "same" | "close" | "different";

process.on("message", (request: RunRequest) => {
  void compare(request).then((answer) => process.send?.(answer));
});
process.on("disconnect", () => process.exit(0));

async function compare({ original, rewritten }: RunRequest): Promise<RunAnswer> {
  const first = await outputsOf(original);
  if (first === undefined) return "refused";
  const second = await outputsOf(rewritten);
  if (second === undefined) return "different";
  if (sameTensors(first, second)) return "same";
  return closeTensors(first, second) ? "close" : "different";
}

/** Of the largest number of a tensor; float32 has 1.2e-7 between neighbours. */
const ROUNDING = 1e-6;

function closeTensors(a: Tensors, b: Tensors): boolean {
  return [...a].every(([name, value]) => {
    const other = b.get(name);
    if (other?.dtype !== "float32" || value.dtype !== "float32") return false;
    const [x, y] = [float32Values(value), float32Values(other)];
    if (x.length !== y.length) return false;
    const bound = ROUNDING * x.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
    return x.every((v, i) => Math.abs(v - (y[i] ?? Number.NaN)) <= bound);
  });
}

async function outputsOf(bytes: Uint8Array): Promise<Tensors | undefined> {
  let session: Session | undefined;
  try {
    session = await inProcessRunner().load({ bytes: new Uint8Array(bytes) });
    return await session.run(seeded(session.inputs));
  } catch {
    return undefined;
  } finally {
    await session?.close();
  }
}

function seeded(inputs: ReadonlyMap<string, ValueType>): Tensors {
  const random = new Random(1);
  const feeds = new Map<string, Tensor>();
  for (const [name, { dtype, shape }] of inputs) {
    const sizes = (shape ?? []).map((dim) => (typeof dim === "number" ? dim : 2));
    if (!isStatic(sizes)) continue;
    const count = sizes.reduce((a, b) => a * b, 1);
    feeds.set(name, tensor(dtype, sizes, elements(dtype, count, random)));
  }
  return feeds;
}

function elements(dtype: ValueType["dtype"], count: number, random: Random): Uint8Array {
  const bytes = (array: ArrayBufferView): Uint8Array =>
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  const next = (): number => random.uniform();
  if (dtype === "float32") return bytes(Float32Array.from({ length: count }, next));
  if (dtype === "float64") return bytes(Float64Array.from({ length: count }, next));
  if (dtype === "bool") return Uint8Array.from({ length: count }, () => random.integer(2));
  return new Uint8Array(dtypeBytes(dtype, count));
}

function sameTensors(a: Tensors, b: Tensors): boolean {
  return [...a].every(([name, value]) => {
    const other = b.get(name);
    return other !== undefined && Buffer.compare(value.data.bytes, other.data.bytes) === 0;
  });
}
