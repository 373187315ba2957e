// What the runtime's kernels take, by which rules choose among forms of a gradient that give the same numbers.

/**
 * Nanoseconds on one thread of the CPU, of float32. Only their ratios matter: what is chosen is the same on a
 * machine that is twice as fast in all of them.
 */
export interface KernelCosts {
  /** One multiplication and addition of a MatMul. */
  readonly product: number;
  /** The same in a convolution whose kernel is a whole picture. */
  readonly convolution: number;
  /** One element unrolled for such a convolution, and the start of each run of neighbours. */
  readonly unrolled: number;
  readonly unrolledRun: number;
  /** One element read and written, of neighbours and with a stride. */
  readonly copy: number;
  readonly stridedCopy: number;
  /** Starting one node. */
  readonly node: number;
}

/**
 * Fitted to 16 shapes of convolutions on ONNX Runtime 1.30.0, x86-64 with AVX-512, one thread, by processor time
 * (docs/design/gradients.md has the measurements).
 */
export const BUILT_IN_COSTS: KernelCosts = {
  product: 0.011,
  convolution: 0.0174,
  unrolled: 0.1,
  unrolledRun: 2.7,
  copy: 0.45,
  stridedCopy: 1.5,
  node: 2000,
};
