// What an idle server holds, and how soon it is live: `skipway serve tiny.onnx` from the spawn to the first answer of
// /v2/health/live.

import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { median } from "./command.ts";
import type { Part } from "./serve.bench.ts";
import { freePort, skipwayServes } from "./serve-processes.ts";
import { rounded } from "./serve-questions.ts";

/** Milliseconds and megabytes. */
export async function footprint(part: Part): Promise<readonly Record<string, unknown>[]> {
  const n = part.small ? 3 : 15;
  const starts: Record<"liveMs" | "readyMs" | "nodeMs", number[]> = {
    liveMs: [],
    readyMs: [],
    nodeMs: [],
  };
  for (let i = 0; i < n; i++) {
    const { liveMs, readyMs } = await start(part.model("tiny"));
    starts.liveMs.push(liveMs);
    starts.readyMs.push(readyMs);
    const from = performance.now();
    await gone(spawn(process.execPath, ["-e", "0"], { stdio: "ignore" }));
    starts.nodeMs.push(performance.now() - from);
  }
  await using server = await skipwayServes([part.model("tiny")]);
  await new Promise((resolve) => setTimeout(resolve, part.small ? 2000 : 10_000));
  const children = readFileSync(`/proc/${server.pid}/task/${server.pid}/children`, "utf8")
    .trim()
    .split(" ");
  return [
    {
      what: "start of skipway serve",
      n,
      liveMs: Math.round(median(starts.liveMs)),
      liveMsLeast: Math.round(Math.min(...starts.liveMs)),
      goalLiveMs: 300,
      readyMs: Math.round(median(starts.readyMs)),
      nodeAloneMs: Math.round(median(starts.nodeMs)),
      nodeAloneMsLeast: Math.round(Math.min(...starts.nodeMs)),
    },
    {
      what: "idle, proportional share of memory",
      parentMb: megabytes(server.pid),
      goalParentMb: 90,
      childrenMb: children.map((pid) => megabytes(Number(pid))),
      goalChildMb: 60,
    },
  ];
}

async function start(model: string): Promise<{ liveMs: number; readyMs: number }> {
  const port = await freePort();
  const from = performance.now();
  const args = [
    "dist/cli/main.js",
    "serve",
    model,
    "--port",
    String(port),
    "--grpc-port",
    "0",
    "--quiet",
  ];
  const child = spawn(process.execPath, args, { stdio: "ignore" });
  const answered = async (path: string): Promise<number> => {
    for (;;) {
      const status = await fetch(`http://127.0.0.1:${port}${path}`).then(
        (response) => response.status,
        () => 0,
      );
      if (status === 200) return performance.now() - from;
      if (child.exitCode !== null) throw new Error(`skipway serve ended with ${child.exitCode}`);
      await new Promise((resolve) => setTimeout(resolve, 4));
    }
  };
  const liveMs = await answered("/v2/health/live");
  const readyMs = await answered("/v2/health/ready");
  child.kill("SIGINT");
  await gone(child);
  return { liveMs, readyMs };
}

function gone(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => child.once("exit", () => resolve()));
}

/** Proportional set size, of proc(5). */
function megabytes(pid: number): number {
  const found = /^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"));
  return rounded((Number(found?.[1] ?? Number.NaN) * 1024) / 1e6);
}
