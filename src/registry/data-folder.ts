// The folder that everything kept lies in: made where it is not there, and what is said where that cannot be.

import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { diskRefused } from "./refused.ts";

/**
 * Makes a data folder with the folders above it; one that is there already stays.
 *
 * @throws SkipwayError `environment` when it cannot be made.
 */
export async function makeDataFolder(folder: string): Promise<void> {
  try {
    await makeFolder(folder);
  } catch (cause) {
    throw diskRefused(folder, cause);
  }
}

/**
 * Makes a folder with those above it. Not `mkdir` with `recursive`: that never returns where a folder that is there has no
 * room for others, such as /proc.
 */
export async function makeFolder(folder: string): Promise<void> {
  const refused = await tryToMake(folder);
  if (refused === undefined) return;
  const above = dirname(folder);
  if (refused.code !== "ENOENT" || above === folder) throw refused;
  await makeFolder(above);
  const again = await tryToMake(folder);
  if (again !== undefined) throw again;
}

/** Why there is no such folder now, if there is none. */
async function tryToMake(folder: string): Promise<NodeJS.ErrnoException | undefined> {
  try {
    await mkdir(folder);
    return undefined;
  } catch (cause) {
    if (await isFolder(folder)) return undefined;
    if (cause instanceof Error) return cause;
    throw cause;
  }
}

async function isFolder(path: string): Promise<boolean> {
  return await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
