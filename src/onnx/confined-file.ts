// Files that a model names, opened only where they are what they should be: regular files inside the
// model's folder. Looked at once they are open, so that nothing can be exchanged in between.

import { constants } from "node:fs";
import { type FileHandle, open, realpath, stat } from "node:fs/promises";
import { join, sep } from "node:path";
import { messageOf, SkipwayError } from "../base/errors.ts";

/** Why a file is not opened. `missing` is no offence: a model may be looked at without its weights. */
export class Refused extends Error {
  readonly kind: "missing" | "outside" | "unreadable";

  constructor(kind: Refused["kind"], text: string) {
    super(text);
    this.name = "Refused";
    this.kind = kind;
  }
}

/**
 * Opens a file in a folder for reading. Symbolic links are followed only as long as they stay inside, or
 * lead to where the model's file itself lies (`home`), as in the cache of Hugging Face and as ONNX Runtime
 * allows it; a second hard link or a device is refused, as the ONNX package refuses them: the other name may be
 * anywhere, and a device never ends.
 *
 * @throws Refused
 */
export async function openConfined(
  folder: string,
  location: string,
  home?: string,
): Promise<FileHandle> {
  const path = join(folder, location);
  const real = await resolved(path);
  if (!isInside(real, await resolved(folder)) && !(home !== undefined && isInside(real, home))) {
    throw new Refused("outside", "a symbolic link leads out of the model's folder");
  }
  // Without O_NONBLOCK, opening a pipe would wait for a writer.
  const flags = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);
  const handle = await open(real, flags).catch((cause: unknown) => {
    throw new Refused("unreadable", messageOf(cause));
  });
  try {
    const opened = await handle.stat();
    const named = await stat(path);
    if (!opened.isFile()) throw new Refused("outside", "it is no regular file");
    if (opened.nlink > 1) {
      throw new Refused("outside", "it has a second hard link, which may lie anywhere");
    }
    if (opened.ino !== named.ino || opened.dev !== named.dev) {
      throw new Refused("outside", "it was exchanged while it was opened");
    }
    return handle;
  } catch (cause) {
    await handle.close();
    throw cause;
  }
}

function isInside(path: string, folder: string): boolean {
  return path.startsWith(folder.endsWith(sep) ? folder : `${folder}${sep}`);
}

async function resolved(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (cause) {
    const missing = cause instanceof Error && "code" in cause && cause.code === "ENOENT";
    throw new Refused(missing ? "missing" : "unreadable", messageOf(cause));
  }
}

/**
 * Reads exactly so many bytes.
 *
 * @throws SkipwayError `environment` where memory or file end before.
 */
export async function readRange(
  handle: FileHandle,
  { offset, length }: { offset: number; length: number },
): Promise<Uint8Array> {
  const bytes = allocate(length);
  for (let done = 0; done < length; ) {
    const block = Math.min(BLOCK_BYTES, length - done);
    const { bytesRead } = await handle.read(bytes, done, block, offset + done);
    if (bytesRead === 0) throw new SkipwayError("environment", "the file ended while it was read");
    done += bytesRead;
  }
  return bytes;
}

/** One call of the operating system moves at most 2 GiB. */
const BLOCK_BYTES = 64 * 1024 * 1024;

function allocate(length: number): Uint8Array {
  try {
    return new Uint8Array(new ArrayBuffer(length));
  } catch (cause) {
    throw new SkipwayError("environment", `there is no memory for ${length} bytes of weights`, {
      cause,
    });
  }
}
