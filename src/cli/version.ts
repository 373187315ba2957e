// What the installed package says of itself.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder of the package. */
export function packageRoot(): string {
  return fileURLToPath(new URL("../..", import.meta.url));
}

/** As in package.json. */
export function packageVersion(): string {
  const parsed: unknown = JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8"));
  const fields = new Map(Object.entries(parsed ?? {}));
  return String(fields.get("version") ?? "0.0.0");
}
