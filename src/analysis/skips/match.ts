// Questions that the finders ask of a merge: where a shortcut into it starts, and what its operands are made of.

import type { ValueName } from "../../graph/graph.ts";
import type { Match } from "./describe.ts";
import type { Flow } from "./flow.ts";
import type { Fusion, Operand } from "./fusion.ts";
import type { Found } from "./skip.ts";
import { fusedActivation, wordOf } from "./vocabulary.ts";

/** Finds the skips that end in a merge; an empty list leaves it to the next finder. */
export type Finder = (flow: Flow, fusion: Fusion) => readonly Found[];

const GATES = new Set(["Sigmoid", "HardSigmoid", "Softmax", "Tanh"]);

/** The nearest source of a shortcut into an operand that another operand reaches through more transforms. */
export function matchOf(
  flow: Flow,
  fusion: Fusion,
  operand: Operand,
  // Where the shortcut ends: in the operand, or in a factor of it.
  { linear = false, end = operand.value }: { linear?: boolean; end?: ValueName } = {},
): Match | undefined {
  const others = fusion.operands.filter((other) => other !== operand);
  for (const step of flow.shortcut(end, linear)) {
    if (!flow.forks(step.value)) continue;
    // Where the shortcut is normed as well, what pools is a part of a difference: pool(n) - n.
    const mixing = fusion.form === "additive" && !step.marks.has("norm");
    const transforms = step.transforms + operand.fusedTransforms;
    const lengths = others.map((other) => {
      const length = flow.longest(step.value, other.value, { mixing });
      return length === undefined ? undefined : length + other.fusedTransforms;
    });
    const branches = others.filter((_, i) => (lengths[i] ?? 0) > transforms);
    const span = Math.max(0, ...lengths.map((length) => length ?? 0));
    if (branches.length > 0) return { fusion, operand, step, span, branches };
  }
  return undefined;
}

/** One match for each source: the one with the shortest way. */
export function bestPerSource(flow: Flow, matches: readonly Match[]): readonly Match[] {
  const best = new Map<ValueName, Match>();
  for (const match of matches) {
    // The runtime takes one value up in several layouts.
    const source = flow.unrounded(match.step.value);
    const before = best.get(source);
    if (before === undefined || match.step.transforms < before.step.transforms) {
      best.set(source, match);
    }
  }
  return [...best.values()];
}

/** The two activation factors of a product. */
export function productOf(flow: Flow, value: ValueName): readonly ValueName[] | undefined {
  const node = flow.producer(flow.unmoved(value));
  if (node === undefined || wordOf(node) !== "Mul") return undefined;
  const inputs = flow.activationInputs(node);
  return inputs.length === 2 ? inputs.map((name) => flow.unrounded(name)) : undefined;
}

/** Whether a value is what a squashing function gives, or a transform that the runtime has fused with one, or a part of that. */
export function isGate(flow: Flow, name: ValueName): boolean {
  for (const { value } of flow.shortcut(name, false)) {
    const node = flow.producer(value);
    if (node !== undefined && GATES.has(fusedActivation(node) ?? wordOf(node))) return true;
  }
  return false;
}
