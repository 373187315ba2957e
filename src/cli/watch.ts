// Following a rollout to its end, also over a restart of the server: the rollout goes on then, and so does the watch.

import { setTimeout as pause } from "node:timers/promises";
import { systemClock } from "../base/clock.ts";
import { SkipwayError } from "../base/errors.ts";
import type { RolloutStatus } from "../rollout/document.ts";
import type { Io } from "./io.ts";
import { EXIT } from "./render/findings.ts";
import { LiveArea } from "./render/live.ts";
import { progressLine } from "./render/rollout.ts";

const WATCH_MS = 250;
/** Without an answer for so long nobody starts the server again. */
const PATIENCE_MS = 60_000;
const AGAIN_MS_MAX = 4000;

/**
 * Follows a rollout to its end, and sets the exit code.
 *
 * @param ask the rollout as it is now.
 * @throws whatever `ask` throws, where that does not pass.
 */
export async function watchRollout<T extends RolloutStatus>(
  io: Io,
  begun: T,
  ask: () => Promise<T>,
  patienceMs: number = PATIENCE_MS,
): Promise<T> {
  const area = new LiveArea(io);
  const tell = (line: string): void => {
    area.done();
    io.err(`${line}\n`);
  };
  let told = "";
  let now = begun;
  while (!now.over && !io.signal.aborted) {
    const line = progressLine(now);
    area.set([line]);
    const milestone = `${now.phase} ${now.step}`;
    if (!io.live && milestone !== told) io.err(`${line}\n`);
    told = milestone;
    await waitFor(WATCH_MS, io.signal);
    now = (await askAgain(ask, { tell, signal: io.signal, patienceMs })) ?? now;
  }
  area.done();
  if (now.phase !== "promoted")
    process.exitCode = io.signal.aborted ? EXIT.interrupted : EXIT.check;
  return now;
}

/** Asks until there is an answer; undefined where a signal ends that. */
async function askAgain<T>(
  ask: () => Promise<T>,
  around: {
    tell(line: string): void;
    readonly signal: AbortSignal;
    readonly patienceMs: number;
  },
): Promise<T | undefined> {
  const { tell, signal, patienceMs } = around;
  const untilMs = systemClock.monotonicMs() + patienceMs;
  let waitMs = WATCH_MS;
  for (let failures = 0; !signal.aborted; failures++) {
    try {
      const answer = await ask();
      if (failures > 0) tell("The server answers again.");
      return answer;
    } catch (error) {
      // What is wrong with the question stays wrong.
      const passes = error instanceof SkipwayError && error.code === "environment";
      if (!passes || systemClock.monotonicMs() + waitMs > untilMs) throw error;
      if (failures === 0) {
        tell(`${error.message}; it is asked again for up to ${Math.round(patienceMs / 1000)} s.`);
      }
      await waitFor(waitMs, signal);
      waitMs = Math.min(2 * waitMs, AGAIN_MS_MAX);
    }
  }
  return undefined;
}

/** Waits, or until the signal. */
async function waitFor(ms: number, signal: AbortSignal): Promise<void> {
  await pause(ms, undefined, { signal }).catch(() => undefined);
}
