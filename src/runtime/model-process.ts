// The process of a model, seen from its parent: started, asked, watched, ended. Frames have a socket of their own
// (descriptor 3), so that nothing that a native library prints can get between them.

import { type ChildProcess, spawn } from "node:child_process";
import { Socket } from "node:net";
import { assert, present } from "../base/assert.ts";
import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { builtEntry } from "../base/entry.ts";
import { type ErrorCode, messageOf, SkipwayError } from "../base/errors.ts";
import {
  type Frame,
  FrameEncoder,
  FrameReader,
  LANES,
  type Part,
  type Sent,
  spread,
} from "./frames.ts";
import { outOfMemoryKills } from "./memory-probe.ts";
import { died, exitOf, type ProcessExit } from "./process-exit.ts";

/** How long a process that was asked to end may take. */
const GRACE_MS = 2000;
/** Last words of a process that are kept for its obituary. */
const STDERR_CHARS_MAX = 4096;

/** The descriptor of the frames in the process; those of the lanes follow. */
export const FRAMES_FD = 3;

/** Is told the answer to a question, or why there is none. */
type Told = (answer: Frame | undefined, error?: unknown) => void;

/** The process and the socket to it. Questions are answered in their order. */
export class ModelProcess {
  /** Settles when the process is gone, for whatever reason. */
  readonly exited: Promise<ProcessExit>;
  readonly #process: ChildProcess;
  readonly #socket: Socket;
  /** The first socket, and the lanes of large questions. */
  readonly #sockets: readonly Socket[];
  readonly #encoder = new FrameEncoder();
  readonly #reader = new FrameReader();
  readonly #waiting = new Map<number, Told>();
  readonly #killsBefore: number | undefined = outOfMemoryKills();
  #asked = 0;
  #gone: SkipwayError | undefined;
  #killed = false;
  #stderr = "";

  constructor() {
    const entry = builtEntry(import.meta.url, "./child-main.js");
    this.#process = spawn(process.execPath, [entry, String(process.pid)], {
      stdio: [
        "ignore",
        "ignore",
        "pipe",
        ...Array.from({ length: LANES + 1 }, () => "pipe" as const),
      ],
      env: childEnvironment(process.env),
    });
    const sockets = this.#process.stdio.slice(FRAMES_FD).filter((one) => one instanceof Socket);
    const [socket] = sockets;
    assert(socket !== undefined && sockets.length === LANES + 1, "the frames have their sockets");
    this.#socket = socket;
    this.#sockets = sockets;
    this.exited = new Promise((resolve) => this.#watch(resolve));
    socket.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    // A write to a process that has just died: its exit is reported by the events of the process.
    for (const one of sockets) one.on("error", () => undefined);
    this.#process.stderr?.on("data", (chunk: Buffer) => {
      this.#stderr = (this.#stderr + chunk.toString("utf8")).slice(-STDERR_CHARS_MAX);
    });
  }

  #watch(resolve: (exit: ProcessExit) => void): void {
    const end = (reason: SkipwayError, exit: ProcessExit): void => {
      this.#gone ??= reason;
      const waiting = [...this.#waiting.values()];
      this.#waiting.clear();
      for (const tell of waiting) tell(undefined, reason);
      resolve(exit);
    };
    // "close" comes after "exit": only then all answers and last words have been read.
    this.#process.once("close", (code, signal) => {
      const kills = outOfMemoryKills() ?? 0;
      const exit = exitOf({
        code,
        signal,
        lastWords: this.#stderr,
        outOfMemoryKill: kills > (this.#killsBefore ?? kills),
        asked: this.#killed,
      });
      end(died(exit), exit);
    });
    this.#process.once("error", (cause) => {
      end(notStarted(cause), { code: null, signal: null, cause: "exit", lastWords: "" });
    });
  }

  get pid(): number {
    return this.#process.pid ?? -1;
  }

  get isGone(): boolean {
    return this.#gone !== undefined;
  }

  /** Sends a question; the answer, or the reason why there is none. */
  ask(header: Readonly<Record<string, unknown>>, parts: readonly Part[] = []): Promise<Frame> {
    return new Promise((resolve, reject) => {
      this.send(header, parts, (answer, error) => {
        if (answer === undefined) reject(error);
        else resolve(answer);
      });
    });
  }

  /** The same without a promise: `tell` is called once, in the turn in which the answer comes, and never in this one. */
  send(header: Sent["header"], parts: readonly Part[], tell: Told): void {
    const pieces = this.#written(header, parts);
    if (!Array.isArray(pieces)) {
      queueMicrotask(() => tell(undefined, pieces));
      return;
    }
    this.#waiting.set(this.#asked, tell);
    for (const [i, stream] of spread(pieces).entries()) {
      const socket = this.#sockets[i];
      if (stream.length > 1) socket?.cork();
      for (const piece of stream) socket?.write(piece);
      if (stream.length > 1) socket?.uncork();
    }
  }

  /** The next question as it is written, or why it cannot be asked. */
  #written(header: Sent["header"], parts: readonly Part[]): Uint8Array[] | SkipwayError {
    if (this.#gone !== undefined) return this.#gone;
    this.#asked = (this.#asked + 1) >>> 0;
    try {
      return this.#encoder.encode({ id: this.#asked, header, parts });
    } catch (error) {
      if (error instanceof SkipwayError) return error;
      throw error;
    }
  }

  kill(): void {
    this.#killed = true;
    this.#process.kill("SIGKILL");
  }

  /** Ends the process: closes the socket, and kills it if it does not leave or still computes. */
  async close(): Promise<void> {
    this.#socket.end();
    if (this.#waiting.size > 0) this.kill();
    const timer = setTimeout(() => this.kill(), GRACE_MS);
    await this.exited;
    clearTimeout(timer);
  }

  /** Whether a parent that has nothing else to do waits for this process. */
  keepsParent(keeps: boolean): void {
    const { stderr } = this.#process;
    const handles = [
      this.#process,
      ...this.#sockets,
      ...(stderr instanceof Socket ? [stderr] : []),
    ];
    for (const handle of handles) {
      if (keeps) handle.ref();
      else handle.unref();
    }
  }

  #receive(chunk: Uint8Array): void {
    for (const [tell, frame] of this.#answers(chunk)) {
      if (frame.header["kind"] === "failed") tell(undefined, failure(frame.header));
      else tell(frame);
    }
  }

  /** Whom the answers that are whole with this chunk are for. */
  #answers(chunk: Uint8Array): [tell: Told, answer: Frame][] {
    try {
      return this.#reader.push(chunk).map((frame) => {
        const tell = present(this.#waiting.get(frame.id), "an answer without a question");
        this.#waiting.delete(frame.id);
        return [tell, frame];
      });
    } catch {
      // What comes out of the socket is no answer: the process is not to be trusted any more.
      this.kill();
      return [];
    }
  }
}

/**
 * What a model's process sees of our environment: what finds libraries and sets allocators, threads and language.
 * Secrets are not for a process that runs other people's models.
 */
const PASSED =
  /^(PATH|HOME|LANG|LC_\w+|TZ|TMPDIR|TEMP|TMP|SystemRoot|LD_LIBRARY_PATH|LD_PRELOAD|NODE_OPTIONS|(MALLOC|GLIBC|OMP|ORT|CUDA|NVIDIA|TCMALLOC)_\w+)$/i;

/** The environment of a model's process. */
export function childEnvironment(
  own: Readonly<Record<string, string | undefined>>,
): Record<string, string | undefined> {
  const passed = Object.entries(own).filter(([name]) => PASSED.test(name));
  // glibc keeps freed memory unless told when to give it back (measured: 186 MB against 85 MB). Blocks that are
  // made anew for each run cost half as much in huge pages (docs/design/admission.md).
  const allocator = {
    MALLOC_TRIM_THRESHOLD_: "131072",
    GLIBC_TUNABLES: "glibc.malloc.hugetlb=1",
  };
  return { ...allocator, ...Object.fromEntries(passed) };
}

function failure(header: Frame["header"]): SkipwayError {
  // Made by child-main.ts from a SkipwayError.
  const code = header["code"] as ErrorCode;
  const diagnostics = header["diagnostics"] as readonly Diagnostic[];
  return SkipwayError.fromDiagnostics(code, diagnostics);
}

function notStarted(cause: Error): SkipwayError {
  const found = diagnostic({
    id: "runtime/process-not-started",
    severity: "error",
    where: "model process",
    text: `the process of the model could not be started: ${messageOf(cause)}`,
    fix: "Check the limits on processes and memory of this machine (ulimit -a).",
  });
  return new SkipwayError("environment", found.text, { cause, diagnostics: [found] });
}
