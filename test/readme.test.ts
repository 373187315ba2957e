import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadModel } from "../src/onnx/read.ts";
import { affineModel } from "./models.ts";
import { compile, inUserFolder, runFile } from "./user-folder.ts";

// What the README shows is compiled and run as a user would: in a folder of one's own, against the
// built package.

test("the TypeScript example compiles under strict settings and does what it says", () =>
  inUserFolder(async (folder) => {
    const readme = await readFile("README.md", "utf8");
    const example = readme.match(/## From TypeScript\s+```ts\n([\s\S]*?)```/)?.[1] ?? "";
    expect(example).toContain("census(model.graph)");
    const settings = {
      target: "es2023",
      module: "nodenext",
      strict: true,
      types: ["node"],
      exactOptionalPropertyTypes: true,
    };
    await writeFile(join(folder, "package.json"), '{"type": "module"}');
    await writeFile(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions: settings }));
    await writeFile(join(folder, "example.ts"), example);
    await writeFile(join(folder, "model.onnx"), affineModel());
    await compile(folder);
    await runFile(folder, "example.js");
    const model = await loadModel(join(folder, "digits.onnx"));
    expect(model.graph.outputs[0]?.shape).toEqual(["N", 10]);
    expect((await stat(join(folder, "digits.onnx"))).size).toBeGreaterThan(50_000);
  }));
