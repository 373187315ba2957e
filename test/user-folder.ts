// A folder as a user has it: the built package and Node's types are installed, nothing else. What the
// documents show is compiled and run in one.

import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Does something in such a folder, which is gone afterwards. */
export async function inUserFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "skipway-user-"));
  try {
    await mkdir(join(folder, "node_modules", "@types"), { recursive: true });
    await symlink(resolve("."), join(folder, "node_modules", "skipway"));
    await symlink(resolve("node_modules/@types/node"), join(folder, "node_modules/@types/node"));
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Compiles a folder by its tsconfig.json. */
export async function compile(folder: string): Promise<void> {
  try {
    await run(process.execPath, [resolve("node_modules/typescript/bin/tsc"), "-p", folder]);
  } catch (cause) {
    // The compiler says on its standard output what is wrong, which the error of the process leaves out.
    const told = cause instanceof Error && "stdout" in cause ? cause.stdout : "";
    throw new TypeError(`the code of a document does not compile: ${told}`, { cause });
  }
}

/** Runs a file of a folder; gives its standard output. */
export async function runFile(folder: string, file: string): Promise<string> {
  return (await run(process.execPath, [file], { cwd: folder })).stdout;
}
