// The server's side of the thread that plans memory (plan-main.ts): started when it is asked, ended when nobody has
// asked for a while, so that a server at rest does without it and without the graphs that it holds.

import { Worker } from "node:worker_threads";
import { builtEntry } from "../base/entry.ts";
import { SkipwayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { InputShapes } from "./admission/batch-axis.ts";
import type { KnotRuns } from "./admission/plan-table.ts";
import type { Gates } from "./gates.ts";

/** A model file; the digest says which bytes are meant, where it is one. */
export interface PlanFile {
  readonly path: string;
  readonly digest: string;
}

/** What a file is like. */
export interface OpenedFile {
  /** Bytes of the files beside it. */
  readonly externalBytes: number;
  /** Outputs in which two candidates may tie. */
  readonly ties: ReadonlySet<string>;
  /** Outputs that say which blocks were run. */
  readonly gates: Gates;
}

/** Asked of the thread. */
export type PlanQuestion = { readonly id: number; readonly file: PlanFile } & (
  | { readonly kind: "open" }
  | { readonly kind: "plan"; readonly batched: boolean; readonly shapes: InputShapes }
);

/** What the thread says. */
export type PlanAnswer = OpenedFile | { readonly runs: KnotRuns };

interface Reply {
  readonly id: number;
  readonly answer?: PlanAnswer;
  readonly fault?: string;
}

interface Asked {
  resolve(answer: PlanAnswer): void;
  reject(error: SkipwayError): void;
}

/** How long the thread stays without a question. */
const IDLE_MS = 3000;

/** Plans on a thread of its own. */
export class PlanWorker {
  readonly #asked = new Map<number, Asked>();
  #worker: Worker | undefined;
  #timer: NodeJS.Timeout | undefined;
  #next = 1;

  /** @throws SkipwayError when the file is no model that can be read. */
  async open(file: PlanFile): Promise<OpenedFile> {
    const answer = await this.#ask({ id: this.#next++, kind: "open", file });
    return "ties" in answer ? answer : { externalBytes: 0, ties: new Set(), gates: new Map() };
  }

  /** @throws SkipwayError when the file is not the one it was, or takes too long to plan. */
  async plan(file: PlanFile, batched: boolean, shapes: InputShapes): Promise<KnotRuns> {
    const answer = await this.#ask({ id: this.#next++, kind: "plan", file, batched, shapes });
    return "runs" in answer ? answer.runs : [];
  }

  /** Ends the thread; it starts again when it is asked. */
  close(): void {
    this.#end("the server stops");
  }

  #ask(question: PlanQuestion): Promise<PlanAnswer> {
    return new Promise((resolve, reject) => {
      this.#asked.set(question.id, { resolve, reject });
      this.#worker ??= this.#start();
      this.#worker.postMessage(question);
      if (this.#asked.size === 1) this.#watch();
    });
  }

  #start(): Worker {
    const worker = new Worker(builtEntry(import.meta.url, "./plan-main.js"), {
      execArgv: [],
      env: {},
      resourceLimits: { maxOldGenerationSizeMb: limits.planHeapBytesMax / 2 ** 20 },
    });
    worker.unref();
    const gone = (text: string): void => {
      if (this.#worker === worker) this.#end(text);
    };
    worker.on("message", (reply: Reply) => this.#answered(reply));
    worker.on("error", (error) => gone(error.message));
    worker.on("exit", () => gone("it ended"));
    return worker;
  }

  #answered({ id, answer, fault }: Reply): void {
    const asked = this.#asked.get(id);
    this.#asked.delete(id);
    if (answer !== undefined) asked?.resolve(answer);
    else asked?.reject(new SkipwayError("input", fault ?? "no plan"));
    this.#watch();
  }

  /** No question may take for ever, and without one the thread ends. */
  #watch(): void {
    clearTimeout(this.#timer);
    const busy = this.#asked.size > 0;
    this.#timer = setTimeout(
      () => this.#end("it took too long"),
      busy ? limits.planMsMax : IDLE_MS,
    );
    this.#timer.unref();
  }

  #end(text: string): void {
    clearTimeout(this.#timer);
    const worker = this.#worker;
    this.#worker = undefined;
    void worker?.terminate();
    for (const { reject } of this.#asked.values()) {
      reject(new SkipwayError("environment", `memory cannot be planned: ${text}`));
    }
    this.#asked.clear();
  }
}
