// Where models come from: the registry, files named on the command line, or what a program gives. A source says
// which versions of a name ought to be served; the fleet does it.

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { diagnostic } from "../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import type { ServedModel } from "./hosting.ts";

/** The versions of one name that ought to be served. */
export interface WantedModel {
  /** The version that answers where none is named. */
  readonly stable: number;
  /** Stable among them. A version that cannot be had is an error of its own, and the others stay. */
  readonly versions: readonly number[];
}

/** Where models come from. */
export interface ModelSource {
  /** Whether each name was asked for by name: a server that lacks one is not ready. Left out: no. */
  readonly asked?: boolean;
  /** Every name that can be loaded. */
  names(): Promise<readonly string[]>;
  /** What ought to be served under a name; undefined for a name that is not there. */
  wanted(name: string): Promise<WantedModel | undefined>;
  /** What changes whenever a version's file does; found without reading all of it. */
  stamp(name: string, version: number): Promise<string | undefined>;
  /**
   * A version, its file checked.
   *
   * @throws SkipwayError when its file is not what it was.
   */
  version(name: string, version: number): Promise<ServedModel | undefined>;
}

/** Models that a program gives one by one. */
export class GivenModels implements ModelSource {
  readonly #models = new Map<string, Map<number, ServedModel>>();

  /** Adds a version, or puts another file in its place. */
  add(model: ServedModel): void {
    const versions = this.#models.get(model.name) ?? new Map<number, ServedModel>();
    this.#models.set(model.name, versions.set(model.version, model));
  }

  async names(): Promise<readonly string[]> {
    return [...this.#models.keys()];
  }

  async wanted(name: string): Promise<WantedModel | undefined> {
    const versions = [...(this.#models.get(name)?.keys() ?? [])].sort((a, b) => a - b);
    const stable = versions.at(-1);
    return stable === undefined ? undefined : { stable, versions };
  }

  async stamp(name: string, version: number): Promise<string | undefined> {
    return this.#models.get(name)?.get(version)?.digest;
  }

  async version(name: string, version: number): Promise<ServedModel | undefined> {
    return this.#models.get(name)?.get(version);
  }
}

/** Files, each version 1 of its name; the digest is that of the file as it is when it is loaded. */
export function fileSource(files: ReadonlyMap<string, string>): ModelSource {
  return {
    asked: true,
    names: async () => [...files.keys()],
    wanted: async (name) => (files.has(name) ? { stable: 1, versions: [1] } : undefined),
    stamp: async (name) => {
      const found = await stat(files.get(name) ?? "").catch(() => undefined);
      return found && `${found.ino} ${found.size} ${found.mtimeMs}`;
    },
    version: async (name, version) => {
      const path = files.get(name);
      if (path === undefined || version !== 1) return undefined;
      return { name, version, path, digest: await digestOf(path) };
    },
  };
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  try {
    await pipeline(createReadStream(path), hash);
  } catch (cause) {
    const found = diagnostic({
      id: "serve/unreadable",
      severity: "error",
      where: path,
      text: `cannot be read: ${messageOf(cause)}`,
      fix: "Check the path and the rights of the file.",
    });
    throw new SkipwayError("input", `${found.where}: ${found.text}`, {
      cause,
      diagnostics: [found],
    });
  }
  return `sha256:${hash.digest("hex")}`;
}
