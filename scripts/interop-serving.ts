// `npm run interop [-- --json]`: the clients that people have (tritonclient over HTTP and gRPC, both also async; the
// KServe SDK over both) against a real server. Makes a Python environment with pinned packages in the user's cache
// folder the first time. Exits 1 when a client finds something else than it should.

import { type ExecFileException, execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs, promisify } from "node:util";
import { SkipwayError } from "../src/base/errors.ts";
import { type ConformanceServer, startConformance } from "../test/conformance/harness.ts";

/** The newest of each when this was written; the environment is made anew when they change. */
const PACKAGES = ["tritonclient[all]==2.73.0", "kserve==0.21.0"];

interface Finding {
  readonly client: string;
  readonly check: string;
  readonly ok: boolean;
  /** What was found instead. */
  readonly found: string | null;
}

const run = promisify(execFile);

/** The Python of the environment. @throws SkipwayError `environment` where it cannot be made. */
async function environment(): Promise<string> {
  const digest = createHash("sha256").update(PACKAGES.join()).digest("hex").slice(0, 12);
  const cache = process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache");
  const folder = join(cache, "skipway", `interop-${digest}`);
  const python = join(folder, "bin", "python");
  const done = join(folder, "done");
  if (existsSync(done)) return python;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  process.stderr.write(`making a Python environment with ${PACKAGES.join(", ")}\n`);
  try {
    await run(process.env["PYTHON"] ?? "python3", ["-m", "venv", folder]);
    await run(python, ["-m", "pip", "install", "--quiet", ...PACKAGES]);
  } catch (cause) {
    const { stderr = "" } = cause as ExecFileException;
    const text = `the clients cannot be installed: ${String(stderr).trim().slice(-500)}`;
    throw new SkipwayError("environment", text, { cause });
  }
  writeFileSync(done, "");
  return python;
}

/** Runs clients and gives what they found; a run that does not come to its end is a finding too. */
async function clients(
  python: string,
  which: string,
  server: ConformanceServer,
): Promise<Finding[]> {
  const script = join(import.meta.dirname, "../../interop-serving.py");
  const http = server.at.replace("http://", "");
  const child = spawn(python, ["-W", "ignore", script, which, http, server.grpcAt], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  const findings: Finding[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith("{")) findings.push(JSON.parse(line) as Finding);
  }
  const code = await ended;
  if (code !== 0)
    findings.push({ client: which, check: "ran to its end", ok: false, found: `exit ${code}` });
  return findings;
}

function table(findings: readonly Finding[]): string {
  const lines: string[] = [];
  for (const client of new Set(findings.map((one) => one.client))) {
    const own = findings.filter((one) => one.client === client);
    const good = own.filter((one) => one.ok).length;
    lines.push(`${client.padEnd(24)} ${String(good).padStart(3)} of ${own.length}`);
    for (const { check, ok, found } of own) if (!ok) lines.push(`    ${check}: ${found}`);
  }
  return lines.join("\n");
}

const { values } = parseArgs({ options: { json: { type: "boolean", default: false } } });
const python = await environment();
const server = await startConformance();
try {
  const findings = [
    ...(await clients(python, "triton", server)),
    ...(await clients(python, "kserve", server)),
  ];
  const failed = findings.filter((one) => !one.ok);
  process.stdout.write(
    values.json
      ? `${JSON.stringify({ schema: "skipway.interop/1", packages: PACKAGES, findings })}\n`
      : `${table(findings)}\n`,
  );
  process.exitCode = failed.length === 0 && findings.length > 0 ? 0 : 1;
} finally {
  await server.stop();
}
