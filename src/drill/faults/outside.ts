// Faults that come from outside a server: signals to the process of a model, bits of a file that are not what they
// were.

import { chmod, open, stat } from "node:fs/promises";
import { Random } from "../../base/random.ts";

/** Ends a process as the system's killer does. */
export function crash(pid: number): void {
  process.kill(pid, "SIGKILL");
}

/** Stops a process where it is: it lives, and does nothing. `thaw` lets it go on. */
export function freeze(pid: number): void {
  process.kill(pid, "SIGSTOP");
}

/** Lets a frozen process go on; one that is gone is none. */
export function thaw(pid: number): void {
  try {
    process.kill(pid, "SIGCONT");
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}

/** Flips bits all over a file, also of one that may only be read, as a failing disk does. */
export async function flipBits(
  path: string,
  { count = 8, seed = 1 }: { readonly count?: number; readonly seed?: number } = {},
): Promise<void> {
  const { mode, size } = await stat(path);
  await chmod(path, mode | 0o200);
  const file = await open(path, "r+");
  try {
    const random = new Random(seed);
    const byte = Buffer.alloc(1);
    for (let i = 0; i < count; i++) {
      const at = Math.floor(((i + random.uniform()) * size) / count);
      await file.read(byte, 0, 1, at);
      byte[0] = (byte[0] ?? 0) ^ (1 << random.integer(8));
      await file.write(byte, 0, 1, at);
    }
  } finally {
    await file.close();
    await chmod(path, mode);
  }
}
