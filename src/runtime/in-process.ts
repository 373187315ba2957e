// ONNX Runtime inside this process. A run blocks the calling thread (onnxruntime-node 1.30), so this
// engine is for training and evaluation.

import { SkipwayError } from "../base/errors.ts";
import type { ValueType } from "../graph/graph.ts";
import { closedSession } from "./closed.ts";
import { checkFeeds, checkFetches } from "./feeds.ts";
import { processMemory } from "./memory-probe.ts";
import { OrtSession } from "./ort-session.ts";
import type {
  MemoryReading,
  ModelSource,
  Runner,
  RunOptions,
  Session,
  SessionOptions,
  Tensors,
} from "./runner.ts";

/** Runs models in this process. */
export function inProcessRunner(): Runner {
  return { name: "in-process", load };
}

async function load(model: ModelSource, options: SessionOptions = {}): Promise<Session> {
  return new InProcessSession(await OrtSession.open(model, options));
}

class InProcessSession implements Session {
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
  readonly #session: OrtSession;
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(session: OrtSession) {
    this.#session = session;
    this.inputs = session.inputs;
    this.outputs = session.outputs;
  }

  async run(feeds: Tensors, options: RunOptions = {}): Promise<Tensors> {
    options.signal?.throwIfAborted();
    if (this.#closed) throw closedSession();
    const faults = [
      ...checkFeeds(this.inputs, feeds),
      ...checkFetches(this.outputs, options.outputs),
    ];
    if (faults.length > 0) throw SkipwayError.fromDiagnostics("input", faults);
    const turn = this.#last.then(async () => {
      // Timers and sockets have their turn between two runs, which block the thread.
      await new Promise((resolve) => setImmediate(resolve));
      options.signal?.throwIfAborted();
      return this.#session.run(feeds, options.outputs);
    });
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  memory(): Promise<MemoryReading> {
    return Promise.resolve(processMemory());
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#last;
    this.#session.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
