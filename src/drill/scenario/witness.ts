// Who watches a drill: a reader of the server's stream of events, and a receiver of its webhook, which checks
// signatures and refuses the first delivery of all, so that it has to come again.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer, get, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { Clock } from "../../base/clock.ts";
import type { SeenEvent } from "./record.ts";

/** What is kept of an event while deliveries of it still come. */
type Draft = { -readonly [K in keyof SeenEvent]: SeenEvent[K] };

const SECRET = "a drill of skipway, known to nobody else";
const BODY_BYTES_MAX = 1_048_576;

/** Hears of a rollout in every way that there is. */
export class Witness {
  readonly #clock: Clock;
  readonly #model: string;
  readonly #events = new Map<string, Draft>();
  readonly #listeners = new Set<() => void>();
  readonly #receiver = createServer((request, response) => {
    void bodyOf(request).then((body) => {
      response.writeHead(this.#received(request, body)).end();
    });
  });
  #stream: ReturnType<typeof get> | undefined;
  #refused = false;
  #badSignatures = 0;

  constructor(model: string, clock: Clock) {
    this.#model = model;
    this.#clock = clock;
  }

  /** Opens the receiver; gives the file that tells a server of it. */
  async open(): Promise<string> {
    await new Promise<void>((resolve) => {
      this.#receiver.listen(0, "127.0.0.1", resolve);
    });
    // A server that listens on a port of an address has one.
    const { port } = this.#receiver.address() as AddressInfo;
    const url = `http://127.0.0.1:${port}/events`;
    const webhook = { name: "drill", url, keyId: "drill", secret: SECRET, privateNetwork: true };
    return JSON.stringify({ webhooks: [webhook] });
  }

  /** Reads the stream of a server; resolves once it has begun. */
  follow(server: URL): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#stream = get(new URL("/api/v1/events", server), (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => {
          text += chunk;
          const parts = text.split("\n\n");
          text = parts.pop() ?? "";
          for (const part of parts) this.#streamed(part);
        });
        response.once("error", () => undefined);
        resolve();
      });
      this.#stream.once("error", reject);
    });
  }

  /** What has come so far, in the order in which it happened. */
  events(): readonly SeenEvent[] {
    return [...this.#events.values()].sort((a, b) => a.atMs - b.atMs);
  }

  get badSignatures(): number {
    return this.#badSignatures;
  }

  /** Resolves once it holds, or the time is over. @returns whether it holds. */
  async until(holds: () => boolean, limitMs: number): Promise<boolean> {
    if (holds()) return true;
    return new Promise((resolve) => {
      const end = (held: boolean): void => {
        clearTimeout(timer);
        this.#listeners.delete(look);
        resolve(held);
      };
      const look = (): void => {
        if (holds()) end(true);
      };
      const timer = setTimeout(() => end(holds()), limitMs);
      this.#listeners.add(look);
    });
  }

  close(): void {
    this.#stream?.destroy();
    this.#receiver.closeAllConnections();
    this.#receiver.close();
  }

  #streamed(part: string): void {
    const lines = part.split("\n");
    if (!lines.includes("event: rollout")) return;
    const data = lines.find((line) => line.startsWith("data: "))?.slice(6);
    const event = data === undefined ? undefined : eventOf(data, this.#model);
    if (event === undefined) return;
    const known = this.#known(event);
    known.streamMs ??= this.#clock.nowMs();
    this.#notify();
  }

  /** The status that the sender gets. */
  #received({ headers }: IncomingMessage, body: string): number {
    const id = String(headers["webhook-id"]);
    const signed = `${id}.${headers["webhook-timestamp"]}.${body}`;
    const wanted = `v1,${createHmac("sha256", SECRET).update(signed).digest("base64")}`;
    if (!equal(wanted, String(headers["webhook-signature"]))) {
      this.#badSignatures++;
      return 401;
    }
    const event = eventOf(body, this.#model);
    if (event === undefined) return 204;
    if (!this.#refused) {
      this.#refused = true;
      return 503;
    }
    const known = this.#known(event);
    known.webhookMs ??= this.#clock.nowMs();
    known.deliveries++;
    this.#notify();
    return 204;
  }

  #known(event: SeenEvent): Draft {
    const found = this.#events.get(event.id) ?? { ...event };
    this.#events.set(event.id, found);
    return found;
  }

  #notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}

function equal(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) return "";
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** An event of the rollout of a model; undefined for all others. */
function eventOf(text: string, model: string): SeenEvent | undefined {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof document !== "object" || document === null) return undefined;
  const fields = new Map<string, unknown>(Object.entries(document));
  const [id, atMs, kind] = ["id", "atMs", "kind"].map((name) => fields.get(name));
  const own = fields.get("model") === model && typeof fields.get("rollout") === "string";
  if (!own || typeof kind !== "string" || typeof atMs !== "number") return undefined;
  const cause = fields.get("cause");
  return {
    id: String(id),
    atMs,
    kind,
    cause: typeof cause === "string" ? cause : null,
    text: String(fields.get("text") ?? ""),
    streamMs: null,
    webhookMs: null,
    deliveries: 0,
  };
}
