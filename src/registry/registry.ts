// The registry: versions of models by content, and aliases that move between them. Versions never
// change; every move of an alias is an event, so what served at any time is a query.

import { join } from "node:path";
import type { Kysely, Selectable, Transaction } from "kysely";
import { type Clock, systemClock } from "../base/clock.ts";
import { diagnostic } from "../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import { Blobs, type Stored } from "./blobs.ts";
import { makeDataFolder } from "./data-folder.ts";
import { type Digest, isDigest } from "./digest.ts";
import { openToRead } from "./reading.ts";
import { openStore, type Tables, type VersionTable, writeTo } from "./store.ts";

/** What is known of a version besides its bytes. */
export interface VersionMetadata {
  /** Who or what made it. */
  readonly createdBy: string;
  readonly dataDigest?: Digest;
  readonly seed?: number;
  /** Commit of the code that made it. */
  readonly commit?: string;
  readonly metrics: Readonly<Record<string, number>>;
  readonly notes?: readonly string[];
}

/** A version of a model. */
export interface ModelVersion {
  readonly model: string;
  readonly version: number;
  readonly digest: Digest;
  readonly bytes: number;
  readonly createdMs: number;
  readonly metadata: VersionMetadata;
  /** Digests of what belongs to it, by role: `golden`, `training`, `picture`, … */
  readonly attachments: Readonly<Record<string, Digest>>;
}

/** One move of an alias. */
export interface AliasEvent {
  readonly alias: string;
  readonly version: number;
  readonly atMs: number;
  readonly actor: string;
  readonly reason: string;
}

/** One release check of a version. */
export interface StoredCheck {
  readonly atMs: number;
  readonly actor: string;
  readonly passed: boolean;
  /** Digest of the report, as JSON. */
  readonly report: Digest;
}

/** Who moves an alias, and why. */
export interface AliasMove {
  readonly actor: string;
  readonly reason: string;
  /** Moves it to a version that no check has passed. The event says so, with the reason. */
  readonly override?: boolean;
}

/** What comes with a file that is registered. */
export interface PushOptions {
  readonly metadata: VersionMetadata;
  readonly attachments?: ReadonlyMap<string, Uint8Array>;
}

/** In NAME@WHICH it is a version, never an alias. */
export const WHOLE_NUMBER: RegExp = /^[0-9]+$/;

const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$/;

/** Models, versions and aliases in a folder. */
export class Registry implements AsyncDisposable {
  readonly #db: Kysely<Tables>;
  readonly #blobs: Blobs;
  readonly #clock: Clock;

  private constructor(folder: string, db: Kysely<Tables>, clock: Clock) {
    this.#db = db;
    this.#blobs = new Blobs(join(folder, "blobs"));
    this.#clock = clock;
  }

  /**
   * Opens the registry in a folder, which is created.
   *
   * @throws SkipwayError `environment` when the folder cannot be written or its store not be opened.
   */
  static async open(folder: string, options: { clock?: Clock } = {}): Promise<Registry> {
    await makeDataFolder(folder);
    const db = await openStore(join(folder, "registry.db"));
    return new Registry(folder, db, options.clock ?? systemClock);
  }

  /**
   * Opens a registry that is there, to look at it: also where nothing can be written.
   *
   * @throws SkipwayError `environment` when its store cannot be read.
   */
  static async openToRead(folder: string): Promise<Registry> {
    return new Registry(folder, await openToRead(join(folder, "registry.db")), systemClock);
  }

  /**
   * Registers a file as the next version of a model. The same bytes again are the version that they
   * are already, and `created` is false; what of it was damaged or gone is put back, and told in `repaired`.
   */
  async push(
    model: string,
    file: Uint8Array,
    options: PushOptions,
  ): Promise<{ version: ModelVersion; created: boolean; repaired: readonly string[] }> {
    checkName("model", model);
    // Blobs first: a kill between the two leaves files that nothing names, never a name without file.
    const stored = await this.#blobs.write(file);
    const attached: [string, Stored][] = [];
    for (const [role, bytes] of options.attachments ?? []) {
      attached.push([role, await this.#blobs.write(bytes)]);
    }
    const attachments = Object.fromEntries(attached.map(([role, { digest }]) => [role, digest]));
    const { version, created } = await this.#register(model, file, stored.digest, {
      metadata: JSON.stringify(options.metadata),
      attachments: JSON.stringify(attachments),
    });
    // What was not there is put back where the version names it already.
    const isBack = ({ before, digest }: Stored, named: Digest | undefined): boolean =>
      before === "damaged" || (before === "nothing" && !created && digest === named);
    const repaired = attached.flatMap(([role, one]) =>
      isBack(one, version.attachments[role]) ? [role] : [],
    );
    const itself = isBack(stored, version.digest) ? ["model"] : [];
    return { version, created, repaired: [...itself, ...repaired] };
  }

  #register(
    model: string,
    file: Uint8Array,
    digest: Digest,
    known: Pick<VersionTable, "metadata" | "attachments">,
  ): Promise<{ version: ModelVersion; created: boolean }> {
    return writeTo(this.#db, async (db) => {
      const existing = await db
        .selectFrom("versions")
        .selectAll()
        .where("model", "=", model)
        .where("digest", "=", digest)
        .executeTakeFirst();
      if (existing !== undefined) return { version: versionOf(existing), created: false };
      const last = await db
        .selectFrom("versions")
        .select((e) => e.fn.max("version").as("version"))
        .where("model", "=", model)
        .executeTakeFirst();
      const row: VersionTable = {
        model,
        version: Number(last?.version ?? 0) + 1,
        digest,
        bytes: file.byteLength,
        created_ms: this.#clock.nowMs(),
        ...known,
      };
      await db.insertInto("versions").values(row).execute();
      return { version: versionOf(row), created: true };
    });
  }

  /**
   * Points an alias to a version; no event if it points there already.
   *
   * @throws SkipwayError `check` where the last release check of the version did not pass, or there was
   * none, unless the move overrides that.
   */
  async setAlias(model: string, alias: string, version: number, by: AliasMove): Promise<void> {
    checkName("alias", alias);
    if (WHOLE_NUMBER.test(alias)) throw numberAlias(alias);
    if (by.override === true && by.reason.trim() === "") throw noReason(model, alias);
    const target = await this.version(model, version);
    if (target === undefined) throw unknownVersion(model, version);
    const check = await this.lastCheck(target);
    if (check?.passed !== true && by.override !== true) throw notPassed(target, check);
    const { actor } = by;
    const reason = check?.passed === true ? by.reason : `override: ${by.reason}`;
    await writeTo(this.#db, async (db) => {
      const now = await lastEvent(db, model, alias);
      if (now?.version === version) return;
      const event = { model, alias, version, at_ms: this.#clock.nowMs(), actor, reason };
      await db.insertInto("alias_events").values(event).execute();
    });
  }

  /** Keeps the report of a release check beside its version. */
  async recordCheck(
    { model, version }: ModelVersion,
    check: { readonly actor: string; readonly passed: boolean; readonly report: Uint8Array },
  ): Promise<void> {
    const { digest: report } = await this.#blobs.write(check.report);
    const { actor } = check;
    await writeTo(this.#db, async (db) => {
      const row = { model, version, at_ms: this.#clock.nowMs(), actor, report };
      await db
        .insertInto("checks")
        .values({ ...row, passed: Number(check.passed) })
        .execute();
    });
  }

  /** The last release check of a version. */
  async lastCheck({ model, version }: ModelVersion): Promise<StoredCheck | undefined> {
    const row = await this.#db
      .selectFrom("checks")
      .selectAll()
      .where("model", "=", model)
      .where("version", "=", version)
      .orderBy("id", "desc")
      .executeTakeFirst();
    if (row === undefined) return undefined;
    if (!isDigest(row.report)) throw damagedVersion({ model, version }, "its check has no digest");
    const { at_ms: atMs, actor, report } = row;
    return { atMs, actor, passed: row.passed === 1, report };
  }

  /** The report of a check, whole. */
  checkReport(check: StoredCheck): Promise<Uint8Array> {
    return this.#blobs.read(check.report);
  }

  /** The version that an alias points to. */
  async resolve(model: string, alias: string): Promise<ModelVersion | undefined> {
    const event = await lastEvent(this.#db, model, alias);
    return event === undefined ? undefined : this.version(model, event.version);
  }

  /** The version that an alias pointed to at a time. */
  async aliasAt(model: string, alias: string, atMs: number): Promise<number | undefined> {
    const event = await this.#db
      .selectFrom("alias_events")
      .select("version")
      .where("model", "=", model)
      .where("alias", "=", alias)
      .where("at_ms", "<=", atMs)
      .orderBy("id", "desc")
      .executeTakeFirst();
    return event?.version;
  }

  /** Every move of an alias, oldest first. */
  async aliasEvents(model: string, alias: string): Promise<AliasEvent[]> {
    const rows = await this.#db
      .selectFrom("alias_events")
      .selectAll()
      .where("model", "=", model)
      .where("alias", "=", alias)
      .orderBy("id")
      .execute();
    return rows.map(({ version, at_ms, actor, reason }) => ({
      alias,
      version,
      atMs: at_ms,
      actor,
      reason,
    }));
  }

  /** One version. */
  async version(model: string, version: number): Promise<ModelVersion | undefined> {
    const row = await this.#db
      .selectFrom("versions")
      .selectAll()
      .where("model", "=", model)
      .where("version", "=", version)
      .executeTakeFirst();
    return row === undefined ? undefined : versionOf(row);
  }

  /** All versions of a model, oldest first. */
  async versions(model: string): Promise<ModelVersion[]> {
    const rows = await this.#db
      .selectFrom("versions")
      .selectAll()
      .where("model", "=", model)
      .orderBy("version")
      .execute();
    return rows.map(versionOf);
  }

  /** Names of all models. */
  async models(): Promise<string[]> {
    const rows = await this.#db.selectFrom("versions").select("model").distinct().execute();
    return rows.map((row) => row.model).sort();
  }

  /** Where each alias of a model points. */
  async aliases(model: string): Promise<ReadonlyMap<string, number>> {
    const rows = await this.#db
      .selectFrom("alias_events")
      .select(["alias", "version"])
      .where("model", "=", model)
      .orderBy("id")
      .execute();
    return new Map(rows.map((row) => [row.alias, row.version]));
  }

  /**
   * The file of a version, its digest checked now.
   *
   * @throws SkipwayError `input` `registry/digest-mismatch` when it was changed.
   */
  async modelPath(version: ModelVersion): Promise<string> {
    await this.#blobs.read(version.digest);
    return this.#blobs.path(version.digest);
  }

  /** The bytes of a version's file, checked. */
  modelBytes(version: ModelVersion): Promise<Uint8Array> {
    return this.#blobs.read(version.digest);
  }

  /** What belongs to a version in a role, checked; undefined if there is nothing. */
  async attachment(version: ModelVersion, role: string): Promise<Uint8Array | undefined> {
    const digest = version.attachments[role];
    return digest === undefined ? undefined : this.#blobs.read(digest);
  }

  async close(): Promise<void> {
    await this.#db.destroy();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

async function lastEvent(
  db: Kysely<Tables> | Transaction<Tables>,
  model: string,
  alias: string,
): Promise<{ version: number } | undefined> {
  return db
    .selectFrom("alias_events")
    .select("version")
    .where("model", "=", model)
    .where("alias", "=", alias)
    .orderBy("id", "desc")
    .executeTakeFirst();
}

/** @throws SkipwayError `environment` for a row that this program did not write. */
function versionOf(row: Selectable<VersionTable>): ModelVersion {
  let metadata: VersionMetadata;
  let attachments: Record<string, Digest>;
  try {
    // Written by `push` from these types.
    metadata = JSON.parse(row.metadata) as VersionMetadata;
    attachments = JSON.parse(row.attachments) as Record<string, Digest>;
  } catch (cause) {
    throw damagedVersion(row, `what is known of it cannot be read: ${messageOf(cause)}`);
  }
  // Digests become paths.
  const strange = [row.digest, ...Object.values(attachments ?? {})].find((one) => !isDigest(one));
  if (strange !== undefined) throw damagedVersion(row, `${strange} is no digest`);
  return {
    model: row.model,
    version: row.version,
    digest: row.digest,
    bytes: row.bytes,
    createdMs: row.created_ms,
    metadata,
    attachments,
  };
}

/** The error of a version whose entry in the store is not whole. */
export function damagedVersion(
  { model, version }: Pick<ModelVersion, "model" | "version">,
  text: string,
): SkipwayError {
  return SkipwayError.fromDiagnostics("environment", [
    diagnostic({
      id: "registry/damaged-version",
      severity: "error",
      where: `${model} version ${version}`,
      text: `its entry in the store is damaged: ${text}`,
      fix: "Restore the data folder from a copy, or delete it and start again.",
    }),
  ]);
}

function checkName(kind: string, name: string): void {
  if (NAME.test(name)) return;
  throw SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "registry/name",
      severity: "error",
      where: `${kind} "${name.slice(0, 64)}"`,
      text: "is no name: letters, digits, dot, hyphen and underscore, at most 128, no dot in front",
      fix: kind === "model" ? "Rename the file, or give another name with --name." : CHOOSE_ALIAS,
    }),
  ]);
}

const CHOOSE_ALIAS = "Choose another name for the alias, such as stable or canary.";

function numberAlias(alias: string): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "registry/alias-number",
      severity: "error",
      where: `alias "${alias}"`,
      text: "a whole number is a version in NAME@VERSION, so no alias is called so",
      fix: CHOOSE_ALIAS,
    }),
  ]);
}

function noReason(model: string, alias: string): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "registry/no-reason",
      severity: "error",
      where: `${model}, alias "${alias}"`,
      text: "an override without a reason would tell nobody why",
      fix: 'Say why: --override "reason". It is kept in the log.',
    }),
  ]);
}

function notPassed({ model, version }: ModelVersion, check: StoredCheck | undefined): SkipwayError {
  return SkipwayError.fromDiagnostics("check", [
    diagnostic({
      id: "registry/not-passed",
      severity: "error",
      where: `${model} version ${version}`,
      text:
        check === undefined
          ? "has not been through a release check, so no alias is moved to it"
          : "did not pass its last release check, so no alias is moved to it",
      fix: `Run: skipway check ${model}@${version}. To move the alias all the same, give --override "reason": it is logged.`,
    }),
  ]);
}

function unknownVersion(model: string, version: number): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "registry/unknown-version",
      severity: "error",
      where: `${model} version ${version}`,
      text: "is not in the registry",
      fix: "Register the model first.",
    }),
  ]);
}
