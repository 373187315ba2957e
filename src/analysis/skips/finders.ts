// The kinds of skips, most special first. A finder looks at one merge and says which skips end there.

import type { Node, ValueName } from "../../graph/graph.ts";
import { describe, type Match } from "./describe.ts";
import type { Flow } from "./flow.ts";
import type { Fusion, Operand } from "./fusion.ts";
import { bestPerSource, type Finder, isGate, matchOf, productOf } from "./match.ts";
import { mixedStreams } from "./mixed.ts";
import { weighedStreams } from "./streams.ts";
import { wordOf } from "./vocabulary.ts";

/** y = x + f(x), also with a projection, a pooling or padding on the shortcut: one skip per source. */
export const additive: Finder = (flow, fusion) => {
  if (fusion.form !== "additive" || isInterpolated(flow, fusion)) return [];
  const matches = fusion.operands.flatMap(
    (operand) => matchOf(flow, fusion, operand, { linear: true }) ?? [],
  );
  return bestPerSource(flow, matches).map((match) => describe(flow, match, gateOf(flow, match)));
};

/** What a gate of x makes of x + f(x). */
function gateOf(flow: Flow, match: Match): { kind?: "gated"; block?: "highway" } {
  if (!isGatedResidual(flow, match)) return {};
  const interpolates = match.branches.some(
    (branch) => farEnd(flow, branch, match.step.value) !== undefined,
  );
  return interpolates ? { kind: "gated", block: "highway" } : { kind: "gated" };
}

/** The h of `x + g·(h - x)` or `x - g·(x - h)`, given x and the operand beside it. */
function farEnd(flow: Flow, { value, sign }: Operand, x: ValueName): ValueName | undefined {
  for (const factor of productOf(flow, value) ?? []) {
    const node = flow.producer(factor);
    if (node === undefined || wordOf(node) !== "Sub") continue;
    const [from = "", taken = ""] = node.inputs;
    const [near, far] = sign === 1 ? [taken, from] : [from, taken];
    if (flow.unrounded(near) === flow.unrounded(x)) return far;
  }
  return undefined;
}

/**
 * The difference h - x in x + g·(h - x), or x - h in x - g·(x - h), which is g·h + (1 - g)·x: a part of that
 * merge, none of its own.
 */
export function isInterpolated(flow: Flow, fusion: Fusion): boolean {
  const [a, b] = fusion.operands;
  if (fusion.operands.length !== 2 || a === undefined || b === undefined) return false;
  if (a.sign === b.sign) return false;
  const product = flow.onlyReader(fusion.output);
  if (product === undefined || wordOf(product) !== "Mul") return false;
  if (flow.activationInputs(product).length < 2) return false;
  const sum = flow.onlyReader(product.outputs[0] ?? "");
  if (sum === undefined || (wordOf(sum) !== "Add" && wordOf(sum) !== "Sub")) return false;
  const added = wordOf(sum) === "Add";
  const near = a.sign === (added ? -1 : 1) ? a : b;
  const beside = added ? sum.inputs : sum.inputs.slice(0, 1);
  return beside.some((name) => flow.unrounded(name) === flow.unrounded(near.value));
}

/** y = [x, f(x)]: one skip per Concat. A pooled shortcut counts beside exactly one transforming branch. */
export const concatenated: Finder = (flow, fusion) => {
  if (fusion.form !== "concat") return [];
  for (const operand of fusion.operands) {
    const match = matchOf(flow, fusion, operand);
    if (match === undefined) continue;
    if (match.step.marks.has("pooled") && match.branches.length !== 1) continue;
    return [describe(flow, match)];
  }
  return [];
};

/**
 * y = g·h(x) + (1 - g)·x, with a gate computed from x (Srivastava, Greff and Schmidhuber 2015,
 * equation 3).
 */
export const highway: Finder = (flow, fusion) => {
  const [a, b] = fusion.operands;
  if (fusion.form !== "additive" || fusion.operands.length !== 2 || !a || !b) return [];
  const [left, right] = [productOf(flow, a.value), productOf(flow, b.value)];
  if (left === undefined || right === undefined) return [];
  for (const [carry, other, operand] of [
    [right, left, b],
    [left, right, a],
  ] as const) {
    for (const [gate, x] of [carry, carry.toReversed()] as const) {
      const open =
        gate === undefined ? undefined : other.find((name) => sumToOne(flow, name, gate));
      const h = other.find((name) => name !== open);
      if (open === undefined || x === undefined || h === undefined) continue;
      const steps = flow.shortcut(x, false);
      const step = steps.find((one) => (flow.longest(one.value, h) ?? 0) > 0);
      if (step === undefined) continue;
      const branch: Operand = { value: h, position: 0, sign: 1, fusedTransforms: 0 };
      const span = flow.longest(step.value, h) ?? 1;
      const match: Match = { fusion, operand, step, span, branches: [branch] };
      return [describe(flow, match, { kind: "gated", block: "highway" })];
    }
  }
  return [];
};

/**
 * [g·x, f(x)] or g·x + f(x): the shortcut itself is weighed by a gate that layers compute from x, as the
 * attention gates of encoder-decoder networks do (Oktay et al. 2018, equation 1).
 */
export const gatedShortcut: Finder = (flow, fusion) => {
  for (const operand of fusion.operands) {
    const factors = productOf(flow, operand.value) ?? [];
    const gated = [factors, factors.toReversed()].filter(([gate = ""]) => isGate(flow, gate));
    // Behind the gate everything may start anew: x·g + f(x·g) is a skip of the product.
    if (gated.length === 0 || matchOf(flow, fusion, operand) !== undefined) continue;
    const beside = fusion.operands.find((other) => other !== operand);
    const far = beside && farEnd(flow, operand, beside.value);
    for (const [gate = "", content = ""] of gated) {
      // In h + g·(x - h), which is g·x + (1 - g)·h, the shortcut is x.
      const match = matchOf(flow, fusion, operand, { end: far ?? content });
      if (match === undefined || (flow.longest(match.step.value, gate) ?? 0) === 0) continue;
      const known = { kind: "gated" } as const;
      return [describe(flow, match, far === undefined ? known : { ...known, block: "highway" })];
    }
  }
  return [];
};

/** y = Where(c, f(x), x): the one or the other, element by element. */
export const chosen: Finder = (flow, fusion) => {
  if (fusion.form !== "choice") return [];
  const match = fusion.operands.map((operand) => matchOf(flow, fusion, operand)).find(Boolean);
  const known = { kind: "conditional", block: "conditional" } as const;
  return match === undefined ? [] : [describe(flow, match, known)];
};

/** The finders, in order: the first that finds something decides. */
export const FINDERS: readonly Finder[] = [
  ...[weighedStreams, mixedStreams, highway, gatedShortcut, additive, concatenated, chosen],
];

/** Whether one of two values is 1 minus the other. */
function sumToOne(flow: Flow, a: ValueName, b: ValueName): boolean {
  const minus = (whole: ValueName, part: ValueName): boolean => {
    const node: Node | undefined = flow.producer(whole);
    if (node?.op !== "Sub") return false;
    return (
      flow.unrounded(node.inputs[1] ?? "") === part && !flow.activations.has(node.inputs[0] ?? "")
    );
  };
  return minus(a, b) || minus(b, a);
}

/**
 * y = x + g(x)·f(x): the gate is computed from the source. A gate computed from f(x), as in
 * squeeze-and-excitation, makes the skip no gated one.
 */
function isGatedResidual(flow: Flow, { step, branches }: Match): boolean {
  return branches.some((branch) => {
    const factors = productOf(flow, branch.value);
    if (factors === undefined) return false;
    return [factors, factors.toReversed()].some(([gate = "", content = ""]) => {
      if (!isGate(flow, gate)) return false;
      const around = flow.longest(step.value, gate, { avoid: content });
      return around !== undefined && (flow.longest(step.value, content) ?? 0) > 0;
    });
  });
}
