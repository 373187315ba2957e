import { describe, expect, test } from "vitest";
import { sound } from "../../../test/sound.ts";
import { census } from "../../analysis/census.ts";
import type { Skip } from "../../analysis/skips/skip.ts";
import type { Graph } from "../../graph/graph.ts";
import { float32, int64 } from "../../graph/tensor.ts";
import * as nn from "../index.ts";
import {
  distance,
  noise,
  rotation,
  rowsOf,
  run,
  shaken,
  Weights,
} from "../layers/attention.test-helper.ts";
import { type BlockByHand, block, geluTanh, silu } from "./transformer.test-helper.ts";

const WIDTH = 8;
const LENGTH = 5;

function build(root: nn.Layer, more: Partial<nn.BuildOptions> = {}): Graph {
  const input = { name: "x", shape: ["S", WIDTH] };
  return sound(nn.buildNet(nn.sequential(root), { input, output: "y", seed: 1, ...more }));
}

const two = { heads: 2 };
const hand = { attention: { heads: 2, keyHeads: 2 } };
const relu = (x: number): number => Math.max(0, x);

const forms: Readonly<Record<string, readonly [nn.TransformerOptions, BlockByHand]>> = {
  "pre-norm": [{ attention: two }, hand],
  "post-norm": [
    { attention: two, placement: "post" },
    { ...hand, placement: "post" },
  ],
  sandwich: [
    { attention: two, placement: "sandwich" },
    { ...hand, placement: "sandwich" },
  ],
  parallel: [
    { attention: two, parallel: true },
    { ...hand, placement: "parallel" },
  ],
  "of LLaMA": [
    {
      attention: { heads: 4, keyHeads: 2, causal: true, rotary: true, bias: false },
      mlp: { units: 12, activation: "swiglu", bias: false },
      norm: "rms",
      epsilon: 1e-6,
    },
    {
      attention: {
        heads: 4,
        keyHeads: 2,
        causal: true,
        turn: rotation(2, 10_000, () => [0, 1]),
      },
      norm: "rms",
      epsilon: 1e-6,
      activation: silu,
      isGated: true,
    },
  ],
  "of GPT-J": [
    {
      attention: { heads: 2, causal: true, rotary: { interleaved: true, size: 2 }, bias: false },
      mlp: { activation: "gelu-tanh" },
      parallel: true,
    },
    {
      attention: { heads: 2, keyHeads: 2, causal: true, turn: rotation(2, 1, () => [0, 1]) },
      placement: "parallel",
      activation: geluTanh,
    },
  ],
  "with a factor for each channel": [{ attention: two, branchScale: { layerScale: 0.1 } }, hand],
  "with one factor for each branch": [
    { attention: two, branchScale: "rezero", parallel: true },
    { ...hand, placement: "parallel" },
  ],
  "with a wide skip": [
    { attention: two, placement: "post", deepNorm: 8, mlp: { activation: "relu" } },
    { ...hand, placement: "post", skipScale: 2, activation: relu },
  ],
  "with a gated inner layer": [
    { attention: two, mlp: { activation: "geglu" } },
    { ...hand, isGated: true },
  ],
  "with what is random in training": [
    { attention: { ...two, dropout: 0.5 }, mlp: { dropout: 0.5 }, dropout: 0.5, dropPath: 0.5 },
    hand,
  ],
};

describe("a transformer block", () => {
  test.each(Object.entries(forms))("%s computes what it says", async (_name, [options, byHand]) => {
    const graph = shaken(build(nn.transformer(options)), 3);
    const x = noise(LENGTH * WIDTH, 5);
    const found = await run(graph, { x: float32([1, LENGTH, WIDTH], x) });
    const expected = block(rowsOf(x, LENGTH, WIDTH), new Weights(graph).at("block"), byHand);
    expect(distance(found.get("y"), expected.flat())).toBeLessThan(1e-5);
  });

  test("reads another sequence between its parts", async () => {
    const decoder = nn.layer("decoder", (net, x) => {
      const memory = net.input("memory", ["N", "T", 6]);
      const cross = { heads: 2, memory, mask: "keep" };
      return net.inside(nn.transformer({ attention: { heads: 2, causal: true }, cross }), x);
    });
    const graph = shaken(build(decoder), 3);
    const [x, memory] = [noise(LENGTH * WIDTH, 5), noise(3 * 6, 6)];
    const found = await run(graph, {
      x: float32([1, LENGTH, WIDTH], x),
      memory: float32([1, 3, 6], memory),
      keep: int64([1, 3], [1, 0, 1]),
    });
    const weights = new Weights(graph).at("decoder.block");
    const expected = block(rowsOf(x, LENGTH, WIDTH), weights, {
      attention: { heads: 2, keyHeads: 2, causal: true },
      cross: {
        heads: 2,
        keyHeads: 2,
        memory: rowsOf(memory, 3, 6),
        readable: (key) => key !== 1,
      },
    });
    expect(distance(found.get("y"), expected.flat())).toBeLessThan(1e-5);
    expect(census(graph).skips.map((skip) => skip.block)).toEqual([
      "attention",
      "attention",
      "mlp",
    ]);
  });

  test("starts its DeepNorm weights as the paper says", () => {
    const graph = build(nn.transformer({ attention: two, placement: "post", deepNorm: 2 }));
    const spread = (name: string): number => {
      const values = new Weights(graph).at("block").at(name).vector("weight");
      return Math.sqrt(values.reduce((a, b) => a + b * b, 0) / values.length);
    };
    // β = (8·2)^-¼ = ½ against Xavier's √(2 / (8 + 8)); 64 numbers are within some 35 % at 4 deviations.
    for (const name of ["attention.query", "attention.key"]) {
      expect(Math.abs(spread(name) / Math.sqrt(1 / 8) - 1)).toBeLessThan(0.36);
    }
    for (const name of ["attention.value", "attention.out"]) {
      expect(Math.abs(spread(name) / (0.5 * Math.sqrt(1 / 8)) - 1)).toBeLessThan(0.36);
    }
    for (const name of ["mlp.up", "mlp.down"]) {
      expect(Math.abs(spread(name) / (0.5 * Math.sqrt(2 / 40)) - 1)).toBeLessThan(0.2);
    }
  });

  test("is random in training alone, with the same weights", () => {
    const random = forms["with what is random in training"]?.[0] ?? { attention: two };
    const [training, inference] = [
      build(nn.transformer(random), { mode: "training" }),
      build(nn.transformer(random)),
    ];
    expect([...new Weights(training).names()]).toEqual([...new Weights(inference).names()]);
    const dropouts = (graph: Graph): number =>
      graph.nodes.filter((node) => node.op === "Dropout").length;
    // Of weights, inner layer and two branches; in training also whole examples of two branches.
    expect([dropouts(inference), dropouts(training)]).toEqual([4, 6]);
  });
});

test("DeepNorm belongs to post-norm: another does not compile", () => {
  // @ts-expect-error a pre-norm block has no DeepNorm
  const options: nn.TransformerOptions = { attention: two, placement: "pre", deepNorm: 2 };
  expect(options.attention).toBe(two);
});

type Row = Pick<Skip, "kind" | "block" | "norm" | "scaled">;

describe("the census of a transformer block", () => {
  const [attention, mlp] = [
    { kind: "identity", block: "attention" },
    { kind: "identity", block: "mlp" },
  ] as const;
  const rows: Readonly<Record<string, readonly Partial<Row>[]>> = {
    "pre-norm": [
      { ...attention, norm: "pre" },
      { ...mlp, norm: "pre" },
    ],
    "post-norm": [
      { ...attention, norm: "post" },
      { ...mlp, norm: "post" },
    ],
    sandwich: [
      { ...attention, norm: "sandwich" },
      { ...mlp, norm: "sandwich" },
    ],
    parallel: [{ kind: "identity", block: "parallel", norm: "pre" }],
    "of LLaMA": [
      { ...attention, norm: "pre" },
      { ...mlp, norm: "pre" },
    ],
    "of GPT-J": [{ kind: "identity", block: "parallel", norm: "pre" }],
    "with a factor for each channel": [attention, mlp],
    "with one factor for each branch": [{ block: "parallel" }],
    "with a wide skip": [
      { ...attention, norm: "post", scaled: true },
      { ...mlp, norm: "post", scaled: true },
    ],
    "with a gated inner layer": [attention, mlp],
    "with what is random in training": [attention, mlp],
  };

  test.each(Object.entries(forms))("%s", (name, [options]) => {
    const found = census(build(nn.transformer(options), { weights: "absent" }));
    expect(found.skips).toMatchObject(rows[name] ?? []);
    expect(found.skips).toHaveLength(rows[name]?.length ?? -1);
    expect(found.hazards).toEqual([]);
  });

  test("positions, biases and masks are no skips", () => {
    const attention = {
      ...{ heads: 4, keyHeads: 2, causal: true, mask: "keep", relativeBias: true },
      rotary: { size: 2, base: 100 },
      headSize: 4,
    };
    const root = nn.sequential(nn.positions(16), nn.attention(attention));
    expect(census(build(root, { weights: "absent" })).skips).toEqual([]);
  });
});
