// Weights side by side in one flat vector, so that an optimizer step is a handful of large nodes
// instead of four small ones for each weight, and a run feeds three tensors instead of hundreds.

import { assert } from "../base/assert.ts";
import type { Graph, ValueName } from "../graph/graph.ts";
import {
  bytesOf,
  copyBytes,
  float32,
  float32Values,
  hasBytes,
  type Tensor,
} from "../graph/tensor.ts";

/** Where one weight lies in the flat vector. */
export interface Slot {
  readonly name: ValueName;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly count: number;
}

/** The order of weights in a flat vector. */
export interface Layout {
  readonly slots: readonly Slot[];
  readonly count: number;
}

/** The layout of the named float32 initializers, in the given order. */
export function layoutOf(graph: Graph, names: readonly ValueName[]): Layout {
  let offset = 0;
  const slots = names.map((name) => {
    const shape = graph.initializers.get(name)?.shape ?? [];
    const count = shape.reduce((a, b) => a * b, 1);
    const slot = { name, shape, offset, count };
    offset += count;
    return slot;
  });
  return { slots, count: offset };
}

/** The flat vector of what the initializers hold. */
export function gatherFlat(graph: Graph, layout: Layout): Float32Array {
  const flat = new Float32Array(layout.count);
  for (const slot of layout.slots) {
    const weight = graph.initializers.get(slot.name);
    assert(weight !== undefined && hasBytes(weight), `the weight ${slot.name} has bytes`);
    flat.set(float32Values(weight), slot.offset);
  }
  return flat;
}

/** The tensors that a flat vector holds, as views. */
export function tensorsOf(flat: Float32Array, layout: Layout): Map<ValueName, Tensor> {
  return new Map(
    layout.slots.map(({ name, shape, offset, count }) => [
      name,
      float32(shape, flat.subarray(offset, offset + count)),
    ]),
  );
}

/** The graph with other weights. */
export function withWeights(graph: Graph, weights: ReadonlyMap<ValueName, Tensor>): Graph {
  const initializers = new Map(graph.initializers);
  for (const [name, weight] of weights) {
    assert(initializers.has(name), `the graph has a weight ${name}`);
    initializers.set(name, {
      ...weight,
      data: { kind: "bytes", bytes: copyBytes(weight.data.bytes) },
    });
  }
  return { ...graph, initializers };
}

/** A flat vector as a tensor. */
export function flatTensor(flat: Float32Array): Tensor {
  return { dtype: "float32", shape: [flat.length], data: { kind: "bytes", bytes: bytesOf(flat) } };
}
