// The zoo's encoder-decoder networks, highway and temporal ones, and those with several inputs or outputs.

import type { ZooModel } from "./index.ts";
import { highwayMlp, tcn } from "./sequence.ts";
import { multiTask, twoTowers } from "./several.ts";
import { linknet, unet } from "./unet.ts";

const towers = { second: { name: "facts", size: 16 } };
const tasks = { main: 10, heads: { age: 1, mood: 7 } };

/** Encoder-decoder, highway and temporal networks, several inputs and outputs. */
export const variousZoo: Readonly<Record<string, ZooModel>> = {
  unet: {
    build: () => unet(),
    input: { name: "image", shape: [1, 256, 256] },
    small: {
      build: () => unet({ width: 4, levels: 3 }),
      input: { name: "image", shape: [1, 20, 28] },
    },
  },
  "unet-valid": {
    build: () => unet({ padding: "valid" }),
    input: { name: "image", shape: [1, 572, 572] },
    small: {
      build: () => unet({ padding: "valid", width: 4, levels: 2 }),
      input: { name: "image", shape: [1, 60, 60] },
    },
  },
  "unet-attention": {
    build: () => unet({ attention: true, norm: true }),
    input: { name: "image", shape: [1, 256, 256] },
    small: {
      build: () => unet({ attention: true, norm: true, width: 4, levels: 2 }),
      input: { name: "image", shape: [1, 16, 16] },
    },
  },
  linknet: {
    build: () => linknet(),
    input: { name: "image", shape: [3, 256, 256] },
    small: {
      build: () => linknet({ width: 4, blocks: [1, 2] }),
      input: { name: "image", shape: [3, 32, 32] },
    },
  },
  "highway-mlp": {
    build: () => highwayMlp({ depth: 50, gateBias: -3 }),
    input: { name: "features", shape: [784] },
    small: {
      build: () => highwayMlp({ depth: 4, width: 8 }),
      input: { name: "features", shape: [12] },
    },
  },
  tcn: {
    build: () => tcn(),
    input: { name: "sequence", shape: [1, 784] },
    small: {
      build: () => tcn({ channels: [4, 4, 6], kernel: 3 }),
      input: { name: "sequence", shape: [2, 24] },
    },
  },
  "two-towers": {
    build: () => twoTowers(towers),
    input: { name: "image", shape: [3, 32, 32] },
    small: {
      build: () => twoTowers({ ...towers, width: 4, blocks: 1 }),
      input: { name: "image", shape: [1, 8, 8] },
    },
  },
  "multi-task": {
    build: () => multiTask(tasks),
    input: { name: "image", shape: [3, 32, 32] },
    small: {
      build: () => multiTask({ ...tasks, width: 4, blocks: 1 }),
      input: { name: "image", shape: [1, 8, 8] },
    },
  },
};
