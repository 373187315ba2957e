// All rules, in the order in which their findings are told.

import {
  debugRemarks,
  duplicateWeights,
  filledWeights,
  oldOpset,
  trainingLeftovers,
  unused,
} from "./artifact.ts";
import { fixedBatch, mixedRequests, trainingBatchNorm } from "./batch.ts";
import { linearBranch, repeatedOperand } from "./branch.ts";
import { silentBroadcast } from "./broadcast.ts";
import { denseGrowth, innerOutputs, longSkip } from "./footprint.ts";
import { normApart } from "./fusion.ts";
import { rangeGrowth, unequalConcat, unequalScales } from "./quantization.ts";
import { unseeded } from "./random.ts";
import type { Rule } from "./rule.ts";
import { activationOnShortcut, lossyShortcut, needlessProjection } from "./shortcut.ts";
import { SKIP_RULES } from "./skip-rules.ts";
import { deepPostActivation, deepPostNorm, saturatedGate, unscaledStack } from "./stack.ts";
import { castRoundTrip, float64, manyCasts } from "./types.ts";
import { extremeWeights, notFinite, sharedWeight, zeroLayer } from "./weights.ts";

/** All rules. One more rule is one more file, one line here and one page in docs/reference/lint/. */
export const RULES: readonly Rule[] = [
  ...SKIP_RULES,
  activationOnShortcut,
  lossyShortcut,
  needlessProjection,
  linearBranch,
  saturatedGate,
  unequalScales,
  unequalConcat,
  rangeGrowth,
  repeatedOperand,
  unscaledStack,
  deepPostNorm,
  deepPostActivation,
  silentBroadcast,
  longSkip,
  innerOutputs,
  denseGrowth,
  normApart,
  trainingBatchNorm,
  mixedRequests,
  fixedBatch,
  unseeded,
  float64,
  castRoundTrip,
  manyCasts,
  notFinite,
  extremeWeights,
  zeroLayer,
  sharedWeight,
  duplicateWeights,
  unused,
  filledWeights,
  trainingLeftovers,
  debugRemarks,
  oldOpset,
];
