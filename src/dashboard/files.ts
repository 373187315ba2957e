// Where the built web pages lie.

import { fileURLToPath } from "node:url";

/** Path of a file in dist/web, from the built code and from the sources alike. */
export function webFile(name: string): string {
  const base = import.meta.url.endsWith(".js") ? "../web/" : "../../dist/web/";
  return fileURLToPath(new URL(base + name, import.meta.url));
}
