// What the blocked layout gains for one convolution, forward and backward: an estimate that decides, always in the same
// way, between two forms of a graph that compute the same.

/**
 * Picoseconds for each operation on one thread of a processor with AVX-512, as `all + few / channels`: fitted to 3x3
 * convolutions of 16 to 256 channels whose weights are inputs of the graph (docs/design/training-speed.md). `forward`
 * is also the gradient in x.
 */
interface Rates {
  readonly forward: { readonly all: number; readonly few: number };
  readonly weight: { readonly all: number; readonly few: number };
}

const PLAIN: Rates = { forward: { all: 4, few: 210 }, weight: { all: 4.5, few: 120 } };
const BLOCKED: Rates = { forward: { all: 4, few: 60 }, weight: { all: 3.8, few: 45 } };
/** The same of convolutions with one group for each channel. */
const PLAIN_DEPTHWISE: Rates = { forward: { all: 115, few: 0 }, weight: { all: 450, few: 0 } };
const BLOCKED_DEPTHWISE: Rates = { forward: { all: 40, few: 0 }, weight: { all: 40, few: 0 } };

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
  const at = ({ all, few }: Rates["forward"]): number => all + few / outputs;
  const plain = passes * at(slow.forward) + at(slow.weight);
  const ofWeight = at(fast.weight) * (depthwise ? 1 : fill(batch));
  const blocked = zeros * (passes * at(fast.forward) + ofWeight);
  return (flops * (plain - blocked)) / 1e6 - OVERHEAD_US;
}
