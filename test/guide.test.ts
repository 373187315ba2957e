import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { compile, inUserFolder, runFile } from "./user-folder.ts";

// Every example of the guide to the builder is compiled under strict settings and run by itself, against
// the built package, and prints what the page says that it prints.

const PAGE = "docs/guide/builder.md";

test("the examples of the guide to the builder print what it says", () =>
  inUserFolder(async (folder) => {
    const page = await readFile(PAGE, "utf8");
    const found = [...page.matchAll(/```ts\n([\s\S]*?)```\n\n```text\n([\s\S]*?)```/g)];
    expect(found).toHaveLength([...page.matchAll(/```ts\n/g)].length);
    for (const [i, [, code = ""]] of found.entries()) {
      await writeFile(join(folder, `example${i}.ts`), code);
    }
    await writeFile(join(folder, "package.json"), '{"type": "module"}');
    const compilerOptions = {
      target: "es2023",
      lib: ["es2023", "esnext.disposable"],
      module: "nodenext",
      strict: true,
      types: ["node"],
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
    };
    await writeFile(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions }));
    await compile(folder);
    for (const [i, [, code = "", printed]] of found.entries()) {
      expect(await runFile(folder, `example${i}.js`), code).toBe(printed);
    }
  }));
