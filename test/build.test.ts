import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";

// What the built command line stands on: a bundle that forgets a package or a file works here, where
// everything is installed, and nowhere else.

const FOLDER = "dist/cli";
const CHUNKS = readdirSync(FOLDER).filter((name) => name.endsWith(".js"));

function importsOf(chunk: string): string[] {
  // commander's comments import types.
  const text = readFileSync(join(FOLDER, chunk), "utf8").replace(/\/\*\*[\s\S]*?\*\//g, "");
  const found = text.matchAll(/^(?:import|export)\b[^"'\n]*?"([^"]+)";|\bimport\("([^"]+)"\)/gm);
  return [...found].map((match) => match[1] ?? match[2] ?? "");
}

const IMPORTS = CHUNKS.flatMap((chunk) => importsOf(chunk).map((target) => ({ chunk, target })));

test("the command line imports what npm installs, and no more", () => {
  const { dependencies, optionalDependencies } = JSON.parse(
    readFileSync("package.json", "utf8"),
  ) as Record<string, Record<string, string>>;
  const installed = Object.keys({ ...dependencies, ...optionalDependencies });
  const packages = IMPORTS.filter(({ target }) => !/^(\.|node:)/.test(target));
  expect(packages.map(({ target }) => target)).toContain("libsql");
  // A file of a package is named behind the package.
  const named = (target: string): boolean =>
    installed.some((name) => target === name || target.startsWith(`${name}/`));
  expect(packages.filter(({ target }) => !named(target))).toEqual([]);
});

test("its chunks are there, beside each other", () => {
  const local = IMPORTS.filter(({ target }) => target.startsWith("."));
  expect(local.length).toBeGreaterThan(CHUNKS.length);
  for (const { chunk, target } of local) {
    expect(dirname(target), `${chunk} -> ${target}`).toBe(".");
    expect(existsSync(join(FOLDER, target)), `${chunk} -> ${target}`).toBe(true);
  }
});

test("no chunk imports from main.js, which waits for them", () => {
  expect(IMPORTS.filter(({ target }) => target === "./main.js")).toEqual([]);
});

test("the licences of what is bundled are told", () => {
  const told = readFileSync(join(FOLDER, "licenses.md"), "utf8");
  const bundled = CHUNKS.flatMap((chunk) => [
    ...readFileSync(join(FOLDER, chunk), "utf8").matchAll(
      /^\/\/ node_modules\/((?:@[^/]+\/)?[^/]+)/gm,
    ),
  ]);
  const names = new Set(bundled.map(([, name]) => name));
  expect(names.size).toBeGreaterThan(0);
  for (const name of names) expect(told).toContain(`## ${name} - `);
});
