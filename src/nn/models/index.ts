// The model zoo as a list: what each model is called, how it is built, and what its authors published of
// it. `npm run generate:zoo` makes docs/reference/models.md of it; tests take their networks from here.

import type { Layer } from "../layer.ts";
import type { NetInput } from "../net.ts";
import { plainZoo } from "./plain-zoo.ts";
import { residualZoo } from "./residual-zoo.ts";
import { starter } from "./starter.ts";
import { transformerZoo } from "./transformer-zoo.ts";
import { variousZoo } from "./various-zoo.ts";

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
  ...transformerZoo,
};
