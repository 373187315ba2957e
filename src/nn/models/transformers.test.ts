import { describe, expect, test } from "vitest";
import { sound } from "../../../test/sound.ts";
import { census } from "../../analysis/census.ts";
import { canonicalize } from "../../canonical/canonical.ts";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import type { Graph } from "../../graph/graph.ts";
import { typeOf } from "../../graph/query.ts";
import { float32, int64, type Tensor } from "../../graph/tensor.ts";
import {
  type BlockByHand,
  block,
  geluTanh,
  plus,
  silu,
} from "../blocks/transformer.test-helper.ts";
import * as nn from "../index.ts";
import {
  distance,
  noise,
  type Rows,
  rotation,
  run,
  shaken,
  Weights,
} from "../layers/attention.test-helper.ts";
import { bert } from "./bert.ts";
import { gpt2 } from "./gpt2.ts";
import { gptj } from "./gptj.ts";
import { llama } from "./llama.ts";
import { vit } from "./vit.ts";

const tokens: nn.NetInput = { name: "tokens", shape: ["S"], dtype: "int64" };
const picture: nn.NetInput = { name: "image", shape: [3, 224, 224] };

function build(root: nn.Layer, input: nn.NetInput, more: Partial<nn.BuildOptions> = {}): Graph {
  return sound(nn.buildNet(root, { input, output: "y", seed: 1, ...more }));
}

function parameters(graph: Graph): number {
  const counts = [...graph.initializers.values()]
    .filter((ref) => ref.dtype === "float32" && ref.shape.length > 0)
    .map((ref) => ref.shape.reduce((a, b) => a * b, 1));
  return counts.reduce((a, b) => a + b, 0);
}

/** Products of numbers in all matrix products and convolutions for one example, counted here from shapes. */
function multiplications(graph: Graph): number {
  const one = inferShapes(graph, new Map([["N", 1]]));
  const shape = (name = ""): number[] => (typeOf(one, name)?.shape ?? []).map(Number);
  const size = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);
  return one.nodes
    .filter((node) => ["MatMul", "Gemm", "Conv"].includes(node.op))
    .map(({ op, inputs, outputs }) => {
      const each = op === "Conv" ? size(shape(inputs[1]).slice(1)) : shape(inputs[0]).at(-1);
      return size(shape(outputs[0])) * (each ?? Number.NaN);
    })
    .reduce((a, b) => a + b, 0);
}

describe("parameters are those that are published", () => {
  test.each([
    ["ViT-B/16", vit(), picture, 86_567_656],
    ["GPT-2 small", gpt2(), tokens, 124_439_808],
    ["GPT-2 medium", gpt2({ width: 1024, depth: 24, heads: 16 }), tokens, 354_823_168],
    ["BERT base", bert(), tokens, 109_482_240],
    ["BERT large", bert({ width: 1024, depth: 24, heads: 16 }), tokens, 335_141_888],
    ["Llama 2 7B", llama(), tokens, 6_738_415_616],
    [
      "Llama 3 8B",
      llama({ tokens: 128_256, keyHeads: 8, units: 14_336, rotaryBase: 500_000 }),
      tokens,
      8_030_261_248,
    ],
    [
      "SmolLM 135M",
      llama({
        ...{ tokens: 49_152, width: 576, depth: 30, heads: 9, keyHeads: 3, units: 1536 },
        tied: true,
      }),
      tokens,
      134_515_008,
    ],
    ["GPT-J 6B", gptj(), tokens, 6_050_882_784],
  ])("%s", (_name, root, input, published) => {
    expect(parameters(build(root, input, { weights: "absent" }))).toBe(published);
  });

  test("ViT-B/16 multiplies 17.6 G times, attention included", () => {
    const found = multiplications(build(vit(), picture, { weights: "absent" })) / 1e9;
    expect(Math.abs(found / 17.6 - 1)).toBeLessThan(0.01);
  });
});

describe("skips", () => {
  const rows = (graph: Graph): Record<string, number> => {
    const counts: Record<string, number> = {};
    for (const { kind, block: form, norm } of census(graph).skips) {
      const key = `${kind} ${form} ${norm}`;
      counts[key] = (counts[key] ?? 0) + 1;
    }
    return counts;
  };

  test.each([
    ["ViT-B/16", vit(), picture, { "identity attention pre": 12, "identity mlp pre": 12 }],
    ["GPT-2", gpt2({ depth: 4 }), tokens, { "identity attention pre": 4, "identity mlp pre": 4 }],
    ["BERT", bert({ depth: 4 }), tokens, { "identity attention post": 4, "identity mlp post": 4 }],
    ["LLaMA", llama({ depth: 4 }), tokens, { "identity attention pre": 4, "identity mlp pre": 4 }],
    ["GPT-J", gptj({ depth: 4 }), tokens, { "identity parallel pre": 4 }],
  ])("of %s", (_name, root, input, expected) => {
    const graph = build(root, input, { weights: "absent" });
    expect(rows(graph)).toEqual(expected);
    expect(census(graph).hazards).toEqual([]);
  });

  test("attention and rotary positions are known as such", () => {
    const graph = canonicalize(build(llama({ depth: 2 }), tokens, { weights: "absent" }));
    const count = (op: string): number => graph.nodes.filter((node) => node.op === op).length;
    expect([count("Attention"), count("RotaryEmbedding"), count("Softmax")]).toEqual([2, 4, 0]);
  });
});

/** Rows of a table. */
function chosen(table: Rows, ids: readonly number[]): Rows {
  return ids.map((id) => table[id] ?? []);
}

/** x·tableᵀ. */
function against(x: Rows, table: Rows): Rows {
  return x.map((row) =>
    table.map((other) => row.reduce((sum, v, i) => sum + v * (other[i] ?? Number.NaN), 0)),
  );
}

/** A dense layer over single vectors, whose weight is one row for each output. */
function gemm(x: Rows, weights: Weights): Rows {
  const bias = weights.vector("bias");
  const products = against(x, weights.matrix("weight"));
  return products.map((row) => row.map((value, i) => value + (bias[i] ?? Number.NaN)));
}

function blocks(x: Rows, weights: Weights, depth: number, options: BlockByHand): Rows {
  return Array.from({ length: depth }, (_, i) => weights.at(`block${i + 1}`)).reduce(
    (value, one) => block(value, one, options),
    x,
  );
}

describe("small ones compute what they say", () => {
  const small = { tokens: 11, width: 8, depth: 2, heads: 2 };
  const ids = [3, 1, 10, 0, 7];
  const feed = { tokens: int64([1, ids.length], ids) };
  const two = { heads: 2, keyHeads: 2 };

  async function check(
    root: nn.Layer,
    byHand: (weights: Weights) => Rows,
    more: Readonly<Record<string, Tensor>> = {},
  ): Promise<void> {
    const graph = shaken(build(root, tokens), 4);
    const found = await run(graph, { ...feed, ...more });
    const expected = byHand(new Weights(graph)).flat();
    const size = Math.max(1, ...expected.map(Math.abs));
    expect(distance(found.get("y"), expected) / size).toBeLessThan(1e-5);
  }

  test("GPT-2, whose head is the table of its tokens", async () => {
    await check(gpt2({ ...small, length: 6 }), (weights) => {
      const table = weights.at("tokens").matrix("weight");
      const places = weights.at("positions").matrix("weight");
      const x = plus(chosen(table, ids), places);
      const options = { attention: { ...two, causal: true }, activation: geluTanh };
      return against(weights.at("norm").layerNorm(blocks(x, weights, 2, options)), table);
    });
  });

  test("BERT, with kinds of tokens and a mask", async () => {
    const kinds = [0, 0, 1, 1, 1];
    const more = {
      token_types: int64([1, 5], kinds),
      attention_mask: int64([1, 5], [1, 1, 1, 0, 0]),
    };
    const byHand = (weights: Weights): Rows => {
      const x = plus(
        chosen(weights.at("tokens").matrix("weight"), ids),
        chosen(weights.at("types").matrix("weight"), kinds),
        weights.at("positions").matrix("weight"),
      );
      const attention = { ...two, readable: (key: number) => key < 3 };
      const options = { attention, placement: "post", epsilon: 1e-12 } as const;
      return blocks(weights.at("norm").layerNorm(x, 1e-12), weights, 2, options);
    };
    await check(bert({ ...small, length: 6 }), byHand, more);
    const graph = shaken(build(bert({ ...small, length: 6 }), tokens), 4);
    const pooled = (await run(graph, { ...feed, ...more })).get("pooled");
    const weights = new Weights(graph);
    const [first = []] = gemm(byHand(weights).slice(0, 1), weights.at("pooler"));
    expect(distance(pooled, first.map(Math.tanh))).toBeLessThan(1e-5);
  });

  test("LLaMA, tied and not", async () => {
    const options: BlockByHand = {
      attention: {
        heads: 2,
        keyHeads: 1,
        causal: true,
        turn: rotation(4, 10_000, (i) => [i, i + 2]),
      },
      norm: "rms",
      activation: silu,
      isGated: true,
    };
    for (const tied of [true, false]) {
      await check(llama({ ...small, keyHeads: 1, units: 12, tied }), (weights) => {
        const table = weights.at("tokens").matrix("weight");
        const x = blocks(chosen(table, ids), weights, 2, options);
        const last = weights.at("norm").rmsNorm(x);
        return tied ? against(last, table) : weights.at("head").linear(last);
      });
    }
  });

  test("GPT-J", async () => {
    await check(gptj({ ...small, rotarySize: 2 }), (weights) => {
      const x = blocks(chosen(weights.at("tokens").matrix("weight"), ids), weights, 2, {
        attention: { ...two, causal: true, turn: rotation(2, 1, () => [0, 1]) },
        placement: "parallel",
        activation: geluTanh,
      });
      return weights.at("head").linear(weights.at("norm").layerNorm(x));
    });
  });

  test("ViT", async () => {
    const root = vit({ patch: 2, width: 8, depth: 2, heads: 2, units: 12, classes: 3 });
    const graph = shaken(build(root, { name: "image", shape: [3, 4, 6] }), 4);
    const image = noise(3 * 4 * 6, 9);
    const pixel = (c: number, y: number, x: number): number => image[(c * 4 + y) * 6 + x] ?? 0;
    const weights = new Weights(graph);
    const kernel = weights.at("patches.conv").vector("weight");
    const bias = weights.at("patches.conv").vector("bias");
    const patches = [0, 1].flatMap((row) =>
      [0, 1, 2].map((column) =>
        bias.map((offset, channel) => {
          let sum = offset;
          for (let i = 0; i < 12; i++) {
            const [c, dy, dx] = [Math.floor(i / 4), Math.floor(i / 2) % 2, i % 2];
            sum += pixel(c, 2 * row + dy, 2 * column + dx) * (kernel[channel * 12 + i] ?? 0);
          }
          return sum;
        }),
      ),
    );
    const sequence = plus(
      [weights.at("class_token").vector("weight"), ...patches],
      weights.at("positions").matrix("weight"),
    );
    const x = blocks(sequence, weights, 2, { attention: two, epsilon: 1e-6 });
    const last = weights.at("norm").layerNorm(x, 1e-6).slice(0, 1);
    const expected = gemm(last, weights.at("head")).flat();
    // Two pictures: the second one is the first.
    const found = await run(graph, { image: float32([2, 3, 4, 6], [...image, ...image]) });
    expect(distance(found.get("y"), [...expected, ...expected])).toBeLessThan(1e-4);
  });

  test("a later token changes nothing before it", async () => {
    for (const root of [
      gpt2({ ...small, length: 6 }),
      llama(small),
      gptj({ ...small, rotarySize: 2 }),
    ]) {
      const graph = shaken(build(root, tokens), 4);
      const changed = int64([1, 5], [3, 1, 10, 5, 5]);
      const [a, b] = [await run(graph, feed), await run(graph, { tokens: changed })];
      expect(a.get("y")?.slice(0, 33)).toEqual(b.get("y")?.slice(0, 33));
      expect(distance(a.get("y"), b.get("y") ?? [])).toBeGreaterThan(1e-3);
    }
  });
});
