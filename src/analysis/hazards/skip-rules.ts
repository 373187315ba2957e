// The warnings about single skips, which the census tells too. Apart from the other rules: a census needs
// none of those.

import { deadBranch } from "./branch.ts";
import { normOnShortcut } from "./norm-on-shortcut.ts";
import { missingPair } from "./quantization.ts";
import type { Examined, Finding, Rule } from "./rule.ts";
import { normAfterSum } from "./stack.ts";

/** The rules, in the order in which their findings are told. */
export const SKIP_RULES: readonly Rule[] = [normOnShortcut, normAfterSum, deadBranch, missingPair];

/** What the rules about skips find. */
export function skipHazards(model: Examined): readonly Finding[] {
  return SKIP_RULES.flatMap((rule) => rule.check(model));
}
