// Where the built file of a child process lies. Node 20 cannot run TypeScript, so a process started
// while the tests run from the sources executes the build of the same file.

import { sep } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * Path of a built JavaScript file beside the calling module.
 *
 * @param moduleUrl `import.meta.url` of the caller.
 * @param file relative path such as `./child-main.js`.
 */
export function builtEntry(moduleUrl: string, file: string): string {
  const path = fileURLToPath(new URL(file, moduleUrl));
  if (!moduleUrl.endsWith(".ts")) return path;
  const folder = `${sep}src${sep}`;
  const source = path.lastIndexOf(folder);
  return source < 0
    ? path
    : `${path.slice(0, source)}${sep}dist${sep}${path.slice(source + folder.length)}`;
}
