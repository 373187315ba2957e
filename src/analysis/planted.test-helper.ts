// Random networks in which the skips are known: each block of a recipe plants one.

import fc from "fast-check";
import { type Graph, ints, type ValueName } from "../graph/graph.ts";
import { float32, int64 } from "../graph/tensor.ts";
import { Sketch } from "./sketch.test-helper.ts";
import type { SkipKind } from "./skips/skip.ts";

/** Layers of pictures of eight channels that keep the shape. */
const LAYERS = ["conv", "relu", "norm", "scale", "bias", "sigmoid", "turn"] as const;
type LayerName = (typeof LAYERS)[number];

/** What a block plants; `none` is a branch without a shortcut. */
type Plant =
  | ("none" | "identity" | "subtracted" | "sum" | "projection" | "concat" | "gated" | "highway")
  | ("conditional" | "recurrent" | "chosen");

/** The kind of skip that each plants. */
const KIND: Readonly<Record<Plant, SkipKind | undefined>> = {
  none: undefined,
  identity: "identity",
  subtracted: "identity",
  sum: "identity",
  projection: "projection",
  concat: "concat",
  gated: "gated",
  highway: "gated",
  conditional: "conditional",
  chosen: "conditional",
  recurrent: "recurrent",
};

/** A branch around which a skip is planted, and what lies in the middle of the branch. */
export interface Block {
  readonly plant: Plant;
  readonly before: readonly LayerName[];
  readonly inner: Block | undefined;
  readonly after: readonly LayerName[];
}

const layers = fc.array(fc.constantFrom(...LAYERS), { maxLength: 3 });

function block(depth: number): fc.Arbitrary<Block> {
  return fc.record({
    plant: fc.constantFrom(...(Object.keys(KIND) as Plant[])),
    before: layers,
    inner: depth === 0 ? fc.constant(undefined) : fc.option(block(depth - 1), { nil: undefined }),
    after: layers,
  });
}

/** Networks of up to three blocks in a row, with a block within a block. */
export const recipes: fc.Arbitrary<readonly Block[]> = fc.array(block(1), {
  minLength: 1,
  maxLength: 3,
});

/** All blocks, those within others too. */
export function blocksOf(recipe: readonly Block[]): Block[] {
  return recipe.flatMap((one) => [one, ...blocksOf(one.inner === undefined ? [] : [one.inner])]);
}

/** The kinds of the skips that a recipe plants, sorted; those in a loop are recurrent. */
export function kindsOf(recipe: readonly Block[]): SkipKind[] {
  const kinds = (one: Block): SkipKind[] => {
    const inner = one.inner === undefined ? [] : kinds(one.inner);
    const all: SkipKind[] = one.plant === "recurrent" ? inner.map(() => "recurrent") : inner;
    const own = KIND[one.plant];
    return own === undefined ? all : [...all, own];
  };
  return recipe.flatMap(kinds).toSorted();
}

/** The network of a recipe. */
export function planted(recipe: readonly Block[]): Graph {
  const s = new Sketch(["N", 8, 8, 8]);
  const c = s.b.input("c", "bool", []);
  const y = recipe.reduce((x, one) => s.conv(drawBlock(s, s.op("Relu", s.conv(x)), one, c)), s.x);
  return s.end(y);
}

function drawLayer(s: Sketch, x: ValueName, name: LayerName): ValueName {
  const ones = (): ValueName => s.b.constant(float32([8], new Array(8).fill(1.5)), s.named("ones"));
  const channels = (): ValueName =>
    s.b.constant(float32([8, 1, 1], new Array(8).fill(0.5)), s.named("channels"));
  switch (name) {
    case "conv":
      return s.conv(x);
    case "relu":
      return s.op("Relu", x);
    case "sigmoid":
      return s.op("Sigmoid", x);
    case "norm":
      return s.op("BatchNormalization", x, ones(), ones(), ones(), ones());
    case "scale":
      return s.op("Mul", x, channels());
    case "bias":
      return s.op("Add", channels(), x);
    case "turn": {
      const turned = s.b.emit("Transpose", [x], {
        name: s.named("Transpose"),
        attributes: { perm: ints([0, 1, 3, 2]) },
      });
      return s.op("Reshape", turned, s.b.constant(int64([4], [0, 8, 8, 8]), s.named("sizes")));
    }
  }
}

/** f(x): it begins and ends in a layer with weights, so that no two merges share a source. */
function branch(s: Sketch, x: ValueName, one: Block, c: ValueName): ValueName {
  const start = one.before.reduce((h, name) => drawLayer(s, h, name), s.op("Relu", s.conv(x)));
  const { inner } = one;
  const middle = inner === undefined ? start : drawBlock(s, s.conv(start), inner, c);
  const end = one.after.reduce((h, name) => drawLayer(s, h, name), s.op("Relu", s.conv(middle)));
  return s.conv(end);
}

function drawBlock(s: Sketch, x: ValueName, one: Block, c: ValueName): ValueName {
  const f = (): ValueName => branch(s, x, one, c);
  const gate = (): ValueName => s.op("Sigmoid", s.conv(x));
  switch (one.plant) {
    case "none":
      return f();
    case "identity":
      return s.op("Add", x, f());
    case "subtracted":
      return s.op("Sub", x, f());
    case "sum":
      return s.op("Sum", f(), x, s.conv(s.op("Relu", s.conv(x))));
    case "projection":
      return s.op("Add", f(), s.conv(x, 8, { kernel: 1 }));
    case "concat":
      return s.conv(s.concat(f(), x));
    case "gated":
      return s.op("Add", x, s.op("Mul", gate(), f()));
    case "highway": {
      const t = gate();
      const open = s.op("Mul", t, f());
      return s.op("Add", open, s.op("Mul", s.op("Sub", s.one(1), t), x));
    }
    case "chosen":
      return s.op("Where", c, f(), x);
    case "conditional":
      return s.either(
        c,
        () => f(),
        () => s.op("Identity", x),
      );
    case "recurrent":
      return s.repeat(x, (h) => s.op("Add", h, branch(s, h, one, c)));
  }
}
