// Gains and offsets of normalisations: constants in the shape that the standard op wants.

import { limits } from "../../base/limits.ts";
import type { ValueName } from "../../graph/graph.ts";
import { elementCount } from "../../graph/shape.ts";
import { float32 } from "../../graph/tensor.ts";
import type { NewConstant, View } from "./view.ts";

/** What a normalized value is multiplied with and what is added then. */
export interface Affine {
  readonly gain?: ValueName;
  readonly offset?: ValueName;
}

interface Fill {
  readonly fill: number;
  /** A value whose type the constant must have. */
  readonly like: ValueName;
}

/** A constant over the normalized axes, of exactly their shape; a filled one where none is given. */
export function parameter(
  view: View,
  name: ValueName | undefined,
  dims: readonly number[],
  { fill, like }: Fill,
): ValueName | NewConstant | undefined {
  const count = elementCount(dims) ?? 0;
  if (name === undefined) return filled(view, dims, { fill, like });
  const ref = view.constant(name);
  if (ref === undefined || elementCount(ref.shape) !== count) return undefined;
  const extra = ref.shape.length - dims.length;
  const fits = dims.every((dim, i) => ref.shape[i + extra] === dim);
  if (extra < 0 || !fits) return undefined;
  return extra === 0 ? name : { ref: { ...ref, shape: dims }, stem: `${name}/flat` };
}

/** A constant for each channel of [N, C, …] as a vector; a filled one where none is given. */
export function perChannel(
  view: View,
  name: ValueName | undefined,
  rank: number,
  { channels, fill, like }: Fill & { readonly channels: number },
): ValueName | NewConstant | undefined {
  if (name === undefined) return filled(view, [channels], { fill, like });
  const ref = view.constant(name);
  if (ref === undefined || elementCount(ref.shape) !== channels) return undefined;
  // Counted from the end, the channels stand at rank - 1.
  const axis = ref.shape.length - (rank - 1);
  if (ref.shape.length > rank || ref.shape[axis] !== channels) return undefined;
  return ref.shape.length === 1
    ? name
    : { ref: { ...ref, shape: [channels] }, stem: `${name}/flat` };
}

function filled(
  view: View,
  shape: readonly number[],
  { fill, like }: Fill,
): NewConstant | undefined {
  const count = elementCount(shape) ?? 0;
  if (view.dtype(like) !== "float32" || count > limits.foldedConstantMax) return undefined;
  if (!view.spend(count)) return undefined;
  const ref = float32(shape, new Float32Array(count).fill(fill));
  return { ref, stem: fill === 0 ? "zeros" : "ones" };
}
