// Files by content address. A blob is written aside, flushed and renamed, so that it is whole or not
// there; reading checks that it is still what its address says.

import { mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { assert } from "../base/assert.ts";
import { diagnostic } from "../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import { type Digest, digestOf, isDigest } from "./digest.ts";
import { diskRefused } from "./refused.ts";

/** What lay at the address of bytes that were stored. */
type Before = "nothing" | "the same" | "damaged";

/** Bytes that were stored. */
export interface Stored {
  readonly digest: Digest;
  readonly before: Before;
}

/** Blobs in a folder. */
export class Blobs {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Where a blob lies. */
  path(digest: Digest): string {
    assert(isDigest(digest), `a digest has the form sha256:…, not ${digest}`);
    const hex = digest.slice("sha256:".length);
    return join(this.#folder, "sha256", hex.slice(0, 2), hex.slice(2));
  }

  /**
   * Stores bytes; storing them again changes nothing, unless what is stored has been damaged: then they replace it.
   *
   * @throws SkipwayError `environment` when the disk refuses.
   */
  async write(bytes: Uint8Array): Promise<Stored> {
    const digest = digestOf(bytes);
    const path = this.path(digest);
    const before = await found(path, bytes);
    if (before === "the same") return { digest, before };
    const aside = `${path}.${process.pid}.tmp`;
    try {
      await mkdir(dirname(path), { recursive: true });
      await writeFlushed(aside, bytes);
      await rename(aside, path);
      await flushFolder(dirname(path));
    } catch (cause) {
      await rm(aside, { force: true }).catch(() => undefined);
      throw diskRefused(path, cause);
    }
    return { digest, before };
  }

  /**
   * The bytes of a blob.
   *
   * @throws SkipwayError `input` when they no longer match their address, `environment` when they are gone.
   */
  async read(digest: Digest): Promise<Uint8Array> {
    const path = this.path(digest);
    let bytes: Uint8Array;
    try {
      bytes = await readFile(path);
    } catch (cause) {
      throw missing(path, cause);
    }
    const has = digestOf(bytes);
    if (has !== digest) throw mismatch(path, digest, has);
    return bytes;
  }
}

async function found(path: string, bytes: Uint8Array): Promise<Before> {
  try {
    if ((await stat(path)).size !== bytes.byteLength) return "damaged";
    return Buffer.compare(await readFile(path), bytes) === 0 ? "the same" : "damaged";
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    return code === "ENOENT" ? "nothing" : "damaged";
  }
}

async function writeFlushed(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, "w");
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** A rename survives a power cut only when its folder is flushed; Windows has no such call. */
async function flushFolder(path: string): Promise<void> {
  if (process.platform === "win32") return;
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

const PUSH_AGAIN =
  "Push the same file again under the same name (skipway registry push FILE --name NAME): its bytes are put back. Or restore the data folder from a copy.";

function missing(path: string, cause: unknown): SkipwayError {
  const found = diagnostic({
    id: "registry/blob-missing",
    severity: "error",
    where: path,
    text: `a stored file is gone: ${messageOf(cause)}`,
    fix: PUSH_AGAIN,
  });
  return new SkipwayError("environment", found.text, { cause, diagnostics: [found] });
}

function mismatch(path: string, expected: Digest, found: Digest): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "registry/digest-mismatch",
      severity: "error",
      where: path,
      text: "the stored file was changed after it was registered, so it is not served",
      notes: [`registered as ${expected}`, `found ${found}`],
      fix: PUSH_AGAIN,
    }),
  ]);
}
