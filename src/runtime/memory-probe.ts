// How much memory processes hold and may hold, as the operating system says.

import { readFileSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
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

/** VmRSS, VmHWM and RssAnon of proc(5). */
function statusOf(pid: string): MemoryReading | undefined {
  const text = read(`/proc/${pid}/status`);
  const [now, peak] = [fieldOf(text, "VmRSS"), fieldOf(text, "VmHWM")];
  if (now === undefined || peak === undefined) return undefined;
  const anonymousBytes = fieldOf(text, "RssAnon");
  return {
    residentBytes: now,
    peakResidentBytes: peak,
    ...(anonymousBytes !== undefined && { anonymousBytes }),
  };
}

/**
 * Resident bytes with shared pages divided among those who share them. The system walks all pages: milliseconds of a
 * process of a hundred MiB (13 measured), where `memoryOf` takes some ten microseconds; so it is read on another thread.
 */
export async function proportionalBytesOf(pid: number): Promise<number | undefined> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, "utf8").catch(() => undefined);
  return fieldOf(text, "Pss");
}

function fieldOf(text: string | undefined, name: string): number | undefined {
  const found = text?.match(new RegExp(`^${name}:\\s+(\\d+) kB`, "m"))?.[1];
  return found === undefined ? undefined : Number(found) * 1024;
}

/** Sets the high-water mark of a process to what it holds now; false where the system does not allow it. */
export function resetPeakOf(pid: number): boolean {
  try {
    // proc(5): 5 resets VmHWM.
    writeFileSync(`/proc/${pid}/clear_refs`, "5");
    return true;
  } catch {
    return false;
  }
}

/**
 * How many processes of our control group the system's out-of-memory killer has ended; undefined where it does
 * not say.
 */
export function outOfMemoryKills(): number | undefined {
  for (const file of limitFilesOf(read("/proc/self/cgroup") ?? "").reverse()) {
    const events = file
      .replace(/memory\.max$/, "memory.events")
      .replace(/memory\.limit_in_bytes$/, "memory.oom_control");
    const found = read(events)?.match(/^oom_kill (\d+)$/m)?.[1];
    if (found !== undefined) return Number(found);
  }
  return undefined;
}

/** Bytes that this process may use: the limit of its control group if it has one, else the machine's. */
export function memoryLimitBytes(): number {
  const files = limitFilesOf(read("/proc/self/cgroup") ?? "");
  // "max" is no number; no limit is a huge one in version 1.
  const limits = files.map((file) => Number(read(file))).filter((bytes) => bytes > 0);
  return Math.min(totalmem(), ...limits);
}

/**
 * The files that bound a process's memory, from `/proc/PID/cgroup`: a limit of any group above its own
 * counts as well (a service in a slice). In a container the path may be the host's; the root of the
 * mount is then the container's own group.
 */
export function limitFilesOf(cgroup: string): string[] {
  const files: string[] = [];
  for (const line of cgroup.split("\n")) {
    const [, id, controllers = "", path = ""] = /^(\d+):([^:]*):(.*)$/.exec(line) ?? [];
    const unified = id === "0" && controllers === "";
    if (!unified && !controllers.split(",").includes("memory")) continue;
    const [mount, file] = unified
      ? ["/sys/fs/cgroup", "memory.max"]
      : ["/sys/fs/cgroup/memory", "memory.limit_in_bytes"];
    const parts = path.split("/").filter((part) => part !== "" && part !== "..");
    for (let depth = 0; depth <= parts.length; depth++) {
      files.push([mount, ...parts.slice(0, depth), file].join("/"));
    }
  }
  return files;
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}
