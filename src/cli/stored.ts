// What commands have of a store: opening one that is there, and the version that a name means.

import { existsSync } from "node:fs";
import { userInfo } from "node:os";
import { join, resolve } from "node:path";
import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { printable } from "../base/printable.ts";
import { type ModelVersion, Registry, WHOLE_NUMBER } from "../registry/registry.ts";

/**
 * Opens the store in a folder: `read` for a command that only looks, which changes nothing, `create` for one that makes
 * it where there is none.
 *
 * @throws SkipwayError `input` where there is none.
 */
export async function openStored(
  folder: string,
  to: "read" | "write" | "create",
): Promise<Registry> {
  if (to === "create") return Registry.open(resolve(folder));
  const absolute = storeFolder(folder);
  return to === "read" ? Registry.openToRead(absolute) : Registry.open(absolute);
}

/**
 * The folder of a store that is there.
 *
 * @throws SkipwayError `input` where there is none.
 */
export function storeFolder(folder: string): string {
  const absolute = resolve(folder);
  if (existsSync(join(absolute, "registry.db"))) return absolute;
  throw SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "registry/no-store",
      severity: "error",
      where: printable(folder),
      text: "there is no store in this folder",
      fix: "Name the folder with --data DIR, or register a first model: skipway registry push FILE.",
    }),
  ]);
}

/** Who does this, for the log: the user of the operating system. */
export function actorName(): string {
  try {
    return userInfo().username;
  } catch {
    // A container may run under a number that has no name.
    return `uid ${process.getuid?.() ?? "unknown"}`;
  }
}

/**
 * The version that NAME, NAME@VERSION or NAME@ALIAS means; of a name alone the one called stable, or else the
 * newest. A whole number is a version, also where an older skipway let an alias be called so.
 *
 * @throws SkipwayError `input` where there is none, with what there is.
 */
export async function versionNamed(registry: Registry, text: string): Promise<ModelVersion> {
  const at = text.lastIndexOf("@");
  const name = at < 0 ? text : text.slice(0, at);
  const which = at < 0 ? undefined : text.slice(at + 1);
  const versions = await registry.versions(name);
  const aliases = await registry.aliases(name);
  const wanted =
    which === undefined
      ? aliases.get("stable")
      : WHOLE_NUMBER.test(which)
        ? Number(which)
        : aliases.get(which);
  const found =
    which === undefined && wanted === undefined
      ? versions.at(-1)
      : versions.find(({ version }) => version === wanted);
  if (found !== undefined) return found;
  const models = await registry.models();
  const known =
    versions.length === 0
      ? `the models are ${listed(models)}`
      : `its versions are ${listed(versions.map(({ version }) => String(version)))}, its aliases ${listed([...aliases.keys()])}`;
  throw SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "registry/unknown-version",
      severity: "error",
      where: printable(text),
      text: `is not in the registry; ${known}`,
      fix: "See what is there with: skipway registry list.",
    }),
  ]);
}

const SHOWN = 12;

function listed(names: readonly string[]): string {
  if (names.length === 0) return "none";
  const more = names.length > SHOWN ? ` and ${names.length - SHOWN} more` : "";
  return names.slice(0, SHOWN).join(", ") + more;
}
