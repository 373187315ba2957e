// The basic layers, one file for each family. Each states the shape that it takes and gives; N is the batch.

export {
  elu,
  gelu,
  hardSigmoid,
  hardSwish,
  leakyRelu,
  mish,
  prelu,
  relu,
  relu6,
  sigmoid,
  silu,
  softmax,
  softplus,
  tanh,
} from "./activation.ts";
export { add, concat, identity, sequential, split } from "./compose.ts";
export {
  type Conv1dOptions,
  type ConvOptions,
  type ConvTransposeOptions,
  conv,
  conv1d,
  convTranspose,
  depthwise,
} from "./conv.ts";
export { type DenseOptions, dense, embedding } from "./dense.ts";
export { dropout } from "./dropout.ts";
export {
  type BatchNormOptions,
  batchNorm,
  groupNorm,
  instanceNorm,
  type LayerNormOptions,
  layerNorm,
  rmsNorm,
} from "./norm.ts";
export {
  type AvgPoolOptions,
  adaptivePool,
  avgPool,
  globalPool,
  maxPool,
  type PoolOptions,
} from "./pool.ts";
export { flatten, type ResizeOptions, reshape, resize, transpose } from "./shape.ts";
