// Hazards that only depth makes: where norms and activations stand in long stacks of blocks, and what grows
// along them.

import { diagnostic } from "../../base/diagnostic.ts";
import type { Node, ValueName } from "../../graph/graph.ts";
import { isActivation, isMove, isNorm } from "../skips/vocabulary.ts";
import { type Merging, named } from "./nodes.ts";
import type { ExaminedSkip, Rule } from "./rule.ts";
import { statisticsOf } from "./statistics.ts";

/**
 * With 6 layers of encoder and decoder each, 18 attention blocks in all, post-norm transformers train; with 12 each they
 * fail (Liu et al. 2020, "Understanding the Difficulty of Training Transformers", WMT'14 English-German).
 */
const POST_NORM_BLOCKS = 18;
/** Pre-activation matters from about 110 layers on: 54 blocks of two (He et al. 2016, table 3). */
const POST_ACTIVATION_BLOCKS = 100;
/** Without norms, 32 blocks needed a scale of 0.1 (Lim et al. 2017, EDSR, section 3.2). */
const UNSCALED_BLOCKS = 32;
/** A sigmoid is then within 0.0004 of its end. */
const SATURATED = 8;

const isSum = ({ found }: ExaminedSkip): boolean =>
  found.kind !== "concat" && found.kind !== "conditional";

/** As DeepNorm does; a factor on the branch does not help the shortcut. */
const isShortcutScaled = ({ gamma }: ExaminedSkip["found"]): boolean =>
  gamma.some(({ on }) => on === "shortcut");

/** y = norm(x + f(x)) all the way up a deep transformer. */
export const deepPostNorm: Rule = {
  id: "norm/deep-post-norm",
  title: "a deep transformer normalises after each sum",
  check: ({ skips }) => {
    const blocks = skips.filter(
      ({ found }) =>
        found.norm === "post" && found.block === "attention" && !isShortcutScaled(found),
    );
    const [first] = blocks;
    if (first === undefined || blocks.length <= POST_NORM_BLOCKS) return [];
    return [
      diagnostic({
        id: "norm/deep-post-norm",
        severity: "warning",
        where: first.where,
        text: `${blocks.length} attention blocks normalise after the sum: gradients pass all those norms, and training diverges without a warm-up that suits`,
        fix: "Normalise at the start of the branch (pre-norm), or scale the shortcut as DeepNorm does; the weights must be trained anew.",
      }),
    ];
  },
};

/** A batch norm between one sum and the next source: no identity from block to block is left. */
export const normAfterSum: Rule = {
  id: "norm/after-sum",
  title: "a BatchNormalization stands between the sums of two blocks",
  check: ({ skips }) => {
    // A projection may start behind a norm, as in the first block of a stage of pre-activation networks.
    const identities = skips.filter(({ found }) => found.kind === "identity");
    const sources = new Set(identities.map(({ found }) => found.source));
    return skips.filter(isSum).flatMap(({ skip, found, where, merging }) => {
      if (!isNormalisedStream(merging, found.mergeOutput, sources)) return [];
      const diagnosis = diagnostic({
        id: "norm/after-sum",
        severity: "warning",
        where,
        text: "a BatchNormalization follows the sum, on the way to the next block: signal and gradient are rescaled at every block",
        fix: "Move it to the start or the end of the branch; the weights must be trained anew.",
      });
      return [{ ...diagnosis, skip: skip.id }];
    });
  },
};

function isNormalisedStream(
  merging: Merging,
  sum: ValueName,
  sources: ReadonlySet<ValueName>,
): boolean {
  let normed = false;
  for (let node = nextOf(merging, sum); node !== undefined; ) {
    const [value = ""] = node.outputs;
    if (node.op === "BatchNormalization") normed = true;
    else if (!isActivation(node)) return false;
    if (sources.has(value)) return normed;
    node = nextOf(merging, value);
  }
  return false;
}

/** The node that alone takes a value up, behind those that only move it. */
function nextOf({ flow }: Merging, value: ValueName): Node | undefined {
  let node = flow.onlyReader(value);
  while (node !== undefined && isMove(node)) node = flow.onlyReader(node.outputs[0] ?? "");
  return node;
}

/** Very deep stacks whose shortcuts all pass an activation. */
export const deepPostActivation: Rule = {
  id: "norm/deep-post-activation",
  title: "a very deep network activates after each sum",
  check: ({ skips }) => {
    const blocks = skips.filter((one) => isSum(one) && one.found.activation === "post");
    const [first] = blocks;
    if (first === undefined || blocks.length < POST_ACTIVATION_BLOCKS) return [];
    return [
      diagnostic({
        id: "norm/deep-post-activation",
        severity: "info",
        where: first.where,
        text: `${blocks.length} blocks activate after the sum: from about a hundred layers on, pre-activation trains better`,
        fix: "Put norm and activation before the layers of the branch; the weights must be trained anew.",
      }),
    ];
  },
};

/** Sums upon sums without a norm or a scale: the variance doubles from block to block at the start. */
export const unscaledStack: Rule = {
  id: "skip/unscaled-stack",
  title: "a deep stack adds up branches without norm or scale",
  check: ({ skips }) => {
    const lengths = new Map<ValueName, number>();
    let deepest: ExaminedSkip | undefined;
    let most = 0;
    for (const one of skips) {
      const { found, merging } = one;
      if (!isSum(one) || found.activation === "post" || !isUnscaled(one)) continue;
      const length = 1 + (lengths.get(merging.flow.unrounded(found.source)) ?? 0);
      lengths.set(found.mergeOutput, length);
      if (length > most) [most, deepest] = [length, one];
    }
    if (deepest === undefined || most < UNSCALED_BLOCKS) return [];
    return [
      diagnostic({
        id: "skip/unscaled-stack",
        severity: "info",
        where: deepest.where,
        text: `${most} branches in a row are added without norm or scale: the signal can grow with every block`,
        fix: "Scale the branches (0.1, or a learned factor that starts at zero), or normalise.",
      }),
    ];
  },
};

function isUnscaled({ found, merging }: ExaminedSkip): boolean {
  if (found.kind === "gated" || found.gamma.length > 0 || found.norm !== "none") return false;
  return named(merging, found.main).every((node) => {
    const scales = (node.op === "Mul" || node.op === "Div") && !isGating(merging, node);
    return !isNorm(node) && !scales;
  });
}

const isGating = ({ flow }: Merging, node: Node): boolean => flow.activationInputs(node).length > 1;

/** A gate whose offset decides it, whatever comes in. */
export const saturatedGate: Rule = {
  id: "skip/saturated-gate",
  title: "the offset of a gate holds it open or shut",
  check: ({ skips }) =>
    skips.flatMap((one) => {
      const end = one.found.kind === "gated" ? heldAt(one) : undefined;
      if (end === undefined) return [];
      const diagnosis = diagnostic({
        id: "skip/saturated-gate",
        severity: "info",
        where: one.where,
        text: `all offsets of the gate are beyond ${end === "open" ? "" : "-"}${SATURATED}: it stays ${end} unless its weights are as large, and no gradient passes it`,
        fix: "If the model is trained, replace the gate by a constant; before training, start offsets between -1 and -4.",
      });
      return [{ ...diagnosis, skip: one.skip.id }];
    }),
};

function heldAt({ found, merging }: ExaminedSkip): "open" | "shut" | undefined {
  // The products with the gate stand right before the merge.
  const operands = merging.fusions.get(found.merge)?.operands ?? [];
  const products = operands.flatMap(({ value }) => merging.flow.producer(value) ?? []);
  const nodes = [...products, ...named(merging, found.main)];
  for (const node of nodes) {
    for (const name of merging.flow.activationInputs(node)) {
      const gate = merging.flow.producer(name);
      if (gate?.op !== "Sigmoid" && gate?.op !== "HardSigmoid") continue;
      const layer = merging.flow.producer(gate.inputs[0] ?? "");
      const offset = statisticsOf(merging.graph.initializers.get(layer?.inputs[2] ?? ""));
      if (offset === undefined || offset.elements === 0) continue;
      if (offset.most <= -SATURATED) return "shut";
      if (offset.least >= SATURATED) return "open";
    }
  }
  return undefined;
}
