// The objectives in a data folder, for the pages: read each time they are asked for, so that a change is seen at once.

import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, SkipwayError } from "../base/errors.ts";
import { parseSlo } from "../observe/slo.ts";
import type { ObjectivesStatus } from "./api.ts";

/** Some lines for each model; a file that is larger is something else. */
const BYTES_MAX = 1_048_576;

/** What `slo.json` promises. A file that is wrong is told, and no reason to show nothing. */
export async function readObjectives(folder: string): Promise<ObjectivesStatus> {
  const path = join(folder, "slo.json");
  try {
    const found = await stat(path);
    // A pipe would be waited for, by a thread that ends with nothing.
    if (!found.isFile()) throw new SkipwayError("input", "slo.json is no file");
    if (found.size > BYTES_MAX) {
      throw new SkipwayError("input", `slo.json is larger than ${BYTES_MAX} bytes`);
    }
    const slo = parseSlo(await readFile(path, "utf8"), "slo.json");
    return { models: Object.fromEntries(slo), fault: null };
  } catch (error) {
    const missing = error instanceof Error && "code" in error && error.code === "ENOENT";
    return { models: {}, fault: missing ? null : messageOf(error) };
  }
}
