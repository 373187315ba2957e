// A server whose model runs in this process and does what a test asks of it, and what its metrics say.

import { float32 } from "../graph/tensor.ts";
import { type ParsedFamily, parseExposition } from "../observe/parse.test-helper.ts";
import type { ChildSession, ProcessExit } from "../runtime/child-process.ts";
import { RequestError } from "./errors.ts";
import { ModelServer, type ServerOptions } from "./server.ts";

/**
 * What happens once the model has begun to compute a question, by what it asks. The run ends with the promise that
 * is given, or once a connection has ended.
 */
export const leaving: Map<number, () => Promise<void> | undefined> = new Map();

const ENDED: ProcessExit = { code: 0, signal: null, cause: "exit", lastWords: "" };

/** Runs that end once a client has gone away. */
const gone: (() => void)[] = [];

function letGo(): void {
  for (const go of gone.splice(0)) setImmediate(go);
}

/** Of the model `m`, version 3. */
export const DIGEST = "sha256:0123456789abcdef0123";

/** A server whose model runs in this process: it answers, fails or dies as its first input says. */
export async function serverWith(
  options: Partial<ServerOptions> = {},
  listen: { readonly grpcPort?: number } = {},
): Promise<{ readonly at: string; readonly server: ModelServer }> {
  const x = { kind: "tensor", dtype: "float32", shape: undefined } as const;
  let exit = (_exit: ProcessExit): void => undefined;
  const exited = new Promise<ProcessExit>((resolve) => {
    exit = resolve;
  });
  const session: ChildSession = {
    pid: -1,
    exited,
    inputs: new Map([["x", x]]),
    outputs: new Map([["y", x]]),
    run: async (inputs) => {
      const [kind] = new Float32Array(new Uint8Array(inputs.get("x")?.data.bytes ?? []).buffer);
      if (kind === 1) throw new Error("kernel");
      if (kind === 3) throw new RequestError(503, "process-died", "it died");
      const begun = leaving.get(kind ?? 0);
      if (begun) await (begun() ?? new Promise<void>((resolve) => gone.push(resolve)));
      return new Map([["y", float32([1], [5])]]);
    },
    runBatch: (members, options) => Promise.all(members.map((one) => session.run(one, options))),
    kill: () => undefined,
    resetPeak: () => false,
    memory: async () => ({ residentBytes: 0, peakResidentBytes: 0 }),
    close: async () => exit(ENDED),
    [Symbol.asyncDispose]: async () => undefined,
  };
  const runner = { name: "here", load: async () => session };
  const server = new ModelServer({ version: "1", runner, ...options });
  server.app.server.on("connection", (socket) => {
    socket.once("close", letGo);
  });
  await server.serve({ name: "m", version: 3, path: "", digest: DIGEST });
  const at = await server.listen({ port: 0, ...listen });
  return { at, server };
}

/** What `/metrics` says now. */
export async function scrape(
  at: string,
  accept = "application/openmetrics-text",
): Promise<Map<string, ParsedFamily>> {
  const text = await (await fetch(`${at}/metrics`, { headers: { accept } })).text();
  return parseExposition(text, true);
}

/** Over all series of a family. */
export const sum = (family: ParsedFamily | undefined): number =>
  (family?.samples ?? []).reduce((total, one) => total + one.value, 0);
