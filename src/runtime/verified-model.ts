// What is loaded is what was checked: the digest of the file, and where its external data lies, before the runtime
// opens it; and that nothing was exchanged by the time it has read it.

import type { Hash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import type { ModelSource } from "./runner.ts";

const BLOCK_BYTES = 4 * 1024 * 1024;

/**
 * The key under which a tensor names its file ("External Data" in the ONNX specification), after the last byte of
 * its length: 8, or a 0 that makes the number longer than it needs to be. A file without this has no external
 * data; one that has it is read and looked at, whatever it is part of.
 */
const KEY = Buffer.from("location");
const LENGTH_ENDS: ReadonlySet<number | undefined> = new Set([0, KEY.byteLength]);

function mayNameFiles(bytes: Buffer): boolean {
  for (let at = bytes.indexOf(KEY); at >= 0; at = bytes.indexOf(KEY, at + 1)) {
    if (LENGTH_ENDS.has(bytes[at - 1])) return true;
  }
  return false;
}

/** A model that has been looked at. */
export interface Verified {
  /**
   * Looks again, after the runtime has read it.
   *
   * @throws SkipwayError `input` where a file has been exchanged or written meanwhile.
   */
  recheck(): Promise<void>;
}

/**
 * Looks at a model before the runtime does. A path is checked and then opened by the runtime once more: memory for
 * a model given as bytes is half as much again (docs/design/process.md).
 *
 * @throws SkipwayError `input` for another digest, external data outside of the model's folder, and external data
 * of a model without a path.
 */
export async function verified(source: ModelSource, digest: string | undefined): Promise<Verified> {
  if ("path" in source) return verifiedFile(source.path, digest);
  const name = source.name ?? "model";
  if (digest !== undefined) {
    const found = (await sha256()).update(source.bytes).digest("hex");
    if (`sha256:${found}` !== digest) throw otherDigest(name, found, digest);
  }
  const { buffer, byteOffset, byteLength } = source.bytes;
  if (mayNameFiles(Buffer.from(buffer, byteOffset, byteLength))) {
    await refuseBeside(source.bytes, name);
  }
  return { recheck: () => Promise.resolve() };
}

async function verifiedFile(path: string, digest: string | undefined): Promise<Verified> {
  // Without O_NONBLOCK, opening a pipe would wait for a writer.
  const handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)).catch(
    (): undefined => undefined,
  );
  // What cannot be opened the runtime cannot open either; it says so.
  if (handle === undefined) return { recheck: () => Promise.resolve() };
  try {
    const before = await identityOf(path, handle);
    const hash = digest === undefined ? undefined : await sha256();
    const marked = await scanned(handle, hash);
    const found = hash?.digest("hex");
    if (found !== undefined && digest !== undefined && `sha256:${found}` !== digest) {
      throw otherDigest(path, found, digest);
    }
    const seen = new Map([[path, before]]);
    if (marked) for (const [file, id] of await filesBeside(path)) seen.set(file, id);
    return { recheck: () => recheck(seen) };
  } finally {
    await handle.close();
  }
}

/** OpenSSL is loaded for those who ask for a digest. */
async function sha256(): Promise<Hash> {
  const { createHash } = await import("node:crypto");
  return createHash("sha256");
}

/** Whether the file may name others; all of it goes into the hash. */
async function scanned(handle: FileHandle, hash: Hash | undefined): Promise<boolean> {
  const overlap = KEY.byteLength;
  const buffer = Buffer.allocUnsafeSlow(BLOCK_BYTES + overlap);
  let marked = false;
  for (let kept = 0; ; ) {
    const { bytesRead } = await handle.read(buffer, kept, BLOCK_BYTES, null);
    if (bytesRead === 0) return marked;
    const end = kept + bytesRead;
    hash?.update(buffer.subarray(kept, end));
    marked ||= mayNameFiles(buffer.subarray(0, end));
    // The key may lie across two blocks.
    kept = Math.min(overlap, end);
    buffer.copy(buffer, 0, end - kept, end);
  }
}

/** Device, inode, size and times: an exchange or a write changes one of them, a rename the last. */
async function identityOf(path: string, handle?: FileHandle): Promise<string> {
  const options = { bigint: true } as const;
  const found = await (handle === undefined ? stat(path, options) : handle.stat(options));
  if (!found.isFile()) throw faulty(path, "is no regular file");
  return [found.dev, found.ino, found.size, found.mtimeNs, found.ctimeNs].join();
}

/** The files beside a model, checked as `loadModel` checks them; those that are not there are the runtime's to miss. */
async function filesBeside(path: string): Promise<Map<string, string>> {
  // Only models with data beside them need the reader of ONNX files here.
  const { loadModel } = await import("../onnx/read.ts");
  const { externalLocations } = await import("../onnx/external-data.ts");
  const folder = dirname(resolve(path));
  const seen = new Map<string, string>();
  for (const location of externalLocations(await loadModel(path))) {
    const file = join(folder, location);
    const identity = await identityOf(file).catch((): undefined => undefined);
    if (identity !== undefined) seen.set(file, identity);
  }
  return seen;
}

async function refuseBeside(bytes: Uint8Array, name: string): Promise<void> {
  const { readModel } = await import("../onnx/read.ts");
  const { externalLocations } = await import("../onnx/external-data.ts");
  const [location] = externalLocations(readModel(bytes));
  if (location === undefined) return;
  throw faulty(
    name,
    `has data in the file "${location}", and was given as bytes, without a folder`,
  );
}

async function recheck(seen: ReadonlyMap<string, string>): Promise<void> {
  for (const [file, before] of seen) {
    const now = await identityOf(file).catch(() => "");
    if (now !== before) throw faulty(file, "was exchanged or written while it was loaded");
  }
}

function otherDigest(where: string, found: string, digest: string): SkipwayError {
  const text = `is not the file that was registered: its digest is sha256:${found}, not ${digest}`;
  return refusal({ id: "runtime/digest", where, text, fix: "Register the model again." });
}

function faulty(where: string, text: string): SkipwayError {
  const fix =
    "Put the files of the model into one folder that nobody else writes, and load it by path.";
  return refusal({ id: "runtime/changed", where, text, fix });
}

function refusal(
  fields: Pick<Diagnostic, "id" | "where" | "text"> & { fix: string },
): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [diagnostic({ severity: "error", ...fields })]);
}
