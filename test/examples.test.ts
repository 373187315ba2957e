import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { float32, numbersOf, type Tensor } from "../src/graph/tensor.ts";
import { loadModel } from "../src/onnx/read.ts";
import { inProcessRunner } from "../src/runtime/in-process.ts";
import { compile, inUserFolder, runFile } from "./user-folder.ts";

// The examples are compiled and run as a user would: each in a folder of one's own, against the built
// package.

/** `examples/own-block`, evaluated by hand in float64 for one of its blocks. */
function blurred(picture: number[][]): number[][] {
  const at = (i: number, j: number): number => picture[i]?.[j] ?? 0;
  const half = Array.from({ length: Math.ceil(picture.length / 2) }, (_, i) => 2 * i);
  const taps = [-1, 0, 1].flatMap((a) => [-1, 0, 1].map((b) => [a, b] as const));
  return half.map((i) =>
    half.map((j) =>
      taps.reduce(
        (sum, [a, b]) => sum + (at(i + a, j + b) * (2 - Math.abs(a)) * (2 - Math.abs(b))) / 16,
        0,
      ),
    ),
  );
}

test("a block of one's own: built, checked, run and saved", () =>
  inUserFolder(async (folder) => {
    await cp("examples/own-block", folder, { recursive: true });
    // What the blur makes of a picture, in a network of nothing else.
    const script = `
      import { modelOf, nn } from "skipway";
      import { blurPool } from "./blur-block.ts";
      const input = { name: "x", shape: [1, 5, 5] };
      await modelOf(nn.buildNet(blurPool(), { input, output: "y", seed: 1 })).save("blur.onnx");
    `;
    await writeFile(join(folder, "blur.ts"), script);
    await compile(folder);
    const lines = (await runFile(folder, "main.js")).split("\n");
    expect(lines[0]).toBe("findings: 0");
    expect(lines.filter((line) => line.startsWith("skip:"))).toEqual([
      "skip: projection into block1.merge",
      "skip: projection into block2.merge",
    ]);
    expect(lines).toContain("logits 10 numbers");
    const model = await loadModel(join(folder, "own-block.onnx"));
    const weights = [...model.graph.initializers.keys()];
    expect(weights).toContain("block1.branch.conv2.weight");
    expect(weights).toContain("block2.factor");

    await runFile(folder, "blur.js");
    await using session = await inProcessRunner().load({ path: join(folder, "blur.onnx") });
    const picture = Array.from({ length: 5 }, (_, i) =>
      Array.from({ length: 5 }, (_unused, j) => Math.sin(5 * i + j)),
    );
    const found = await session.run(new Map([["x", float32([1, 1, 5, 5], picture.flat())]]));
    const expected = blurred(picture).flat();
    const got = numbersOf(found.get("y") as Tensor) ?? [];
    expect(got).toHaveLength(expected.length);
    for (const [i, value] of expected.entries()) expect(got[i]).toBeCloseTo(value, 5);
  }));

test("what the guide shows are the lines of the example", async () => {
  const guide = await readFile("docs/guide/write-a-layer.md", "utf8");
  const shown = [...guide.matchAll(/```ts\n([\s\S]*?)```/g)].map((found) => found[1] ?? "");
  expect(shown.length).toBeGreaterThan(2);
  const files = await Promise.all(
    ["blur-block.ts", "main.ts"].map((name) => readFile(join("examples/own-block", name), "utf8")),
  );
  // The guide shows them without what they are indented by.
  const plain = (text: string): string => text.replace(/^ +/gm, "");
  for (const code of shown) {
    expect(
      files.some((text) => plain(text).includes(plain(code))),
      code,
    ).toBe(true);
  }
});
