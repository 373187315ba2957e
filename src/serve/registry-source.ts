// The registry as a source of models: what an alias points to is what answers.

import { decodeGolden } from "../registry/golden.ts";
import type { Registry } from "../registry/registry.ts";
import type { ModelSource } from "./sources.ts";

/** Which versions of a model are served: the one that answers alone, or all. */
export type VersionPolicy = "stable" | "all";

/** The alias of the version that answers where none is named. */
const STABLE = "stable";

/**
 * Serves what is registered: of each model the version that `stable` points to, the newest where there is no such
 * alias, or all of them.
 *
 * @param only these models; all if left out.
 */
export function registrySource(
  registry: Registry,
  { versions = "stable", only }: { versions?: VersionPolicy; only?: readonly string[] } = {},
): ModelSource {
  return {
    asked: only !== undefined,
    names: async () => only ?? (await registry.models()),
    wanted: async (name) => {
      if (only?.includes(name) === false) return undefined;
      const all = (await registry.versions(name)).map(({ version }) => version);
      const stable = (await registry.aliases(name)).get(STABLE) ?? all.at(-1);
      if (stable === undefined) return undefined;
      return { stable, versions: versions === "all" ? all : [stable] };
    },
    // A version never changes.
    stamp: async (name, version) => `${name} ${version}`,
    version: async (name, number) => {
      const version = await registry.version(name, number);
      if (version === undefined) return undefined;
      const golden = await registry.attachment(version, "golden");
      return {
        name,
        version: number,
        path: await registry.modelPath(version),
        digest: version.digest,
        ...(golden !== undefined && { probe: decodeGolden(golden) }),
      };
    },
  };
}
