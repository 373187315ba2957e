// A loss of any values: their elements, each times a random number, summed.

import type { Random } from "../../src/base/random.ts";
import { TypedBuilder } from "../../src/canonical/typed-builder.ts";
import { type Graph, int, type ValueName } from "../../src/graph/graph.ts";
import { float32 } from "../../src/graph/tensor.ts";
import { sizeOf } from "../float64/array.ts";

/**
 * The graph with that sum as its only output.
 *
 * @param what.parts The values with their shapes.
 */
export function withWeightedSum(
  graph: Graph,
  what: {
    readonly parts: ReadonlyMap<ValueName, readonly number[]>;
    readonly loss: ValueName;
    readonly random: Random;
  },
): Graph {
  const builder = new TypedBuilder(graph);
  const sums = [...what.parts].map(([part, shape]) => {
    const numbers = Float32Array.from({ length: sizeOf(shape) }, () => what.random.normal());
    const product = builder.emit("Mul", [part, builder.constant(float32(shape, numbers))]);
    return builder.emit("ReduceSum", [product], { attributes: { keepdims: int(0) } });
  });
  builder.emit("Sum", sums, { outputs: [what.loss], name: what.loss });
  builder.output({ name: what.loss, dtype: "float32", shape: [] });
  const whole = builder.finish(graph.name, graph.opsets);
  return { ...whole, outputs: whole.outputs.filter(({ name }) => name === what.loss) };
}
