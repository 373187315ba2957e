// Inputs for networks of which only the shapes matter.

import { Random } from "../src/base/random.ts";
import type { Graph, Value } from "../src/graph/graph.ts";
import { float32, int64, type Tensor } from "../src/graph/tensor.ts";
import type { Tensors } from "../src/runtime/runner.ts";

const BATCH = 2;
/** For sizes other than the batch that are symbols. */
const LENGTH = 6;

/** Inputs in the range of images that are normalised, and of small vocabularies. */
export function sampleOf(graph: Graph): Tensors {
  const random = new Random(7);
  const made = ({ dtype, shape = [] }: Value): Tensor => {
    const sizes = shape.map((dim, axis) => {
      if (typeof dim === "number") return dim;
      return axis === 0 && dim === "N" ? BATCH : LENGTH;
    });
    const count = sizes.reduce((a, b) => a * b, 1);
    if (dtype === "int64") {
      return int64(
        sizes,
        Array.from({ length: count }, () => random.integer(2)),
      );
    }
    return float32(
      sizes,
      Float32Array.from({ length: count }, () => random.normal()),
    );
  };
  return new Map(graph.inputs.map((input) => [input.name, made(input)]));
}
