// The zoo's networks without skips.

import type { Layer } from "../layer.ts";
import { googlenet, inceptionV3 } from "./inception.ts";
import type { ZooModel } from "./index.ts";
import { squeezenet } from "./squeezenet.ts";
import { type VggDepth, vgg } from "./vgg.ts";

/** How many pixels high and wide an image is. */
type Pixels = number;

function ofImages(size: Pixels, build: () => Layer): Pick<ZooModel, "build" | "input"> {
  return { build, input: { name: "image", shape: [3, size, size] } };
}

/** What torchvision's pages of its models say: parameters exactly, multiply-accumulates to 10 million. */
function torchvision(parameters: number, gigaMacs: number): Pick<ZooModel, "published"> {
  return { published: { parameters, macs: gigaMacs * 1e9, source: "torchvision, Models" } };
}

function ofVgg(depth: VggDepth, norm: boolean): Omit<ZooModel, "published"> {
  const small = { width: 4, hidden: 16, classes: 5, norm };
  return {
    ...ofImages(224, () => vgg(depth, { norm })),
    small: ofImages(32, () => vgg(depth, small)),
  };
}

const SMALL = { width: 1 / 16, classes: 5 };

/** Networks without skips. */
export const plainZoo: Readonly<Record<string, ZooModel>> = {
  "vgg-11": { ...ofVgg(11, false), ...torchvision(132_863_336, 7.61) },
  "vgg-13": { ...ofVgg(13, false), ...torchvision(133_047_848, 11.31) },
  "vgg-16": { ...ofVgg(16, false), ...torchvision(138_357_544, 15.47) },
  "vgg-19": { ...ofVgg(19, false), ...torchvision(143_667_240, 19.63) },
  "vgg-11-norm": { ...ofVgg(11, true), ...torchvision(132_868_840, 7.61) },
  "vgg-13-norm": { ...ofVgg(13, true), ...torchvision(133_053_736, 11.31) },
  "vgg-16-norm": { ...ofVgg(16, true), ...torchvision(138_365_992, 15.47) },
  "vgg-19-norm": { ...ofVgg(19, true), ...torchvision(143_678_248, 19.63) },
  "squeezenet-1.1": {
    ...ofImages(224, () => squeezenet()),
    ...torchvision(1_235_496, 0.35),
    small: ofImages(32, () => squeezenet({ width: 8, classes: 5 })),
  },
  googlenet: {
    ...ofImages(224, () => googlenet()),
    ...torchvision(6_624_904, 1.5),
    small: ofImages(32, () => googlenet(SMALL)),
  },
  // The page counts an auxiliary classifier in, 27,161,264; without it these are the weights that remain.
  "inception-v3": {
    ...ofImages(299, () => inceptionV3()),
    ...torchvision(23_834_568, 5.71),
    small: ofImages(75, () => inceptionV3(SMALL)),
  },
};
