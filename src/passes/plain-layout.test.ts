import { describe, expect, test } from "vitest";
import { sound } from "../../test/sound.ts";
import { SkipwayError } from "../base/errors.ts";
import { Random } from "../base/random.ts";
import { GraphBuilder } from "../graph/build.ts";
import { type Graph, int, ints, string } from "../graph/graph.ts";
import { float32, numbersOf, type Tensor } from "../graph/tensor.ts";
import { graph } from "../graph/text.test-helper.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import { withPlainLayout } from "./plain-layout.ts";

// The oracle is the network as it was before: the runtime runs it in the plain layout. Weights are brought
// into blocks here, element by element.

const [H, W] = [6, 5];

type Filter = readonly [number, number, number, number];

function numbers(count: number, seed: number): number[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => random.normal());
}

function filled(size: number, block: number): number {
  return Math.ceil(size / block) * block;
}

/** The elements of a filter in blocks, with zeros where channels are filled up. */
function blocked(
  values: readonly number[],
  [o, i, h, w]: Filter,
  block: number,
  alone: boolean,
): Tensor {
  const [outputs, inputs] = [filled(o, block), alone ? i : filled(i, block)];
  const result = new Float32Array(outputs * inputs * h * w);
  for (let a = 0; a < o; a++) {
    for (let b = 0; b < i; b++) {
      for (let p = 0; p < h * w; p++) {
        const at = alone
          ? ((Math.floor(a / block) * inputs + b) * h * w + p) * block + (a % block)
          : (((Math.floor(a / block) * (inputs / block) + Math.floor(b / block)) * h * w + p) *
              block +
              (b % block)) *
              block +
            (a % block);
        result[at] = values[(a * i + b) * h * w + p] ?? 0;
      }
    }
  }
  return float32([outputs, inputs, h, w], result);
}

function bias(size: number, block: number, seed: number): Tensor {
  const list = numbers(size, seed);
  return float32(
    [filled(size, block)],
    [...list, ...new Array(filled(size, block) - size).fill(0)],
  );
}

const SAME = { kernel_shape: ints([3, 3]), pads: ints([1, 1, 1, 1]), strides: ints([1, 1]) };
const POINT = { kernel_shape: ints([1, 1]), pads: ints([0, 0, 0, 0]), strides: ints([1, 1]) };
const B = "com.microsoft.nchwc";

/** 3 channels to 12, pooled, by a channel each, to 12 again with a skip and a Relu, grown twice. */
function network(block: number | undefined): Graph {
  const b = new GraphBuilder();
  const size = (channels: number): number =>
    block === undefined ? channels : filled(channels, block);
  const filter = (name: string, seed: number, shape: Filter, alone: boolean): void => {
    const list = numbers(
      shape.reduce((x, y) => x * y, 1),
      seed,
    );
    b.initializer(
      name,
      block === undefined ? float32(shape, list) : blocked(list, shape, block, alone),
    );
  };
  const domain = block === undefined ? "" : B;
  b.input("x", "float32", [2, 3, H, W]);
  filter("w1", 1, [12, 3, 3, 3], true);
  b.initializer("b1", bias(12, block ?? 1, 2));
  b.emit("Conv", ["x", "w1", "b1"], { domain, outputs: ["c1"], attributes: SAME });
  b.emit("MaxPool", ["c1"], { domain, outputs: ["p"], attributes: SAME });
  filter("w2", 3, [size(12), 1, 3, 3], true);
  const each = { ...SAME, group: int(size(12)) };
  b.emit("Conv", ["p", "w2"], { domain, outputs: ["c2"], attributes: each });
  filter("w3", 4, [12, 12, 1, 1], false);
  if (block === undefined) {
    b.emit("Conv", ["c2", "w3"], { outputs: ["c3"], attributes: POINT });
    b.emit("Add", ["c3", "p"], { outputs: ["s"] });
    b.emit("Relu", ["s"], { outputs: ["r"] });
    b.initializer("scales", float32([4], [1, 1, 2, 2]));
    b.emit("Resize", ["r", "", "scales"], {
      ...{ outputs: ["y"] },
      attributes: {
        coordinate_transformation_mode: string("asymmetric"),
        nearest_mode: string("floor"),
      },
    });
  } else {
    const attributes = { ...POINT, activation: string("Relu") };
    b.emit("Conv", ["c2", "w3", "", "p"], { domain, outputs: ["r"], attributes });
    const scales = { scales: ints([1, 1, 2, 2]) };
    b.emit("Upsample", ["r"], { domain, outputs: ["u"], attributes: scales });
    b.emit("ReorderOutput", ["u"], { domain, outputs: ["o"], attributes: { channels: int(12) } });
    b.emit("ReorderInput", ["o"], { domain, outputs: ["back"] });
    b.emit("ReorderOutput", ["back"], {
      domain,
      outputs: ["y"],
      attributes: { channels: int(12) },
    });
  }
  b.output({ name: "y", dtype: "float32", shape: [2, 12, 2 * H, 2 * W] });
  const opsets = new Map([["", 20]]);
  return b.finish("g", block === undefined ? opsets : new Map([...opsets, [B, 1]]));
}

async function run(one: Graph): Promise<readonly number[]> {
  await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(one)) });
  const x = float32([2, 3, H, W], numbers(2 * 3 * H * W, 9));
  const y = (await session.run(new Map([["x", x]]))).get("y");
  return (y && numbersOf(y)) ?? [];
}

describe("blocked convolutions as plain ones", () => {
  test.each([8, 4])("blocks of %i channels", async (block) => {
    const plain = sound(withPlainLayout(network(block), block));
    expect(plain.nodes.some((node) => node.domain === B)).toBe(false);
    const [found, expected] = [await run(plain), await run(network(undefined))];
    const largest = Math.max(...expected.map(Math.abs));
    expect(found).toHaveLength(expected.length);
    for (const [i, v] of expected.entries()) {
      expect(Math.abs((found[i] ?? Number.NaN) - v) / largest).toBeLessThan(1e-5);
    }
  });

  test("a graph without them stays the same object, and other blocks do not fit", () => {
    const other = graph`g (float[2] x) => (float[2] y) { y = Relu (x) }`;
    expect(withPlainLayout(other, 16)).toBe(other);
    expect(() => withPlainLayout(network(8), 32)).toThrow(SkipwayError);
  });
});
