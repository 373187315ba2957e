// How many channels a block of the runtime's own layout has on this machine. The layout is no public contract:
// it is found by looking at what the runtime's reordering makes of numbers in order.

import { TypedBuilder } from "../canonical/typed-builder.ts";
import { float32, float32Values } from "../graph/tensor.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { inProcessRunner } from "./in-process.ts";

/** Blocks that are known: 8 with AVX2, 16 with AVX-512 (onnxruntime, core/mlas/lib/platform.cpp). */
const CHANNELS = 64;
const PIXELS = 3;

/**
 * Channels in a block, or undefined where the runtime has no blocked layout for this processor, or not the one
 * that is expected: [C/B, pixels, B].
 */
export async function blockSize(): Promise<number | undefined> {
  const builder = new TypedBuilder();
  builder.input("x", "float32", [1, CHANNELS, 1, PIXELS]);
  builder.emit("ReorderInput", ["x"], { domain: "com.microsoft.nchwc", outputs: ["y"] });
  builder.output({ name: "y", dtype: "float32", shape: [1, CHANNELS, 1, PIXELS] });
  const opsets = new Map([
    ["", 20],
    ["com.microsoft.nchwc", 1],
  ]);
  const bytes = encodeModel(modelOf(builder.finish("block_probe", opsets)));
  const ramp = Float32Array.from({ length: CHANNELS * PIXELS }, (_, i) => i);
  try {
    await using session = await inProcessRunner().load({ bytes });
    const outputs = await session.run(new Map([["x", float32([1, CHANNELS, 1, PIXELS], ramp)]]));
    const y = outputs.get("y");
    return y === undefined ? undefined : blockOf(float32Values(y));
  } catch {
    // The domain or the op is not there: a runtime without this layout.
    return undefined;
  }
}

/** The block size by which a ramp over [C, pixels] lies as it does; undefined for any other order. */
export function blockOf(values: Float32Array): number | undefined {
  const block = values.indexOf(1);
  if (values.length !== CHANNELS * PIXELS || block < 2 || CHANNELS % block !== 0) return undefined;
  for (let c = 0; c < CHANNELS; c++) {
    for (let p = 0; p < PIXELS; p++) {
      const at = (Math.floor(c / block) * PIXELS + p) * block + (c % block);
      if (values[at] !== c * PIXELS + p) return undefined;
    }
  }
  return block;
}
