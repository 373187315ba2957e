// The commit of the code that makes a model, read from the repository's files without running git.

import { readFile } from "node:fs/promises";
import { join } from "node:path";

const HASH = /^[0-9a-f]{40,64}$/;

/** The commit that a working tree stands on, or undefined outside a clone. */
export async function codeCommit(folder: string): Promise<string | undefined> {
  const git = join(folder, ".git");
  const head = await text(join(git, "HEAD"));
  if (head === undefined) return undefined;
  if (HASH.test(head)) return head;
  const ref = head.replace(/^ref: /, "");
  if (!/^refs\/[\w./-]+$/.test(ref) || ref.includes("..")) return undefined;
  const loose = await text(join(git, ref));
  if (loose !== undefined) return HASH.test(loose) ? loose : undefined;
  const packed = await text(join(git, "packed-refs"));
  const line = packed?.split("\n").find((one) => one.endsWith(` ${ref}`));
  return line?.split(" ", 1)[0];
}

async function text(file: string): Promise<string | undefined> {
  try {
    return (await readFile(file, "utf8")).trim();
  } catch {
    return undefined;
  }
}
