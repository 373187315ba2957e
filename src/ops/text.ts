// Ops on strings, and counts of n-grams in them. No gradient flows through text.

import { intsAttribute } from "../graph/graph.ts";
import { type Dim, UNKNOWN_DIM } from "../graph/shape.ts";
import type { OpDef, ShapeRule } from "./op.ts";
import { broadcastShape, defineOp, perInput, typed } from "./rules.ts";

function op(type: string, shape: ShapeRule): OpDef {
  return defineOp(type, { shape, cost: perInput(1), gradient: "zero" });
}

const concat = op("StringConcat", (c) => [typed("string", broadcastShape(c))]);

/** Parts in a new last axis, as many as the string with most has; and how many each has. */
const split = op("StringSplit", (c) => {
  const x = c.input(0)?.shape;
  return [typed("string", x && [...x, UNKNOWN_DIM]), typed("int64", x)];
});

/** How many words are left depends on which; `[C]` or `[1, C]`. */
const normalizer = op("StringNormalizer", (c) => {
  const x = c.input(0)?.shape;
  return [typed("string", x && [...x.slice(0, -1), UNKNOWN_DIM])];
});

const fullMatch = op("RegexFullMatch", (c) => [typed("bool", c.input(0)?.shape)]);

/** One column for each n-gram: up to the highest index that one has. */
const tfIdf = op("TfIdfVectorizer", (c) => {
  const x = c.input(0)?.shape;
  const indexes = intsAttribute(c.node, "ngram_indexes") ?? [];
  let highest = -1;
  for (const index of indexes) highest = Math.max(highest, index);
  const columns: Dim = highest < 0 ? UNKNOWN_DIM : highest + 1;
  const ranked = x?.length === 1 || x?.length === 2;
  return [typed("float32", ranked ? [...x.slice(0, -1), columns] : undefined)];
});

/** All ops of this family. */
export const texts: readonly OpDef[] = [concat, split, normalizer, fullMatch, tfIdf];
