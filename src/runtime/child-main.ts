// The process of one model: it loads the model, then answers frames on its standard input until the
// pipe closes. Signals of a terminal are the parent's business; without a parent it leaves.

import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import { endWithParent } from "../base/parent-watch.ts";
import { encodeFrame, type Frame, FrameReader } from "./frames.ts";
import { inProcessRunner } from "./in-process.ts";
import type { ModelSource, Session, SessionOptions, Tensors } from "./runner.ts";

process.on("SIGINT", () => undefined);
process.on("SIGTERM", () => undefined);
process.on("SIGHUP", () => undefined);
endWithParent();

let session: Session | undefined;

function send(header: Record<string, unknown>, tensors: Tensors = new Map()): void {
  const chunks = encodeFrame(header, tensors);
  process.stdout.cork();
  for (const chunk of chunks) process.stdout.write(chunk);
  process.stdout.uncork();
}

async function handle({ header, tensors }: Frame): Promise<void> {
  switch (header["kind"]) {
    case "load": {
      const bytes = tensors.get("model")?.data.bytes;
      const source: ModelSource =
        bytes === undefined
          ? { path: String(header["path"]) }
          : { bytes, name: String(header["name"] ?? "model") };
      session = await inProcessRunner().load(source, optionsOf(header["options"]));
      send({ kind: "loaded", inputs: [...session.inputs], outputs: [...session.outputs] });
      return;
    }
    case "run": {
      if (session === undefined) throw new SkipwayError("internal", "run before load");
      const outputs = header["outputs"];
      const wanted = Array.isArray(outputs) ? { outputs: outputs.map(String) } : {};
      send({ kind: "result" }, await session.run(tensors, wanted));
      return;
    }
    case "memory":
      send({ kind: "memory", memory: await session?.memory() });
      return;
    default:
      process.exit(0);
  }
}

function optionsOf(value: unknown): SessionOptions {
  const fields = new Map(Object.entries(value ?? {}));
  const threads = Number(fields.get("threads") ?? 1);
  return { threads, memoryPattern: fields.get("memoryPattern") !== false };
}

function failed(error: unknown): void {
  const known = error instanceof SkipwayError;
  const diagnostics: readonly Diagnostic[] =
    known && error.diagnostics.length > 0
      ? error.diagnostics
      : [
          diagnostic({
            id: "runtime/failed",
            severity: "error",
            where: "model process",
            text: messageOf(error),
          }),
        ];
  send({ kind: "failed", code: known ? error.code : "environment", diagnostics });
}

const reader = new FrameReader();

/** After a broken frame nothing on the pipe can be read any more: say why, and leave. */
function framesOf(chunk: Uint8Array): readonly Frame[] {
  try {
    return reader.push(chunk);
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n`);
    process.exit(1);
  }
}

// One after another: the runtime computes on this thread anyway, and answers keep their order.
let last: Promise<void> = Promise.resolve();
process.stdin.on("data", (chunk: Uint8Array) => {
  for (const frame of framesOf(chunk)) last = last.then(() => handle(frame)).catch(failed);
});
process.stdin.on("end", () => process.exit(0));
process.stdin.on("error", () => process.exit(0));
process.stdout.on("error", () => process.exit(0));
