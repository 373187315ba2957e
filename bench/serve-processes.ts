// The processes of the serving benchmark: the client, our server as users start it and as a process that answers
// questions, echoes and peers. Each is ended by whoever started it.

import { type ChildProcess, execFileSync, fork, spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";

/** What can be asked of a process of `bench/serve/`. */
export interface Task extends AsyncDisposable {
  readonly pid: number;
  ask<T>(task: string, given?: unknown): Promise<T>;
}

/** Starts a script of `bench/serve/` that answers tasks. */
export async function task(script: string, ...args: readonly string[]): Promise<Task> {
  const child = fork(`bench/serve/${script}`, args, {
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const waiting = new Map<number, (message: Answer) => void>();
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.on("message", (message: Answer) => waiting.get(message.id)?.(message));
  child.once("exit", (code) => {
    for (const [id, settle] of waiting) settle({ id, error: `${script} ended with ${code}` });
  });
  let asked = 0;
  const answered = (id: number): Promise<unknown> =>
    new Promise((resolve, reject) => {
      waiting.set(id, ({ found, error }) => {
        waiting.delete(id);
        if (error === undefined) resolve(found);
        else reject(new Error(error));
      });
    });
  await answered(0);
  return {
    pid: child.pid ?? -1,
    ask: <T>(name: string, given?: unknown) => {
      asked++;
      const answer = answered(asked);
      child.send({ id: asked, task: name, given });
      // The scripts say what `T` is told here.
      return answer as Promise<T>;
    },
    [Symbol.asyncDispose]: async () => {
      child.disconnect();
      const timer = setTimeout(() => child.kill("SIGKILL"), 3000);
      await gone;
      clearTimeout(timer);
    },
  };
}

interface Answer {
  readonly id: number;
  readonly found?: unknown;
  readonly error?: string;
}

/** A server that runs. */
export interface Served extends AsyncDisposable {
  readonly pid: number;
  /** `http://127.0.0.1:PORT`. */
  readonly at: string;
  /** `127.0.0.1:PORT`, for gRPC. */
  readonly grpc: string;
  readonly exited: Promise<number | null>;
  signal(name: NodeJS.Signals): void;
}

/** `skipway serve FILES`, once its models answer. */
export async function skipwayServes(
  files: readonly string[],
  more: readonly string[] = [],
): Promise<Served> {
  const args = ["serve", ...files, "--port", "0", "--json", "--quiet", "--poll", "0", ...more];
  const child = spawn(process.execPath, [...nodeFlags(), "dist/cli/main.js", ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = exitOf(child);
  const document = await new Promise<string>((resolve, reject) => {
    let out = "";
    child.stdout.on("data", (chunk: Buffer) => {
      out += chunk.toString();
      if (out.endsWith("}\n")) resolve(out);
    });
    void exited.then((code) => reject(new Error(`skipway serve ended with ${code}`)));
  });
  const { address, grpcPort } = JSON.parse(document) as { address: string; grpcPort: number };
  return {
    pid: child.pid ?? -1,
    at: address,
    grpc: `127.0.0.1:${grpcPort}`,
    exited,
    signal: (name) => child.kill(name),
    [Symbol.asyncDispose]: () => end(child, exited),
  };
}

/** `SERVE_NODE_FLAGS="--cpu-prof …"` profiles the servers that are measured. */
function nodeFlags(): readonly string[] {
  const flags = process.env["SERVE_NODE_FLAGS"] ?? "";
  return flags === "" ? [] : flags.split(" ");
}

/** MLServer over one ONNX file; `batching` is its adaptive one. */
export async function mlserverServes(
  python: string,
  folder: string,
  { file, batching }: { readonly file: string; readonly batching: boolean },
): Promise<Served> {
  const [port, grpcPort, metricsPort] = await Promise.all([freePort(), freePort(), freePort()]);
  const code = readFileSync("bench/serve/mlserver_model.py", "utf8");
  writeFileSync(join(folder, "mlserver_model.py"), code);
  const settings = {
    host: "127.0.0.1",
    http_port: port,
    grpc_port: grpcPort,
    metrics_port: metricsPort,
    parallel_workers: 0,
    debug: false,
  };
  const model = {
    name: "m",
    implementation: "mlserver_model.OnnxModel",
    parameters: { uri: file },
    ...(batching && { max_batch_size: 16, max_batch_time: 0.001 }),
  };
  writeFileSync(join(folder, "settings.json"), JSON.stringify(settings));
  writeFileSync(join(folder, "model-settings.json"), JSON.stringify(model));
  const child = spawn(join(dirname(python), "mlserver"), ["start", folder], {
    stdio: "ignore",
    cwd: folder,
    env: { ...process.env, PYTHONPATH: folder },
  });
  const exited = exitOf(child);
  const at = `http://127.0.0.1:${port}`;
  await until(`${at}/v2/models/m/ready`, 60_000);
  return {
    pid: child.pid ?? -1,
    at,
    grpc: `127.0.0.1:${grpcPort}`,
    exited,
    signal: (name) => child.kill(name),
    [Symbol.asyncDispose]: () => end(child, exited),
  };
}

/** Waits until an address answers 200. */
export async function until(url: string, limitMs: number, everyMs = 100): Promise<void> {
  const from = performance.now();
  for (;;) {
    const status = await fetch(url).then(
      ({ status }) => status,
      () => 0,
    );
    if (status === 200) return;
    if (performance.now() - from > limitMs) throw new Error(`${url} does not answer`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

/** A port that nothing listened on a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

function exitOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.once("exit", resolve));
}

async function end(child: ChildProcess, exited: Promise<unknown>): Promise<void> {
  child.kill("SIGINT");
  const timer = setTimeout(() => child.kill("SIGKILL"), 15_000);
  await exited;
  clearTimeout(timer);
}

/** Writes the models; gives the path of each by name. */
export function writeModels(folder: string): (name: string) => string {
  execFileSync(process.execPath, ["bench/serve/models.mjs", folder]);
  return (name) => join(folder, `${name}.onnx`);
}
