// The registry as rollouts see it: which versions there are, and the alias of the one that answers.

import type { Registry } from "../registry/registry.ts";
import type { Releases } from "./controller.ts";

/** The alias of the version that answers where none is named. */
const STABLE = "stable";

/** Versions and alias of a registry. */
export function releasesOf(registry: Registry): Releases {
  return {
    stable: async (model) => (await registry.aliases(model)).get(STABLE),
    version: async (model, number) => {
      const version = await registry.version(model, number);
      if (version === undefined) return undefined;
      const checked = (await registry.lastCheck(version))?.passed === true;
      return { digest: version.digest, checked };
    },
    move: (model, version, by) => registry.setAlias(model, STABLE, version, by),
  };
}
