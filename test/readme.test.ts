import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { loadModel } from "../src/onnx/read.ts";
import { affineModel } from "./models.ts";

// What the README shows is compiled and run as a user would: in a folder of one's own, against the
// built package.

const run = promisify(execFile);
let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-readme-"));
  await mkdir(join(folder, "node_modules", "@types"), { recursive: true });
  await symlink(resolve("."), join(folder, "node_modules", "skipway"));
  await symlink(resolve("node_modules/@types/node"), join(folder, "node_modules/@types/node"));
});
afterAll(() => rm(folder, { recursive: true }));

test("the TypeScript example compiles under strict settings and does what it says", async () => {
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
  await run(process.execPath, [resolve("node_modules/typescript/bin/tsc"), "-p", folder]);
  await run(process.execPath, ["example.js"], { cwd: folder });
  const model = await loadModel(join(folder, "digits.onnx"));
  expect(model.graph.outputs[0]?.shape).toEqual(["N", 10]);
  expect((await stat(join(folder, "digits.onnx"))).size).toBeGreaterThan(50_000);
});
