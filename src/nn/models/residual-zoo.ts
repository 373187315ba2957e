// The zoo's convolutional networks with skips: the ResNet family, DenseNet, and the small and new ones.

import type { Layer } from "../layer.ts";
import type { NetInput } from "../net.ts";
import { type ConvNeXtOptions, convnextTiny } from "./convnext.ts";
import { type DenseNetDepth, densenet } from "./densenet.ts";
import type { ZooModel } from "./index.ts";
import { efficientnetB0, mobilenetV2 } from "./mobilenet.ts";
import { type ResNetDepth, type ResNetOptions, resnet, resnext50, wideResnet50 } from "./resnet.ts";
import { cifarResnet, preActResnet } from "./resnet-cifar.ts";
import { shufflenetV2 } from "./shufflenet.ts";

const IMAGENET: NetInput = { name: "image", shape: [3, 224, 224] };
const CIFAR: NetInput = { name: "image", shape: [3, 32, 32] };
const TINY: NetInput = { name: "image", shape: [3, 16, 16] };

/** What torchvision's pages of its models say: parameters exactly, multiply-accumulates to 10 million. */
function torchvision(parameters: number, gigaMacs: number): Required<Pick<ZooModel, "published">> {
  return { published: { parameters, macs: gigaMacs * 1e9, source: "torchvision, Models" } };
}

function imagenet(build: () => Layer, small: () => Layer): ZooModel {
  return {
    build,
    input: IMAGENET,
    small: { build: small, input: CIFAR },
  };
}

function ofResnet(depth: ResNetDepth, options: ResNetOptions = {}): ZooModel {
  const small = { width: 8, blocks: [1, 2, 1, 1], classes: 5 };
  return imagenet(
    () => resnet(depth, options),
    () => resnet(depth, { ...options, ...small }),
  );
}

function ofDensenet(depth: DenseNetDepth): ZooModel {
  const small = { growth: 4, blocks: [2, 3, 2, 2], classes: 5 };
  return imagenet(
    () => densenet(depth),
    () => densenet(depth, small),
  );
}

function ofCifar(build: () => Layer, small: () => Layer): ZooModel {
  return { build, input: CIFAR, small: { build: small, input: TINY } };
}

const smallInverted = { width: 0.25, blocksMax: 2, classes: 5 };
const smallConvnext: ConvNeXtOptions = { width: 8, blocks: [1, 1, 2, 1], classes: 5 };

/** Networks by name. */
export const residualZoo: Readonly<Record<string, ZooModel>> = {
  resnet18: { ...ofResnet(18), ...torchvision(11_689_512, 1.81) },
  resnet34: { ...ofResnet(34), ...torchvision(21_797_672, 3.66) },
  resnet50: { ...ofResnet(50), ...torchvision(25_557_032, 4.09) },
  resnet101: { ...ofResnet(101), ...torchvision(44_549_160, 7.8) },
  resnet152: { ...ofResnet(152), ...torchvision(60_192_808, 11.51) },
  "resnext50-32x4d": {
    ...imagenet(resnext50, () => resnext50({ width: 8, groups: 4, blocks: [1, 1, 1, 1] })),
    ...torchvision(25_028_904, 4.23),
  },
  "wide-resnet50-2": {
    ...imagenet(wideResnet50, () => wideResnet50({ width: 8, blocks: [1, 1, 1, 1] })),
    ...torchvision(68_883_240, 11.4),
  },
  "preact-resnet50": ofResnet(50, { order: "pre" }),
  "cifar-resnet20": ofCifar(
    () => cifarResnet(20),
    () => cifarResnet(8),
  ),
  "cifar-resnet56": ofCifar(
    () => cifarResnet(56),
    () => cifarResnet(14),
  ),
  "cifar-resnet110": ofCifar(
    () => cifarResnet(110),
    () => cifarResnet(20, { width: 8 }),
  ),
  "preact-resnet164": ofCifar(
    () => preActResnet(164),
    () => preActResnet(20, { width: 8 }),
  ),
  densenet121: { ...ofDensenet(121), ...torchvision(7_978_856, 2.83) },
  densenet161: { ...ofDensenet(161), ...torchvision(28_681_000, 7.73) },
  densenet169: { ...ofDensenet(169), ...torchvision(14_149_480, 3.36) },
  densenet201: { ...ofDensenet(201), ...torchvision(20_013_928, 4.29) },
  "mobilenet-v2": {
    ...imagenet(mobilenetV2, () => mobilenetV2(smallInverted)),
    ...torchvision(3_504_872, 0.3),
  },
  "efficientnet-b0": {
    ...imagenet(efficientnetB0, () => efficientnetB0(smallInverted)),
    ...torchvision(5_288_548, 0.39),
  },
  "shufflenet-v2": {
    ...imagenet(shufflenetV2, () =>
      shufflenetV2({ channels: [8, 16, 24], blocks: [2, 2, 2], end: 32, classes: 5 }),
    ),
    ...torchvision(2_278_604, 0.145),
  },
  "convnext-tiny": {
    ...imagenet(convnextTiny, () => convnextTiny(smallConvnext)),
    ...torchvision(28_589_128, 4.46),
  },
};
