// A model that may run only so long: one that never ends (a Loop without a bound) would hold up its command for ever.

import { systemClock } from "../base/clock.ts";
import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { childProcessRunner } from "../runtime/child-process.ts";
import type { Session } from "../runtime/runner.ts";
import type { Io } from "./io.ts";
import { LiveArea } from "./render/live.ts";

/** Seconds that a load or a run may take where nothing else is said. */
export const LIMIT_SECONDS = 120;
export const LIMIT_HELP = "that loading the model, or one run of it, may take";
/** A run that takes longer is told of, and goes on being told of. */
const QUIET_MS = 2000;

/** A model as the command has it. */
interface Named {
  readonly bytes: Uint8Array;
  /** What messages call it. */
  readonly name: string;
}

/**
 * Loads a model in a process of its own. The load and each run end with an error once they take longer than the limit, the
 * process with them.
 *
 * @throws SkipwayError `input` `model/no-end`.
 */
export async function loadLimited(io: Io, model: Named, limitSeconds: number): Promise<Session> {
  const within = limiter(io, model.name, limitSeconds);
  const session = await within("loading", (signal) => childProcessRunner().load(model, { signal }));
  return {
    inputs: session.inputs,
    outputs: session.outputs,
    run: (feeds, options) =>
      within("a run", (signal) => {
        signal.addEventListener("abort", () => session.kill(), { once: true });
        return session.run(feeds, options);
      }),
    memory: () => session.memory(),
    close: () => session.close(),
    [Symbol.asyncDispose]: () => session[Symbol.asyncDispose](),
  };
}

/** Runs work with a signal that is aborted by the user, or by the limit, which is an error of its own. */
function limiter(io: Io, name: string, limitSeconds: number) {
  return async <T>(what: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> => {
    const area = new LiveArea(io);
    const late = new AbortController();
    const fromMs = systemClock.monotonicMs();
    const timer = setTimeout(() => late.abort(), 1000 * limitSeconds);
    const told = setInterval(() => {
      const seconds = Math.round((systemClock.monotonicMs() - fromMs) / 1000);
      area.set([`${what} of the model: ${seconds} s of at most ${limitSeconds} s (--limit)`]);
    }, QUIET_MS);
    try {
      return await work(AbortSignal.any([io.signal, late.signal]));
    } catch (error) {
      throw late.signal.aborted ? noEnd(name, what, limitSeconds) : error;
    } finally {
      clearTimeout(timer);
      clearInterval(told);
      area.done();
    }
  };
}

function noEnd(name: string, what: string, limitSeconds: number): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "model/no-end",
      severity: "error",
      where: name,
      text: `${what} did not end within ${limitSeconds} s`,
      fix: "Look for a Loop whose condition never turns false; a model that needs longer gets it with --limit SECONDS.",
    }),
  ]);
}
