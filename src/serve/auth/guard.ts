// The door of a server: finds out who asks, has it decided, and sees that what changes state is written
// down. HTTP and gRPC go through the same one.

import { type Clock, systemClock } from "../../base/clock.ts";
import type { AuditLog, AuditRecord } from "../../registry/audit.ts";
import type { TokenView } from "../../registry/token-view.ts";
import { RequestError } from "../errors.ts";
import { type Asker, type Credentials, decide, type Reach } from "./decide.ts";
import { changesState, grpcRole, type RouteRole } from "./roles.ts";

/** Where tokens and the audit log are; a server without a data folder has neither. */
export interface GuardStore {
  readonly view: TokenView;
  readonly audit: AuditLog;
}

/** What a request shows, before its token is looked up. */
export interface Knock extends Omit<Asker, "credentials"> {
  /** The header Authorization. */
  readonly authorization: string | undefined;
  /** A token that the browser keeps for us. */
  readonly cookie: string | undefined;
}

/** Entries for refused requests: so many at once and one a second, or they would fill the disk. */
const REFUSED_BURST = 60;
const REFUSED_EACH_MS = 1000;

/** Lets in, or not. Closed until it is told how the server is reached. */
export class Guard {
  readonly #store: GuardStore | undefined;
  readonly #clock: Clock;
  #reach: Reach = "tokens";
  #refusedLeft = REFUSED_BURST;
  #refusedMs: number;

  constructor(store?: GuardStore, clock: Clock = systemClock) {
    this.#store = store;
    this.#clock = clock;
    this.#refusedMs = clock.monotonicMs();
  }

  /** How the server is reached from now on. */
  open(reach: Reach): void {
    this.#reach = reach;
  }

  get reach(): Reach {
    return this.#reach;
  }

  /** Whether some token that works is an admin's. */
  async hasAdmin(): Promise<boolean> {
    return (await this.#store?.view.hasRole("admin")) ?? false;
  }

  /**
   * The name under which a request is let in; a promise where a token is looked up.
   *
   * @throws RequestError 401 or 403, 503 where the tokens cannot be read; or rejects with it.
   */
  admit(knock: Knock): string | Promise<string> {
    const secret = secretOf(knock);
    // Without a token there is nothing to look up, and nothing to wait for.
    if (secret === undefined) return this.#decided(knock, undefined);
    return this.#credentials(secret).then((credentials) => this.#decided(knock, credentials));
  }

  #decided(knock: Knock, credentials: Asker["credentials"]): string {
    const { role, safe, secure, peer, site } = knock;
    // Field by field: to spread an object is slow (docs/design/serving-speed.md).
    const decision = decide(this.#reach, { role, safe, secure, peer, credentials, site });
    if ("actor" in decision) return decision.actor;
    throw new RequestError(decision.status, "unauthorized", decision.text);
  }

  /**
   * The same for a call of gRPC, by the full path of its method. Gives, for what changes state, how to write down
   * how it ended.
   *
   * @throws RequestError as `admit`.
   */
  async admitCall(
    method: string,
    {
      admitted,
      ...call
    }: {
      authorization: string | undefined;
      peer: string;
      secure: boolean;
      admitted?(actor: string): void;
    },
  ): Promise<((result: string) => Promise<void>) | undefined> {
    const role = grpcRole(method) ?? "admin";
    const record = { action: `gRPC ${method}`, details: { peer: call.peer } };
    let actor: string;
    try {
      actor = await this.admit({ role, safe: false, cookie: undefined, ...call });
    } catch (error) {
      if (error instanceof RequestError) {
        await this.record(role, { ...record, actor: "unknown", result: String(error.status) });
      }
      throw error;
    }
    admitted?.(actor);
    if (!changesState(role)) return undefined;
    return (result) => this.record(role, { ...record, actor, result });
  }

  /** Writes down a use of a route that changes state; of those that are refused not every one. */
  async record(role: RouteRole, record: AuditRecord): Promise<void> {
    if (this.#store === undefined || !changesState(role)) return;
    const refused = record.result === "401" || record.result === "403";
    if (refused && !this.#refusedMayBeWritten()) return;
    await this.#store.audit.append({ ...record, details: { ...record.details, role } });
  }

  /** Whose token a text is. */
  async identify(secret: string): Promise<Credentials["identity"] | undefined> {
    try {
      return await this.#store?.view.identify(secret);
    } catch (cause) {
      const text = "the tokens cannot be read now";
      throw new RequestError(503, "not-ready", text, { retryAfterSeconds: 1, cause });
    }
  }

  async #credentials({ secret, from }: Secret): Promise<Asker["credentials"]> {
    const identity = await this.identify(secret);
    if (identity !== undefined) return { identity, from };
    // A cookie that is no longer good is what a browser still has from some time ago.
    return from === "cookie" ? undefined : "wrong";
  }

  #refusedMayBeWritten(): boolean {
    const now = this.#clock.monotonicMs();
    const earned = Math.floor((now - this.#refusedMs) / REFUSED_EACH_MS);
    if (earned > 0) {
      this.#refusedLeft = Math.min(REFUSED_BURST, this.#refusedLeft + earned);
      this.#refusedMs += earned * REFUSED_EACH_MS;
    }
    if (this.#refusedLeft <= 0) return false;
    this.#refusedLeft--;
    return true;
  }
}

/** A token as a request shows it. */
interface Secret {
  readonly secret: string;
  readonly from: "header" | "cookie";
}

function secretOf({ authorization, cookie }: Knock): Secret | undefined {
  const bearer =
    authorization === undefined ? undefined : /^bearer +(\S+) *$/i.exec(authorization)?.[1];
  if (bearer !== undefined) return { secret: bearer, from: "header" };
  return cookie === undefined ? undefined : { secret: cookie, from: "cookie" };
}
