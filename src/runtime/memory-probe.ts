// How much memory processes hold and may hold, as the operating system says.

import { readFileSync } from "node:fs";
import { totalmem } from "node:os";
import type { MemoryReading } from "./runner.ts";

/** Resident bytes of this process, now and at the most. */
export function processMemory(): MemoryReading {
  const onLinux = statusOf("self");
  if (onLinux !== undefined) return onLinux;
  // maxRSS is in KiB on every platform (libuv).
  const peak = process.resourceUsage().maxRSS * 1024;
  return { residentBytes: process.memoryUsage.rss(), peakResidentBytes: peak };
}

/** Resident bytes of another process; undefined where the system does not tell. */
export function memoryOf(pid: number): MemoryReading | undefined {
  return statusOf(String(pid));
}

/** VmRSS and VmHWM of proc(5). */
function statusOf(pid: string): MemoryReading | undefined {
  const text = read(`/proc/${pid}/status`);
  const field = (name: string): number | undefined => {
    const found = text?.match(new RegExp(`^${name}:\\s+(\\d+) kB`, "m"))?.[1];
    return found === undefined ? undefined : Number(found) * 1024;
  };
  const [now, peak] = [field("VmRSS"), field("VmHWM")];
  if (now === undefined || peak === undefined) return undefined;
  return { residentBytes: now, peakResidentBytes: peak };
}

/** Bytes that this process may use: the limit of its control group if it has one, else the machine's. */
export function memoryLimitBytes(): number {
  const files = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
  const limits = files.map((file) => Number(read(file) ?? Number.NaN)).filter(Number.isFinite);
  return Math.min(totalmem(), ...limits);
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}
