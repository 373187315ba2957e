// When to look at the processes of a version: often at whether they answer at all, which costs nothing, and less often
// with a question of the server's own, which costs a run.

const LOOK_MS = 500;

/** The looks of one version. Times in milliseconds. */
export class Looks {
  /** From one look to the next. */
  readonly everyMs: number;
  readonly #askEveryMs: number;
  #lookedMs: number;
  #askedMs: number;

  constructor(askEveryMs: number, nowMs: number) {
    this.everyMs = Math.min(LOOK_MS, askEveryMs);
    this.#askEveryMs = askEveryMs;
    this.#lookedMs = nowMs;
    this.#askedMs = nowMs;
  }

  /**
   * What this look is for; undefined where it says nothing: the server was held up itself, or the machine slept, and
   * answers may lie here unread.
   */
  look(nowMs: number): "ask" | "watch" | undefined {
    const late = nowMs - this.#lookedMs > this.everyMs + this.#askEveryMs / 2;
    this.#lookedMs = nowMs;
    if (late) return undefined;
    // Half a look early is closer to the time than half a look late.
    if (nowMs - this.#askedMs < this.#askEveryMs - this.everyMs / 2) return "watch";
    this.#askedMs = nowMs;
    return "ask";
  }
}
