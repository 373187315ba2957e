// The builder's names, as users write them: nn.conv, nn.residual, nn.sgd.

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
export { type BuildOptions, buildNet, type Layer, layer, type Net, type NetInput } from "./net.ts";
export { type Optimizer, type Sgd, sgd } from "./optimizer.ts";
export { type ResidualOptions, residual, type Shortcut } from "./residual.ts";
