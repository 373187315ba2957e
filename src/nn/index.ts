// The builder's names, as users write them: nn.conv, nn.residual, nn.sgd.

export { float, int, ints, string } from "../graph/graph.ts";

export { type BranchScale, layerScale, type ScaleOfAnyBranch } from "./blocks/branch-scale.ts";

export { type ConditionalOptions, conditional } from "./blocks/conditional.ts";
export { type ConvNeXtBlockOptions, convnextBlock } from "./blocks/convnext-block.ts";
export { type DenseBlockOptions, denseBlock, transition } from "./blocks/dense-block.ts";
export { attentionResiduals, depthWeighted } from "./blocks/depth.ts";
export { type GateOptions, gatedResidual, highway } from "./blocks/gated.ts";
export { type HyperOptions, hyperConnections } from "./blocks/hyper.ts";
export { type InvertedResidualOptions, invertedResidual } from "./blocks/inverted-residual.ts";
export { recurrentResidual } from "./blocks/recurrent.ts";
export {
  type BlockOptions,
  type BottleneckOptions,
  bottleneck,
  type NormMaker,
  type ResidualDenseOptions,
  type ResidualOptions,
  residual,
  residualDense,
} from "./blocks/residual.ts";
export type { Shortcut } from "./blocks/shortcut.ts";
export { channelShuffle, shuffleUnit } from "./blocks/shuffle.ts";
export { type SkipOptions, skip } from "./blocks/skip.ts";
export { type SqueezeExciteOptions, squeezeExcite } from "./blocks/squeeze-excite.ts";
export { linearDecay, stochasticDepth } from "./blocks/stochastic-depth.ts";
export {
  type MlpOptions,
  mlp,
  type ParallelOptions,
  type PostNormOptions,
  type PreNormOptions,
  type TransformerOptions,
  transformer,
} from "./blocks/transformer.ts";
export { attentionGate, type LevelOptions, unetLevel } from "./blocks/unet.ts";
export type { FanOptions, Init, InitName } from "./init.ts";
export { type Layer, layer, named, type Origin } from "./layer.ts";
export {
  type AttentionOptions,
  attention,
  type CrossAttentionOptions,
  type SelfAttentionOptions,
} from "./layers/attention.ts";
export {
  type AvgPoolOptions,
  adaptivePool,
  add,
  avgPool,
  type BatchNormOptions,
  batchNorm,
  type Conv1dOptions,
  type ConvOptions,
  type ConvTransposeOptions,
  concat,
  conv,
  conv1d,
  convTranspose,
  type DenseOptions,
  dense,
  depthwise,
  dropout,
  elu,
  embedding,
  flatten,
  gelu,
  globalPool,
  groupNorm,
  hardSigmoid,
  hardSwish,
  identity,
  instanceNorm,
  type LayerNormOptions,
  layerNorm,
  leakyRelu,
  maxPool,
  mish,
  type PoolOptions,
  prelu,
  type ResizeOptions,
  relu,
  relu6,
  reshape,
  resize,
  rmsNorm,
  sequential,
  sigmoid,
  silu,
  softmax,
  softplus,
  split,
  tanh,
  transpose,
} from "./layers/index.ts";
export { patches } from "./layers/patches.ts";
export {
  type PositionOptions,
  positions,
  type RelativeBiasOptions,
  type RotaryOptions,
} from "./layers/positions.ts";
export { type ConvNeXtOptions, convnextTiny } from "./models/convnext.ts";
export { type DenseNetDepth, type DenseNetOptions, densenet } from "./models/densenet.ts";
export { googlenet, type InceptionOptions, inceptionV3 } from "./models/inception.ts";
export { efficientnetB0, type MobileNetOptions, mobilenetV2 } from "./models/mobilenet.ts";
export {
  type ResNetDepth,
  type ResNetOptions,
  resnet,
  resnext50,
  wideResnet50,
} from "./models/resnet.ts";
export { type CifarResNetOptions, cifarResnet, preActResnet } from "./models/resnet-cifar.ts";
export { type HighwayMlpOptions, highwayMlp, type TcnOptions, tcn } from "./models/sequence.ts";
export {
  type MultiTaskOptions,
  multiTask,
  type TwoTowersOptions,
  twoTowers,
} from "./models/several.ts";
export { type ShuffleNetOptions, shufflenetV2 } from "./models/shufflenet.ts";
export { squeezenet } from "./models/squeezenet.ts";
export { type LinknetOptions, linknet, type UnetOptions, unet } from "./models/unet.ts";
export { type VggDepth, type VggOptions, vgg } from "./models/vgg.ts";
export {
  type BuildOptions,
  buildNet,
  type FixedInput,
  type Net,
  type NetInput,
  type Part,
} from "./net.ts";
export { type Optimizer, type Sgd, sgd } from "./optimizer.ts";
export { summary, summaryText } from "./summary.ts";
