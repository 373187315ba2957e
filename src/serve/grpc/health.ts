// grpc.health.v1.Health: whether the server takes requests, asked once or watched.

import { encodeAnswer } from "../../wire/grpc-messages.ts";
import { RequestError } from "../errors.ts";
import { INFERENCE_SERVICE } from "./methods.ts";

/** The service of the gRPC health checking protocol. */
export const HEALTH_SERVICE = "grpc.health.v1.Health";

type HealthStatus = "SERVING" | "NOT_SERVING" | "SERVICE_UNKNOWN";

/** Services that are asked for: the server as a whole, and the protocol. */
const SERVICES: ReadonlySet<string> = new Set(["", INFERENCE_SERVICE]);

/** Who is told of changes. */
export interface HealthWatcher {
  /** Sends a message. */
  write(message: Buffer): void;
  /** Ends the watch: the server stops. */
  end(): void;
}

/** The health of the server, and who watches it. */
export class Health {
  readonly #ready: () => boolean;
  /** Those who are told, and those who asked for a service that is not here. */
  readonly #watchers = new Map<HealthWatcher, "known" | "unknown">();
  #told: HealthStatus | undefined;
  #stopped = false;

  constructor(ready: () => boolean) {
    this.#ready = ready;
  }

  /** Answers a Check. @throws RequestError 404 for an unknown service, as the protocol has it. */
  check(service: string): Buffer {
    if (!SERVICES.has(service)) throw new RequestError(404, "invalid", "unknown service");
    return answer(this.#status());
  }

  /**
   * Tells the status now and after each change. Of an unknown service the protocol wants to be told
   * so, and the stream stays open.
   */
  watch(service: string, watcher: HealthWatcher): void {
    if (this.#stopped) {
      watcher.end();
      return;
    }
    const known = SERVICES.has(service);
    this.#told = this.#status();
    watcher.write(answer(known ? this.#told : "SERVICE_UNKNOWN"));
    this.#watchers.set(watcher, known ? "known" : "unknown");
  }

  /** A watcher that went away. */
  unwatch(watcher: HealthWatcher): void {
    this.#watchers.delete(watcher);
  }

  /** Something may have changed. */
  refresh(): void {
    const status = this.#status();
    if (status === this.#told) return;
    this.#told = status;
    const message = answer(status);
    for (const [watcher, service] of this.#watchers) {
      if (service === "known") watcher.write(message);
    }
  }

  /** Not serving from now on; watches end. */
  stop(): void {
    this.#stopped = true;
    this.refresh();
    for (const watcher of this.#watchers.keys()) watcher.end();
    this.#watchers.clear();
  }

  #status(): HealthStatus {
    return !this.#stopped && this.#ready() ? "SERVING" : "NOT_SERVING";
  }
}

function answer(status: HealthStatus): Buffer {
  return encodeAnswer("HealthCheck", { status });
}
