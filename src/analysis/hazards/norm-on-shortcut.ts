// A normalisation on the way of the shortcut (He et al. 2016, "Identity mappings in deep residual networks").

import { diagnostic } from "../../base/diagnostic.ts";
import type { Rule } from "./rule.ts";

/** A shortcut that a normalisation rescales by the data. */
export const normOnShortcut: Rule = {
  id: "skip/norm-on-shortcut",
  title: "a normalisation stands on the shortcut",
  check: ({ skips }) =>
    skips
      .filter(({ found }) => found.normOnShortcut)
      .map(({ skip, where }) => ({
        ...diagnostic({
          id: "skip/norm-on-shortcut",
          severity: "warning",
          where,
          text: "a normalisation stands on the shortcut: gradients no longer pass it unchanged",
          fix: "Move the normalisation into the branch.",
        }),
        skip: skip.id,
      })),
};
