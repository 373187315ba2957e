// The process of one model: it loads the model, then answers frames on its descriptor until the other
// end closes. Signals of a terminal are the parent's business; without a parent it leaves.

import { systemClock } from "../base/clock.ts";
import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import { endWithParent } from "../base/parent-watch.ts";
import type { ChildSessionOptions } from "./child-process.ts";
import { FrameChannel } from "./frame-channel.ts";
import { encodeFrame, type Frame, type Part, partsOf } from "./frames.ts";
import { processMemory } from "./memory-probe.ts";
import { loadBinding } from "./ort.ts";
import { OrtSession } from "./ort-session.ts";
import type { ModelSource } from "./runner.ts";
import { verified } from "./verified-model.ts";

process.on("SIGINT", () => undefined);
process.on("SIGTERM", () => undefined);
process.on("SIGHUP", () => undefined);
endWithParent(Number(process.argv[2]));

/** Runs after which the event loop has a turn: what V8 has put off (memory to free) is done there. */
const RUNS_PER_TURN = 64;

const channel = new FrameChannel(3);
let session: OrtSession | undefined;
let runs = 0;

type Answer = readonly [header: Readonly<Record<string, unknown>>, parts?: readonly Part[]];

/** A run computes at once; a promise is for what waits for files. */
function answerOf(frame: Frame): Answer | Promise<Answer> {
  switch (frame.header["kind"]) {
    case "run":
      return run(frame);
    case "load":
      return load(frame);
    case "prepare":
      return loadBinding().then(() => [{ kind: "prepared" }]);
    case "memory":
      return [{ kind: "memory", memory: processMemory() }];
    default:
      throw new SkipwayError("internal", "skipway defect: a question of an unknown kind");
  }
}

function run({ header, tensors }: Frame): Answer {
  if (session === undefined) throw new SkipwayError("internal", "run before load");
  const outputs = header["outputs"];
  const from = systemClock.monotonicMs();
  const found = session.run(tensors, Array.isArray(outputs) ? outputs.map(String) : undefined);
  const computeMs = systemClock.monotonicMs() - from;
  return [{ kind: "result", computeMs }, partsOf(found)];
}

async function load({ header, tensors }: Frame): Promise<Answer> {
  const bytes = tensors.get("model")?.data.bytes;
  const source: ModelSource =
    bytes === undefined
      ? { path: String(header["path"]) }
      : { bytes, name: String(header["name"] ?? "model") };
  // Made by our own parent, whose side of this is typed.
  const options = (header["options"] ?? {}) as ChildSessionOptions;
  const files = await verified(source, options.digest);
  session = await OrtSession.open(source, options);
  await files.recheck();
  return [{ kind: "loaded", inputs: [...session.inputs], outputs: [...session.outputs] }];
}

function failed(error: unknown): Answer {
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
  return [{ kind: "failed", code: known ? error.code : "environment", diagnostics }];
}

function encoded(id: number, answer: Answer): Uint8Array[] {
  try {
    return encodeFrame(id, ...answer);
  } catch (error) {
    // An answer that is too large for a frame.
    return encodeFrame(id, ...failed(error));
  }
}

/** The next question; after a broken frame nothing can be read any more: say why, and leave. */
function nextFrame(): Frame {
  try {
    const frame = channel.read();
    if (frame !== undefined) return frame;
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n`);
    process.exit(1);
  }
  return process.exit(0);
}

function reply(pieces: readonly Uint8Array[]): void {
  try {
    channel.write(pieces);
  } catch {
    // Nobody reads any more.
    process.exit(0);
  }
}

for (;;) {
  const frame = nextFrame();
  let answer: Answer;
  try {
    const found = answerOf(frame);
    // No turn of the event loop between a question and its answer where none is needed.
    answer = found instanceof Promise ? await found : found;
  } catch (error) {
    answer = failed(error);
  }
  reply(encoded(frame.id, answer));
  if (++runs % RUNS_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve));
}
