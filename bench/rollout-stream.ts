// A reader of a server's stream of events, which remembers when the end of each rollout was seen.

/** The end of a rollout, as the stream tells it. */
export interface RolloutNews {
  readonly model: string;
  readonly kind: string;
  readonly cause: string | null;
  /** When the server decided. */
  readonly atMs: number;
  /** When it was read here. */
  readonly seenMs: number;
}

/** A stream that is being read. */
export interface Stream extends AsyncDisposable {
  /** The next end of a rollout of this model. */
  rollout(model: string): Promise<RolloutNews>;
}

const ENDS: ReadonlySet<string> = new Set(["rolled-back", "promoted", "failed", "aborted"]);

/** Reads the stream of a server until it is disposed of. */
export async function follow(at: string): Promise<Stream> {
  const end = new AbortController();
  const waiting = new Map<string, (news: RolloutNews) => void>();
  const read = async (): Promise<void> => {
    const { body } = await fetch(`${at}/api/v1/events`, { signal: end.signal });
    if (body === null) throw new Error("the stream of events has no body");
    let text = "";
    for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
      const seenMs = Date.now();
      const parts = (text + chunk).split("\n\n");
      text = parts.pop() ?? "";
      for (const part of parts) take(part, seenMs, waiting);
    }
  };
  // As a page does: a reader that was held up while much was told is cut off, and comes again.
  const reading = (async () => {
    while (!end.signal.aborted) await read().catch(() => undefined);
  })();
  return {
    rollout: (model) => new Promise((resolve) => waiting.set(model, resolve)),
    [Symbol.asyncDispose]: async () => {
      end.abort();
      await reading;
    },
  };
}

function take(part: string, seenMs: number, waiting: Map<string, (news: RolloutNews) => void>) {
  const [event, data] = part.split("\n");
  if (event !== "event: rollout" || data === undefined) return;
  // The server's own event (docs/guide/rollout.md).
  const news = JSON.parse(data.slice("data: ".length)) as Omit<RolloutNews, "seenMs">;
  if (!ENDS.has(news.kind)) return;
  waiting.get(news.model)?.({ ...news, seenMs });
  waiting.delete(news.model);
}
