// What the blocked layout gains for one convolution, forward and backward: an estimate that decides, always in the same
// way, between two forms of a graph that compute the same.

/**
 * Picoseconds for each operation on two cores of a processor with AVX-512 (docs/design/training-speed.md). Of plain
 * convolutions whose weights are inputs of the graph: forward and the gradient in x, then the gradient in the weight.
 */
const PLAIN = { forward: 16, weight: 33 };
const BLOCKED = { forward: 4, weight: 5 };
/** The same of convolutions with one group for each channel. */
const PLAIN_DEPTHWISE = { forward: 150, weight: 300 };
const BLOCKED_DEPTHWISE = { forward: 40, weight: 60 };

/** Microseconds of a convolution and its norm for the nodes that the layout has more. */
const OVERHEAD_US = 60;

/** Picoseconds for each element that goes into the region or out of it, and back with the gradients. */
const BORDER = 1600;

/** Microseconds of a step that such a border takes. */
export function borderCost(elements: number): number {
  return (elements * BORDER) / 1e6;
}

/** `first`: x lies plain, an input of the graph, which has no gradient. `depthwise`: a group for each channel. */
export type ConvolutionKind = "first" | "dense" | "depthwise";

/** A convolution: its operations, and what fills its blocks. */
export interface Convolution {
  /** Operations of the forward pass without zeros. */
  readonly flops: number;
  readonly batch: number;
  readonly inputs: number;
  readonly outputs: number;
  readonly kind: ConvolutionKind;
}

/** Microseconds gained for each step; less than 0 where zeros and nodes cost more than the layout gains. */
export function gainOf(conv: Convolution, block: number): number {
  const fill = (count: number): number => (Math.ceil(count / block) * block) / count;
  const { flops, batch, inputs, outputs, kind } = conv;
  const passes = kind === "first" ? 1 : 2;
  const depthwise = kind === "depthwise";
  const zeros = fill(outputs) * (kind === "dense" ? fill(inputs) : 1);
  const slow = depthwise ? PLAIN_DEPTHWISE : PLAIN;
  const fast = depthwise ? BLOCKED_DEPTHWISE : BLOCKED;
  const plain = passes * slow.forward + slow.weight;
  const ofWeight = fast.weight * (depthwise ? 1 : fill(batch));
  const blocked = zeros * (passes * fast.forward + ofWeight);
  return (flops * (plain - blocked)) / 1e6 - OVERHEAD_US;
}
