// Weights put into a file beside the model: which, and at which offset.

import type { Graph } from "../graph/graph.ts";
import { mapTensors } from "../graph/map-tensors.ts";
import type { TensorRef } from "../graph/tensor.ts";
import { tensorBytes, withData } from "./tensors.ts";

/** Where one weight is to lie. */
export interface Placement {
  readonly ref: TensorRef;
  readonly offset: number;
  readonly length: number;
}

/** A graph whose weights lie in another file, and what that file has to hold. */
export interface Gathered {
  readonly graph: Graph;
  readonly placements: readonly Placement[];
}

/** A tensor this large is mapped into memory by runtimes: 64 KiB is the unit of Windows, 4 KiB of others. */
const MAPPED_BYTES_MIN = 1_048_576;
const MAPPED_ALIGNMENT = 65_536;
/** So that a view of any element type is possible. */
const ALIGNMENT = 16;

/**
 * Places every tensor of at least `bytesMin` in one file, and all that lie in other files already; each
 * tensor once, however often it is used.
 */
export function gather(
  graph: Graph,
  { location, folder, bytesMin }: { location: string; folder: string; bytesMin: number },
): Gathered {
  const placements = new Map<TensorRef, Placement>();
  const moved = new Map<TensorRef, TensorRef>();
  let end = 0;
  const changed = mapTensors(graph, (ref) => {
    const known = moved.get(ref);
    if (known !== undefined) return known;
    const length = tensorBytes(ref.dtype, ref.shape);
    const large = ref.data.kind === "bytes" && length >= bytesMin;
    if (!large && ref.data.kind !== "external") return ref;
    const offset = aligned(end, length >= MAPPED_BYTES_MIN ? MAPPED_ALIGNMENT : ALIGNMENT);
    end = offset + length;
    placements.set(ref, { ref, offset, length });
    const there = withData(ref, { kind: "external", location, offset, length, folder });
    moved.set(ref, there);
    return there;
  });
  return { graph: changed, placements: [...placements.values()] };
}

function aligned(offset: number, to: number): number {
  return Math.ceil(offset / to) * to;
}
