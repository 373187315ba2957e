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
import { fromBlocks, toBlocks, type WeightForm } from "../passes/blocked/index.ts";

/** A way for convolution weights to lie (passes/blocked). */
export interface Blocks {
  readonly form: WeightForm;
  /** Channels in a block. */
  readonly block: number;
}

/** Where one weight lies in the flat vector. */
export interface Slot {
  readonly name: ValueName;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly count: number;
  /** How the weight lies in blocks; left out where it lies plain. */
  readonly blocks?: Blocks;
}

/** The order of weights in a flat vector. */
export interface Layout {
  readonly slots: readonly Slot[];
  readonly count: number;
}

/** The layout of the named float32 initializers, in the given order, some of them not plain. */
export function layoutOf(
  graph: Graph,
  names: readonly ValueName[],
  blocked: ReadonlyMap<ValueName, Blocks> = new Map(),
): Layout {
  let offset = 0;
  const slots = names.map((name) => {
    const shape = graph.initializers.get(name)?.shape ?? [];
    const count = shape.reduce((a, b) => a * b, 1);
    const blocks = blocked.get(name);
    const slot = { name, shape, offset, count, ...(blocks && { blocks }) };
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
    put(flat, slot, float32Values(weight));
  }
  return flat;
}

/** Writes a plain weight to its slot. */
export function put(flat: Float32Array, slot: Slot, plain: Float32Array): void {
  const { offset, shape, blocks } = slot;
  flat.set(blocks === undefined ? plain : toBlocks(plain, { shape, ...blocks }), offset);
}

/** The plain weight of a slot: a view of the vector where it lies plain. */
function taken(flat: Float32Array, { offset, count, shape, blocks }: Slot): Float32Array {
  const part = flat.subarray(offset, offset + count);
  return blocks === undefined ? part : fromBlocks(part, { shape, ...blocks });
}

/** The tensors that a flat vector holds, plain; as views where they lie so. */
export function tensorsOf(flat: Float32Array, layout: Layout): Map<ValueName, Tensor> {
  return new Map(layout.slots.map((slot) => [slot.name, float32(slot.shape, taken(flat, slot))]));
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
