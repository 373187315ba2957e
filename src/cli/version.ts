// The version of the installed package.

import { readFileSync } from "node:fs";

/** As in package.json. */
export function packageVersion(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  const parsed: unknown = JSON.parse(text);
  const fields = new Map(Object.entries(parsed ?? {}));
  return String(fields.get("version") ?? "0.0.0");
}
