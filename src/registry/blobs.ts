// Files by content address. A blob is written aside, flushed and renamed, so that it is whole or not
// there; reading checks that it is still what its address says.

import { mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { assert } from "../base/assert.ts";
import { diagnostic } from "../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import { diskRefused } from "./refused.ts";
import { type Digest, digestOf, isDigest } from "./digest.ts";

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
   * Stores bytes; storing them again changes nothing.
   *
   * @throws SkipwayError `environment` when the disk refuses.
   */
  async write(bytes: Uint8Array): Promise<Digest> {
    const digest = digestOf(bytes);
    const path = this.path(digest);
    if (await exists(path, bytes.byteLength)) return digest;
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
    return digest;
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
    const found = digestOf(bytes);
    if (found !== digest) throw mismatch(path, digest, found);
    return bytes;
  }
}

async function exists(path: string, size: number): Promise<boolean> {
  try {
    return (await stat(path)).size === size;
  } catch {
    return false;
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

function missing(path: string, cause: unknown): SkipwayError {
  const found = diagnostic({
    id: "registry/blob-missing",
    severity: "error",
    where: path,
    text: `a stored file is gone: ${messageOf(cause)}`,
    fix: "Restore the data folder from a copy, or delete it and start again.",
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
      fix: "Restore the file from a copy, or delete the data folder and start again.",
    }),
  ]);
}
