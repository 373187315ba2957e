// The model zoo as a list: what each model is called, how it is built, and what its authors published of
// it. `npm run generate:zoo` makes docs/reference/models.md of it; tests take their networks from here.

import type { Layer } from "../layer.ts";
import type { NetInput } from "../net.ts";
import { residualZoo } from "./residual-zoo.ts";
import { plainZoo } from "./plain-zoo.ts";
import { starter } from "./starter.ts";
import { variousZoo } from "./various-zoo.ts";
import { bert } from "./bert.ts";
import { gpt2 } from "./gpt2.ts";
import { gptj } from "./gptj.ts";
import { llama } from "./llama.ts";
import { starter } from "./starter.ts";
import { vit } from "./vit.ts";

/** A network, and what it is fed. */
export interface ZooNetwork {
  /** Makes the layer anew: nothing is built before it is asked for. */
  build(): Layer;
  /** Size at which the published numbers hold; further inputs are the network's own. */
  readonly input: NetInput;
}

/** A model of the zoo. */
export interface ZooModel extends ZooNetwork {
  /** What the authors, or the implementation that people compare with, say of it. */
  readonly published?: {
    readonly parameters?: number;
    /** Multiply-accumulates for one example. */
    readonly macs?: number;
    /** Who says so. */
    readonly source: string;
  };
  /** The same structure, small enough to be run in tests in well under a second. */
  readonly small?: ZooNetwork;
}

const tokens: NetInput = { name: "tokens", shape: ["S"], dtype: "int64" };
const few = { tokens: 11, width: 8, depth: 2, heads: 2 };

/** All models by name, families together. */
export const zoo: Readonly<Record<string, ZooModel>> = {
  starter: {
    build: () => starter({ skips: true }),
    input: { name: "image", shape: [1, 8, 8] },
    small: {
      build: () => starter({ skips: true }),
      input: { name: "image", shape: [1, 8, 8] },
    },
  },
  ...residualZoo,
  ...plainZoo,
  ...variousZoo,
  "vit-b-16": {
    build: () => vit(),
    input: { name: "image", shape: [3, 224, 224] },
    published: { parameters: 86_567_656, macs: 17.6e9, source: "torchvision" },
    small: {
      build: () => vit({ patch: 2, width: 8, depth: 2, heads: 2, classes: 3 }),
      input: { name: "image", shape: [3, 4, 6] },
    },
  },
  "gpt-2": {
    build: () => gpt2(),
    input: tokens,
    published: { parameters: 124_439_808, source: "Hugging Face transformers" },
    small: { build: () => gpt2({ ...few, length: 16 }), input: tokens },
  },
  "bert-base": {
    build: () => bert(),
    input: tokens,
    published: { parameters: 109_482_240, source: "Hugging Face transformers" },
    small: { build: () => bert({ ...few, length: 16 }), input: tokens },
  },
  "llama-2-7b": {
    build: () => llama(),
    input: tokens,
    published: { parameters: 6_738_415_616, source: "Hugging Face transformers" },
    small: { build: () => llama({ ...few, keyHeads: 1, units: 12 }), input: tokens },
  },
  "gpt-j-6b": {
    build: () => gptj(),
    input: tokens,
    published: { parameters: 6_050_882_784, source: "Hugging Face transformers" },
    small: { build: () => gptj({ ...few, rotarySize: 2 }), input: tokens },
  },
};
