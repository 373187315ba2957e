// A part of the terminal that is redrawn in place, at most ten times a second. Where that cannot be, as
// in a pipe, nothing is drawn and the command prints plain lines of its own.

import { type Clock, systemClock } from "../../base/clock.ts";
import type { Io } from "../io.ts";

const INTERVAL_MS = 100;
const UP_AND_CLEAR = "\u001b[1A\u001b[2K";
/** SGR sequences (ECMA-48, 8.3.117), which begin with a control, or one character. */
const COLOUR_OR_CHARACTER = /\p{Cc}\[[\d;]*m|./gsu;

/** Lines at the end of the output that change. */
export class LiveArea {
  readonly #io: Io;
  readonly #clock: Clock;
  #shown = 0;
  #lastMs = Number.NEGATIVE_INFINITY;
  #pending: readonly string[] | undefined;

  constructor(io: Io, clock: Clock = systemClock) {
    this.#io = io;
    this.#clock = clock;
  }

  /** Shows these lines in place of the last ones, now or with the next call that is not too soon. */
  set(lines: readonly string[]): void {
    this.#pending = lines;
    const now = this.#clock.monotonicMs();
    if (!this.#io.live || now - this.#lastMs < INTERVAL_MS) return;
    this.#lastMs = now;
    this.#draw();
  }

  /** Shows the last lines and leaves them standing. */
  done(): void {
    if (this.#io.live) this.#draw();
    this.#shown = 0;
    this.#pending = undefined;
  }

  #draw(): void {
    if (this.#pending === undefined) return;
    // A line that wraps, or one that has left the screen, could not be cleared: the cursor counts rows.
    const { columns, rows } = this.#io;
    const lines = this.#pending.slice(-Math.max(1, rows - 1));
    const text = lines.map((line) => `${clipped(line, columns)}\n`).join("");
    this.#io.err(UP_AND_CLEAR.repeat(this.#shown) + text);
    this.#shown = lines.length;
    this.#pending = undefined;
  }
}

/** The first characters of a line that may hold colours; those are kept, and so is their end. */
export function clipped(line: string, width: number): string {
  let left = width;
  return line.replaceAll(COLOUR_OR_CHARACTER, (found) =>
    found.startsWith("\u001b") || left-- > 0 ? found : "",
  );
}

/** `[█████─────]` for a share from 0 to 1. */
export function bar(share: number, width: number): string {
  const full = Math.round(Math.min(1, Math.max(0, share)) * width);
  return `[${"█".repeat(full)}${"─".repeat(width - full)}]`;
}
