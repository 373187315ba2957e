import { describe, expect, test } from "vitest";
import { sound } from "../../../test/sound.ts";
import { census } from "../../analysis/census.ts";
import { float32, int64 } from "../../graph/tensor.ts";
import * as nn from "../index.ts";
import {
  affine,
  build,
  distance,
  numbers,
  relu,
  rows,
  run,
  sigmoid,
  weight,
} from "./blocks.test-helper.ts";

/** Every second pixel, from the first on: half the size, rounded up. */
const half = nn.layer("half", (net, x) =>
  net.emit("Slice", [
    x,
    ...[
      [0, 0],
      [1000, 1000],
      [2, 3],
      [2, 2],
    ].map((one) => net.constant(int64([2], one))),
  ]),
);
/** As `half`, without what an odd size has too much. */
const halfDown = nn.maxPool(2, { stride: 2, padding: 0 });
const twice = nn.resize({ scale: 2, mode: "nearest" });

describe("a level of an encoder and its decoder", () => {
  const identity = nn.layer("identity", (net, x) => net.emit("Identity", [x]));
  const image = (h: number, w: number, f: (i: number, j: number) => number) =>
    Array.from({ length: h * w }, (_, k) => f(Math.floor(k / w), k % w));

  test("concat: the skip in front, what came from below behind it", async () => {
    const graph = sound(build(nn.unetLevel(identity, { down: half, up: twice }), [1, 4, 4]));
    const x = numbers(16);
    const below = image(4, 4, (i, j) => x[(i - (i % 2)) * 4 + (j - (j % 2))] ?? 0);
    const found = await run(graph, { x: float32([1, 1, 4, 4], x) });
    expect(distance(found.get("y"), [...x, ...below])).toBeLessThan(1e-6);
  });

  test("add, with layers around it", async () => {
    const level = nn.unetLevel(identity, {
      encode: nn.conv(1, 1),
      down: half,
      up: twice,
      decode: nn.conv(2, 1),
      merge: "add",
    });
    const graph = sound(build(level, [1, 2, 2]));
    const [w = 0] = weight(graph, "encode.weight");
    const [b = 0] = weight(graph, "encode.bias");
    const x = numbers(4);
    const seen = x.map((v) => w * v + b);
    const sum = seen.map((v) => v + (seen[0] ?? 0));
    const out = sum.map((v) =>
      affine([v], weight(graph, "decode.weight"), weight(graph, "decode.bias")),
    );
    const expected = [0, 1].flatMap((c) => out.map((pixel) => pixel[c] ?? 0));
    const found = await run(graph, { x: float32([1, 1, 2, 2], x) });
    expect(distance(found.get("y"), expected)).toBeLessThan(1e-5);
  });

  const sizes = [
    ["fixed", [1, 5, 3]],
    ["varying", [1, "H", "W"]],
  ] as const;

  test.each(sizes)("pad: an odd image comes out as large as it was, %s sizes", async (_, shape) => {
    const level = nn.unetLevel(identity, { down: halfDown, up: twice, merge: "concat" });
    const graph = sound(build(level, shape));
    expect(graph.outputs[0]?.shape?.slice(0, 2)).toEqual(["N", 2]);
    const x = numbers(15);
    const pooled = (i: number, j: number) => {
      const [r, c] = [i - (i % 2), j - (j % 2)];
      return Math.max(...[0, 1].flatMap((a) => [0, 1].map((d) => x[(r + a) * 3 + c + d] ?? 0)));
    };
    // The pooled image is 4x2; the surplus row and column of zeros stand at the end.
    const below = image(5, 3, (i, j) => (i < 4 && j < 2 ? pooled(i, j) : 0));
    const found = await run(graph, { x: float32([1, 1, 5, 3], x) });
    expect(distance(found.get("y"), [...x, ...below])).toBeLessThan(1e-6);
  });

  const larger = [
    ["fixed", [1, 6, 4]],
    ["varying", [1, "H", "W"]],
  ] as const;

  test.each(larger)(
    "pad: zeros on both sides of what is much smaller, %s sizes",
    async (_, shape) => {
      const down = nn.sequential(halfDown, trimmed);
      const graph = sound(build(nn.unetLevel(identity, { down, up: twice }), shape));
      const x = numbers(24);
      const pooled = (i: number, j: number) => {
        const [r, c] = [i - (i % 2), j - (j % 2)];
        return Math.max(...[0, 1].flatMap((a) => [0, 1].map((d) => x[(r + a) * 4 + c + d] ?? 0)));
      };
      // 6x4 → 3x2 → 2x2 → 4x4: a row of zeros above and one below.
      const below = image(6, 4, (i, j) => (i > 0 && i < 5 ? pooled(i - 1, j) : 0));
      const found = await run(graph, { x: float32([1, 1, 6, 4], x) });
      expect(distance(found.get("y"), [...x, ...below])).toBeLessThan(1e-6);
    },
  );

  test.each(sizes)("crop: the middle of the skip, %s sizes", async (_, shape) => {
    const unpadded = nn.sequential(halfDown, nn.conv(1, 1), trimmed);
    const level = nn.unetLevel(identity, { down: unpadded, up: twice, fit: "crop" });
    const graph = sound(build(level, shape));
    const x = numbers(15);
    const found = await run(graph, { x: float32([1, 1, 5, 3], x) });
    // 5x3 → 2x1 → 1x1 → 2x2: a row is cut before and two behind, no column before and one behind.
    const crop = image(2, 2, (i, j) => x[(i + 1) * 3 + j] ?? 0);
    expect(found.get("y")?.length).toBe(8);
    expect(distance(found.get("y")?.slice(0, 4), crop)).toBeLessThan(1e-6);
  });

  test("exact: a size that does not halve evenly is an error with both sizes", () => {
    const level = nn.unetLevel(identity, { down: halfDown, up: twice, fit: "exact" });
    expect(() => build(level, [1, 5, 3])).toThrow(/skip is 5x3 pixels large.*4x2/);
    sound(build(level, [1, 4, 2]));
  });

  test("what cannot join is named", () => {
    const wide = { down: half, up: nn.sequential(twice, nn.conv(3, 1)) };
    expect(() => build(nn.unetLevel(identity, { ...wide, merge: "add" }), [1, 4, 4])).toThrow(
      /carries 1 channels, the decoder makes 3/,
    );
    const large = { down: identity, up: twice };
    expect(() => build(nn.unetLevel(identity, large), [1, 4, 4])).toThrow(/8x8 .* only 4x4/);
  });

  test("the attention gate weighs the skip pixel by pixel", async () => {
    const level = nn.unetLevel(identity, { down: half, up: twice, attention: 2 });
    const graph = sound(build(level, [1, 2, 2]));
    const of = (name: string) => weight(graph, `attention.${name}`);
    const x = numbers(4);
    const signal = x[0] ?? 0;
    const expected = x.map((v) => {
      const seen = affine([v], of("skip.weight"), []);
      const asked = affine([signal], of("signal.weight"), of("signal.bias"));
      const both = seen.map((one, i) => relu(one + (asked[i] ?? 0)));
      return v * sigmoid(affine(both, of("psi.weight"), of("psi.bias"))[0] ?? 0);
    });
    const found = await run(graph, { x: float32([1, 1, 2, 2], x) });
    expect(distance(rows(found.get("y") ?? [], 4)[0], expected)).toBeLessThan(1e-5);
  });

  test("the census finds a skip over an encoder and a decoder at every level", () => {
    const net = nn.unetLevel(
      nn.unetLevel(nn.conv(4, 3), { encode: nn.conv(2, 3), down: halfDown, up: twice }),
      { encode: nn.conv(2, 3), down: halfDown, up: twice, decode: nn.conv(1, 1) },
    );
    const found = census(sound(build(net, [1, 8, 8])));
    expect(found.skips.map((skip) => [skip.kind, skip.encoderDecoder])).toEqual([
      ["concat", true],
      ["concat", true],
    ]);
  });
});

/** Without the last row: what convolutions without padding do to a size. */
const trimmed = nn.layer("trimmed", (net, x) =>
  net.emit("Slice", [[x], [[0], [-1], [2]].map((one) => net.constant(int64([1], one)))].flat()),
);
