// The server of a drill: a process of its own, as a user would start it, asked over HTTP alone.

import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { SkipwayError } from "../../base/errors.ts";

/** Starts skipway with these arguments, its output and errors in pipes. */
export type Launch = (args: readonly string[]) => ChildProcess;

const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 15_000;
const CALL_LIMIT_MS = 30_000;
/** Of what it last said, for whoever asks why it ended. */
const WORDS_MAX = 2000;

/** A server process that serves a folder. */
export class DrilledServer implements AsyncDisposable {
  readonly address: URL;
  readonly #process: ChildProcess;

  private constructor(process: ChildProcess, address: URL) {
    this.#process = process;
    this.address = address;
  }

  /** Starts it; resolves once it serves. @throws SkipwayError `environment` where it does not. */
  static async start(
    launch: Launch,
    folder: string,
    options: readonly string[],
  ): Promise<DrilledServer> {
    const fixed = ["--data", folder, "--port", "0", "--no-grpc", "--grace", "0", "--json"];
    const process = launch(["serve", ...fixed, ...options]);
    try {
      return new DrilledServer(process, await addressOf(process));
    } catch (error) {
      process.kill("SIGKILL");
      throw error;
    }
  }

  /** A document of it. @throws SkipwayError `environment` for an answer that is none. */
  async get(path: string): Promise<unknown> {
    return this.#ask(path, {});
  }

  /** Asks it to do something. @throws SkipwayError `environment` where it does not. */
  async post(path: string, document: unknown): Promise<unknown> {
    return this.#ask(path, { method: "POST", body: JSON.stringify(document) });
  }

  async #ask(path: string, init: RequestInit): Promise<unknown> {
    const url = new URL(path, this.address);
    const answer = await fetch(url, { ...init, signal: AbortSignal.timeout(CALL_LIMIT_MS) });
    const text = await answer.text();
    if (answer.ok) return JSON.parse(text);
    throw new SkipwayError("environment", `${path} is answered with ${answer.status}: ${text}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, "exit");
    const timer = setTimeout(() => this.#process.kill("SIGKILL"), STOP_LIMIT_MS);
    this.#process.kill("SIGTERM");
    await ended;
    clearTimeout(timer);
  }
}

/** What it prints once it listens. */
function addressOf(process: ChildProcess): Promise<URL> {
  return new Promise((resolve, reject) => {
    let [out, words] = ["", ""];
    const fail = (text: string): void => {
      clearTimeout(timer);
      const said = words.trim() === "" ? "" : `; it said: ${words.trim()}`;
      reject(new SkipwayError("environment", `the server of the drill ${text}${said}`));
    };
    const timer = setTimeout(() => fail("does not start"), START_LIMIT_MS);
    process.once("error", (error) => fail(`cannot be started: ${error.message}`));
    process.once("exit", (code) => fail(`ended with exit code ${code}`));
    process.stderr?.on("data", (data: Buffer) => {
      words = (words + data.toString()).slice(-WORDS_MAX);
    });
    process.stdout?.on("data", (data: Buffer) => {
      out += data.toString();
      const found = /"address": "(http:[^"]+)"/.exec(out)?.[1];
      if (found === undefined) return;
      clearTimeout(timer);
      resolve(new URL(found));
    });
  });
}
