// What is true of networks, labelled by hand from the papers and the definition in docs/design/census.md,
// never from what the census says. Two lists: files from outside, and the model zoo.

import type { BlockKind, SkipCounts } from "../src/analysis/skips/skip.ts";

/** What is true of one network. Counts that are left out are 0; what is not stated is not asked for. */
export interface Label {
  readonly identity?: number;
  readonly projection?: number;
  readonly concat?: number;
  readonly gated?: number;
  readonly encoderDecoder?: number;
  readonly denseLinks?: number;
  /** Skips with an activation before the branch, or behind the sum. */
  readonly activation?: Readonly<Partial<Record<"pre" | "post" | "none", number>>>;
  readonly norm?: Readonly<Partial<Record<"pre" | "post" | "sandwich" | "none", number>>>;
  readonly blocks?: Readonly<Partial<Record<BlockKind, number>>>;
}

/** The counts of a label as the census gives them. */
export function countsOf(label: Label): SkipCounts {
  const { identity = 0, projection = 0, concat = 0, gated = 0, encoderDecoder = 0 } = label;
  return {
    total: identity + projection + concat + gated,
    additiveIdentity: identity,
    additiveProjection: projection,
    concat,
    gated,
    encoderDecoder,
    conditional: 0,
    recurrent: 0,
    multiStream: 0,
  };
}

const none: Label = {};

/** Files from outside, by folder and name; every other file there must give an answer. */
export const outside: Readonly<Record<string, Label>> = {
  "onnx-light/light_bvlc_alexnet": none,
  "onnx-light/light_zfnet512": none,
  "onnx-light/light_vgg19": none,
  "onnx-light/light_squeezenet": none,
  "onnx-light/light_inception_v1": none,
  "onnx-light/light_inception_v2": none,
  // 16 bottlenecks, a projection at the head of each stage.
  "onnx-light/light_resnet50": { identity: 12, projection: 4, activation: { post: 16 } },
  // 6 + 12 + 24 + 16 layers, n(n+1)/2 links for each block of n.
  "onnx-light/light_densenet121": { concat: 58, denseLinks: 535, blocks: { dense: 58 } },
  // 16 units, of which the 3 that halve the image concatenate a pooled shortcut.
  "onnx-light/light_shufflenet": { identity: 13, concat: 3 },
  "ir-py/resnet18_dynamo": { identity: 5, projection: 3, activation: { post: 8 } },
  "ir-py/mobilenetv2_100_dynamo": { identity: 10 },
  // Six layers of a decoder without an encoder to look at: attention and feed-forward, norm behind the sum.
  "ir-py/Speech2Text2ForCausalLM_dynamo": { identity: 12, norm: { post: 12 } },
  "ir-py/torchscript_model": {
    identity: 20,
    norm: { pre: 20 },
    blocks: { attention: 10, mlp: 10 },
  },
};

/** A model of the zoo: at the size of its paper, and as small as tests run it. */
export interface ZooLabel {
  readonly full: Label;
  readonly small: Label;
}

const plain: ZooLabel = { full: none, small: none };

/** `blocks` residual blocks of which `projection` have a projection; an activation behind every sum. */
function post(blocks: number, projection: number): Label {
  return { identity: blocks - projection, projection, activation: { post: blocks } };
}

/** A projection reads what the first norm and activation give, as the branch does: none lies between. */
function pre(blocks: number, projection: number): Label {
  const identity = blocks - projection;
  return { identity, projection, activation: { pre: identity, none: projection } };
}

/** Dense blocks by their number of layers. */
function dense(...layers: readonly number[]): Label {
  const concat = layers.reduce((a, n) => a + n, 0);
  const denseLinks = layers.reduce((a, n) => a + (n * (n + 1)) / 2, 0);
  return { concat, denseLinks, blocks: { dense: concat } };
}

function transformer(depth: number, norm: "pre" | "post"): Label {
  const blocks = { attention: depth, mlp: depth };
  return { identity: 2 * depth, norm: { [norm]: 2 * depth }, blocks };
}

const smallDensenet = dense(2, 3, 2, 2);
// Stages of 1, 2, 1 and 1 blocks. Bottlenecks widen in the first stage too.
const smallBottleneck = post(5, 4);
const unet = (levels: number): Label => ({
  concat: levels,
  encoderDecoder: levels,
  blocks: { unet: levels },
});
/** A gate on each skip, and in each gate a sum of what skips and what comes from below. */
const gatedUnet = (levels: number): Label => ({
  gated: levels,
  projection: levels,
  encoderDecoder: 2 * levels,
});

/** The model zoo by name. */
export const zooLabels: Readonly<Record<string, ZooLabel>> = {
  starter: { full: post(15, 0), small: post(15, 0) },
  resnet18: { full: post(8, 3), small: post(5, 3) },
  resnet34: { full: post(16, 3), small: post(5, 3) },
  resnet50: { full: post(16, 4), small: smallBottleneck },
  resnet101: { full: post(33, 4), small: smallBottleneck },
  resnet152: { full: post(50, 4), small: smallBottleneck },
  "resnext50-32x4d": { full: post(16, 4), small: post(4, 4) },
  "wide-resnet50-2": { full: post(16, 4), small: post(4, 4) },
  "preact-resnet50": { full: pre(16, 4), small: pre(5, 4) },
  // 6n + 2 layers are 3n blocks; shortcuts of the paper's option A have no weights.
  "cifar-resnet20": { full: post(9, 0), small: post(3, 0) },
  "cifar-resnet56": { full: post(27, 0), small: post(6, 0) },
  "cifar-resnet110": { full: post(54, 0), small: post(9, 0) },
  // 9n + 2 layers are 3n bottlenecks.
  "preact-resnet164": { full: pre(54, 3), small: pre(6, 3) },
  densenet121: { full: dense(6, 12, 24, 16), small: smallDensenet },
  densenet161: { full: dense(6, 12, 36, 24), small: smallDensenet },
  densenet169: { full: dense(6, 12, 32, 32), small: smallDensenet },
  densenet201: { full: dense(6, 12, 48, 32), small: smallDensenet },
  // Stages of 1, 2, 3, 4, 3, 3 and 1 blocks: all but the first of each. The small one has two at most, and
  // as many channels in its first stage as before it, so that one more block has a skip.
  "mobilenet-v2": {
    full: { identity: 10, activation: { none: 10 } },
    small: { identity: 6, activation: { none: 6 } },
  },
  // Stages of 1, 2, 2, 3, 3, 4 and 1 blocks; the small one as that of MobileNet.
  "efficientnet-b0": {
    full: { identity: 9, activation: { none: 9 } },
    small: { identity: 6, activation: { none: 6 } },
  },
  // Of 4, 8 and 4 units the first of each stage transforms both halves.
  "shufflenet-v2": {
    full: { concat: 13, blocks: { partial: 13 } },
    small: { concat: 3, blocks: { partial: 3 } },
  },
  "convnext-tiny": {
    full: { identity: 18, activation: { none: 18 } },
    small: { identity: 5, activation: { none: 5 } },
  },
  "vgg-11": plain,
  "vgg-13": plain,
  "vgg-16": plain,
  "vgg-19": plain,
  "vgg-11-norm": plain,
  "vgg-13-norm": plain,
  "vgg-16-norm": plain,
  "vgg-19-norm": plain,
  "squeezenet-1.1": plain,
  googlenet: plain,
  "inception-v3": plain,
  unet: { full: unet(4), small: unet(3) },
  "unet-valid": { full: unet(4), small: unet(2) },
  "unet-attention": { full: gatedUnet(4), small: gatedUnet(2) },
  // A residual encoder, and a sum around each of its stages.
  linknet: {
    full: { identity: 9, projection: 3, encoderDecoder: 4, blocks: { unet: 4 } },
    small: { identity: 4, projection: 1, encoderDecoder: 2, blocks: { unet: 2 } },
  },
  "highway-mlp": {
    full: { gated: 50, blocks: { highway: 50 } },
    small: { gated: 4, blocks: { highway: 4 } },
  },
  // From 1 channel to 25 once; from 2 to 4 and from 4 to 6.
  tcn: { full: post(8, 1), small: post(3, 2) },
  // The blocks of the image's tower, and both towers around what fuses them.
  "two-towers": { full: { identity: 5 }, small: { identity: 3 } },
  "multi-task": { full: post(3, 0), small: post(1, 0) },
  "vit-b-16": { full: transformer(12, "pre"), small: transformer(2, "pre") },
  "gpt-2": { full: transformer(12, "pre"), small: transformer(2, "pre") },
  "bert-base": { full: transformer(12, "post"), small: transformer(2, "post") },
  "llama-2-7b": { full: transformer(32, "pre"), small: transformer(2, "pre") },
  "gpt-j-6b": {
    full: { identity: 28, norm: { pre: 28 }, blocks: { parallel: 28 } },
    small: { identity: 2, norm: { pre: 2 }, blocks: { parallel: 2 } },
  },
};
