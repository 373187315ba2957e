// The transformers of the zoo.

import type { NetInput } from "../net.ts";
import { bert } from "./bert.ts";
import { gpt2 } from "./gpt2.ts";
import { gptj } from "./gptj.ts";
import type { ZooModel } from "./index.ts";
import { llama } from "./llama.ts";
import { vit } from "./vit.ts";

const tokens: NetInput = { name: "tokens", shape: ["S"], dtype: "int64" };
const few = { tokens: 11, width: 8, depth: 2, heads: 2 };

/** Vision and language models built of transformer blocks. */
export const transformerZoo: Readonly<Record<string, ZooModel>> = {
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
