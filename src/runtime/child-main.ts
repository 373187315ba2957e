// The process of one model: it loads the model, then answers frames on its descriptor until the other
// end closes. Signals of a terminal are the parent's business; without a parent it leaves.

import { writeFileSync } from "node:fs";
import { systemClock } from "../base/clock.ts";
import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import { endWithParent } from "../base/parent-watch.ts";
import type { ChildSessionOptions } from "./child-process.ts";
import { FrameChannel } from "./frame-channel.ts";
import { type Frame, LANES, partsOf, type Sent } from "./frames.ts";
import { Garbage } from "./garbage.ts";
import { processMemory } from "./memory-probe.ts";
import { loadBindingAlone } from "./ort.ts";
import { OrtSession } from "./ort-session.ts";
import type { ModelSource } from "./runner.ts";
import { verified } from "./verified-model.ts";

process.on("SIGINT", () => undefined);
process.on("SIGTERM", () => undefined);
process.on("SIGHUP", () => undefined);
preferAsVictim();

/** Runs after which the event loop has a turn: what V8 has put off (memory to free) is done there. */
const RUNS_PER_TURN = 64;

const channel = new FrameChannel(
  3,
  Array.from({ length: LANES }, (_, i) => 4 + i),
);
let session: OrtSession | undefined;
const garbage = new Garbage();
let runs = 0;
let watching = false;

type Answer = Omit<Sent, "id">;

/** Of every run: the same object, so that it is written once. */
const RESULT = { kind: "result" };

/** A run computes at once; a promise is for what waits for files. */
function answerOf(frame: Frame): Answer | Promise<Answer> {
  switch (frame.header["kind"]) {
    case "run":
      return run(frame);
    case "load":
      return load(frame);
    case "prepare":
      return loadBindingAlone().then(() => ({ header: { kind: "prepared" } }));
    case "memory":
      return { header: { kind: "memory", memory: processMemory() } };
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
  return { header: RESULT, parts: partsOf(found), computeMs };
}

async function load({ header, tensors }: Frame): Promise<Answer> {
  watchParent();
  const bytes = tensors.get("model")?.data.bytes;
  const source: ModelSource =
    bytes === undefined
      ? { path: String(header["path"]) }
      : { bytes, name: String(header["name"] ?? "model") };
  // Made by our own parent, whose side of this is typed.
  const options = (header["options"] ?? {}) as ChildSessionOptions;
  const files = await verified(source, options.digest);
  session = await OrtSession.open(source, options, loadBindingAlone);
  await files.recheck();
  const ends = { inputs: [...session.inputs], outputs: [...session.outputs] };
  return { header: { kind: "loaded", ...ends } };
}

/**
 * A read that waits sees the end of the parent by itself; what loads or computes does not. So the watch, which takes
 * as long to start as the runtime, is not there before the first model.
 */
function watchParent(): void {
  if (!watching) endWithParent(Number(process.argv[2]));
  watching = true;
}

/** Where memory ends, the system shall kill a model and not the server: each may raise its own score. */
function preferAsVictim(): void {
  try {
    writeFileSync("/proc/self/oom_score_adj", "500");
  } catch {
    // Not on this system.
  }
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
  return { header: { kind: "failed", code: known ? error.code : "environment", diagnostics } };
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

function reply(id: number, answer: Answer): void {
  try {
    channel.write({ id, ...answer });
  } catch (error) {
    // An answer that is too large for a frame is told; else nobody reads any more.
    if (error instanceof SkipwayError) channel.write({ id, ...failed(error) });
    else process.exit(0);
  }
}

/** Answers one question, in a function of its own: nothing refers to its tensors once it is over. */
async function serveOne(): Promise<void> {
  const frame = nextFrame();
  let answer: Answer;
  try {
    const found = answerOf(frame);
    // No turn of the event loop between a question and its answer where none is needed.
    answer = found instanceof Promise ? await found : found;
  } catch (error) {
    answer = failed(error);
  }
  reply(frame.id, answer);
  garbage.add(
    frame.tensors,
    (answer.parts ?? []).flatMap(({ pieces }) => pieces),
  );
  if (frame.header["kind"] === "prepare") watchParent();
}

for (;;) {
  await serveOne();
  const collected = garbage.collect();
  // Of buffers that native code made, the memory is given back in a turn of the event loop.
  if (++runs % RUNS_PER_TURN === 0 || collected)
    await new Promise((resolve) => setImmediate(resolve));
}
