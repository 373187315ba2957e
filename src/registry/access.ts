// Tokens and the audit log of a data folder, over one connection to its store.

import { join } from "node:path";
import type { Kysely } from "kysely";
import { type Clock, systemClock } from "../base/clock.ts";
import { AuditLog } from "./audit.ts";
import { makeDataFolder } from "./data-folder.ts";
import { openToRead } from "./reading.ts";
import { closeStore, openStore, type Tables } from "./store.ts";
import { TokenView } from "./token-view.ts";
import { Tokens } from "./tokens.ts";

/** Who may talk to a server, and what they did. */
export class AccessStore implements AsyncDisposable {
  readonly tokens: Tokens;
  readonly view: TokenView;
  readonly audit: AuditLog;
  readonly #db: Kysely<Tables>;

  private constructor(db: Kysely<Tables>, clock: Clock) {
    this.#db = db;
    this.tokens = new Tokens(db, clock);
    this.view = new TokenView(db, clock);
    this.audit = new AuditLog(db, clock);
  }

  /**
   * Opens the store of a data folder, which is created.
   *
   * @throws SkipwayError `environment` when the folder cannot be written or its store not be opened.
   */
  static async open(folder: string, clock: Clock = systemClock): Promise<AccessStore> {
    await makeDataFolder(folder);
    return new AccessStore(await openStore(join(folder, "registry.db")), clock);
  }

  /**
   * Opens the store of a data folder, which is there, to look at it: also where nothing can be written.
   *
   * @throws SkipwayError `environment` when it cannot be read.
   */
  static async openToRead(folder: string): Promise<AccessStore> {
    return new AccessStore(await openToRead(join(folder, "registry.db")), systemClock);
  }

  async close(): Promise<void> {
    await this.view.flush().catch(() => undefined);
    await closeStore(this.#db);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
