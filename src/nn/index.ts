// The builder's names, as users write them: nn.conv, nn.residual, nn.sgd.

export { type Layer, layer, named, type Origin } from "./layer.ts";
export {
  batchNorm,
  type ConvOptions,
  conv,
  dense,
  flatten,
  globalPool,
  relu,
  sequential,
} from "./layers.ts";
export {
  type BuildOptions,
  buildNet,
  type FixedInput,
  type Net,
  type NetInput,
  type Part,
} from "./net.ts";
export { type Optimizer, type Sgd, sgd } from "./optimizer.ts";
export { type ResidualOptions, residual, type Shortcut } from "./residual.ts";
