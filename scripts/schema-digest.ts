// The check sum of the generated schemas, as the generator writes it and a test recomputes it.

import { createHash } from "node:crypto";

/** SHA-256 over texts, each ended, in hexadecimal. */
export function schemaDigest(texts: readonly string[]): string {
  const hash = createHash("sha256");
  for (const text of texts) hash.update(`${text}\0`);
  return hash.digest("hex");
}
