import { describe, expect, test } from "vitest";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import { float, int, type Node, string } from "../graph/graph.ts";
import { bytesOf, float32, float32Values, int64, tensor } from "../graph/tensor.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import { checkGradient } from "./gradient.test-helper.ts";
import { type Modes, weightsOf } from "./interpolation.ts";
import { weightMatrix } from "./interpolation-matrix.ts";

const PLACES = ["half_pixel", "asymmetric", "pytorch_half_pixel", "align_corners"] as const;
const ROUNDINGS = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"] as const;
const PLAIN = { rounding: "floor", cubic: -0.5, antialias: false, excludeOutside: false };
const NODE: Node = {
  name: "r",
  op: "Resize",
  domain: "",
  inputs: [],
  outputs: [],
  attributes: new Map(),
};

const FORMS: readonly Modes[] = PLACES.flatMap((places) => [
  ...ROUNDINGS.map((rounding) => ({ ...PLAIN, mode: "nearest", places, rounding })),
  { ...PLAIN, mode: "linear", places },
  { ...PLAIN, mode: "cubic", places },
  { ...PLAIN, mode: "cubic", places, excludeOutside: true },
]);

const floats = (size: number) => tensor("float32", [size], bytesOf(new Float32Array(size)));

/** The matrix that a graph computes for sizes of which it knows nothing. */
async function matrices(modes: Modes, sizes: readonly (readonly [number, number])[]) {
  const b = new TypedBuilder(undefined, 21);
  const [x, y] = [b.input("x", "float32", ["n"]), b.input("y", "float32", ["m"])];
  b.output({
    name: weightMatrix(b, NODE, modes, { axis: 0, x, y, scale: undefined }),
    dtype: "float32",
    shape: ["m", "n"],
  });
  const bytes = encodeModel(modelOf(b.finish("weights", new Map([["", 21]]))));
  await using session = await inProcessRunner().load({ bytes });
  const found: number[][] = [];
  for (const [n, m] of sizes) {
    const [matrix] = (
      await session.run(
        new Map([
          ["x", floats(n)],
          ["y", floats(m)],
        ]),
      )
    ).values();
    expect(matrix?.shape).toEqual([m, n]);
    found.push([...float32Values(matrix ?? float32([0], []))]);
  }
  return found;
}

describe("weights of an axis whose size is not known", () => {
  const SIZES = [1, 2, 3, 5, 8].flatMap((n) => [1, 2, 3, 7, 8, 10].map((m) => [n, m] as const));

  test.each(FORMS)(
    "$mode, $places, $rounding, outside left out: $excludeOutside",
    async (modes) => {
      const found = await matrices(modes, SIZES);
      for (const [i, [input, output]] of SIZES.entries()) {
        const expected = weightsOf(modes, {
          input,
          output,
          scale: output / input,
          roi: [0, 1],
        }).flat();
        for (const [at, weight] of expected.entries())
          expect(found[i]?.[at]).toBeCloseTo(weight, 4);
      }
    },
  );

  test.each([
    ["linear", [1.5, 2]],
    ["cubic", [2, 0.75]],
  ] as const)(
    "the gradient of a %s Resize of any batch, height and width",
    async (mode, scales) => {
      await checkGradient({
        inputs: [{ shape: [2, 1, 4, 5], declared: ["N", 1, "H", "W"] }],
        precision: "float32",
        build: (b, [x = ""]) => [
          b.emit("Resize", [x, "", b.constant(float32([4], [1, 1, ...scales]))], {
            attributes: { mode: string(mode), cubic_coeff_a: float(-0.75) },
          }),
        ],
      });
    },
  );

  test.each(["nearest", "linear"])("a %s Resize to sizes that are computed", async (mode) => {
    await checkGradient({
      inputs: [{ shape: [2, 1, 4, 5], declared: ["N", 1, "H", 5] }],
      precision: "float32",
      build: (b, [x = ""]) => {
        const kept = b.emit("Shape", [x], { attributes: { end: int(2) } });
        const height = b.emit("Shape", [x], { attributes: { start: int(2), end: int(3) } });
        const more = b.emit("Add", [height, b.constant(int64([1], [3]))]);
        const sizes = b.emit("Concat", [kept, more, b.constant(int64([1], [7]))], {
          attributes: { axis: int(0) },
        });
        return [b.emit("Resize", [x, "", "", sizes], { attributes: { mode: string(mode) } })];
      },
    });
  });
});
