// Why a node that looks like a merge ends no skip: one reason for each row of the page on the census.

import type { Node, ValueName } from "../../graph/graph.ts";
import { ownOriginals } from "../../graph/original.ts";
import { MACRO_DOMAIN } from "../../ops/macro.ts";
import { isInterpolated } from "./finders.ts";
import type { Flow } from "./flow.ts";
import { ADDITIVE, type Fusion } from "./fusion.ts";
import { isGate, productOf } from "./match.ts";
import { isActivation, isNorm, wordOf } from "./vocabulary.ts";

/** What the reasons say; public, as they stand in the census. */
export const REASONS = {
  activation: "an activation written out",
  attention: "a part of attention",
  bias: "a bias: the other operand is a constant",
  channelGate: "a channel gate: a factor is computed from a pooled copy",
  constant: "constants are added, such as embeddings of positions",
  constantJoined: "constants are joined on, such as a class token or a padding",
  cache: "a cache: one operand is an input, and nothing else comes from it",
  embeddings: "embeddings from different tables are added",
  gate: "a gate: the operands are multiplied",
  gatedUnit: "a gated unit: two branches are multiplied",
  interpolation: "a part of an interpolation, which ends in the sum behind it",
  mask: "a mask: no activation flows into the other operand",
  norm: "a norm written out",
  parallel: "parallel branches: no operand is a shortcut",
  pooledBranch: "parallel branches, one of which pools",
  rotary: "a rotary embedding",
  sameValue: "no layer lies between the operands",
  shape: "a shape is computed: no activation flows in",
  sources: "the operands come from different sources",
} as const;

/** Values looked at on the way back from an operand; what lies further is taken for a common source. */
const ANCESTORS_MAX = 2000;

/** Why a merge without a skip is none. */
export function reasonOfMerge(flow: Flow, fusion: Fusion): string {
  const values = fusion.operands.map(({ value }) => value);
  if (fusion.form === "additive" && isInterpolated(flow, fusion)) return REASONS.interpolation;
  const nearest = commonSource(flow, values);
  if (nearest === null) return apart(flow, fusion);
  if (nearest !== undefined) {
    const lengths = values.map((value) => flow.longest(nearest, value) ?? 0);
    if (lengths.every((length) => length === 0)) return REASONS.sameValue;
  }
  const pools = values.some((value) =>
    flow.shortcut(value, false).some((step) => step.marks.has("pooled") && flow.forks(step.value)),
  );
  return fusion.form === "concat" && pools ? REASONS.pooledBranch : REASONS.parallel;
}

/** Operands that have no value in common. */
function apart(flow: Flow, { form, operands }: Fusion): string {
  const sources = operands.map(({ value }) => flow.shortcut(value, false).at(-1)?.value ?? "");
  const producers = sources.map((name) => flow.producer(name));
  if (form === "additive" && producers.every((node) => node?.op === "Gather")) {
    return REASONS.embeddings;
  }
  const given = producers.filter((node) => node === undefined).length;
  return form === "concat" && given > 0 && given < producers.length
    ? REASONS.cache
    : REASONS.sources;
}

/**
 * The last value from which all of these come; null if there is none, undefined if it lies too far back. Goes
 * back in the order of the file, so that it looks only at what lies between.
 */
function commonSource(flow: Flow, values: readonly ValueName[]): ValueName | null | undefined {
  const reaching = new Map<ValueName, Set<number>>();
  values.forEach((value, i) => {
    reaching.set(value, new Set([...(reaching.get(value) ?? []), i]));
  });
  const open = new Set(values);
  for (let looked = 0; open.size > 0; looked++) {
    if (looked > ANCESTORS_MAX || open.size > ANCESTORS_MAX) return undefined;
    const latest = [...open].reduce((a, b) => (flow.position(b) > flow.position(a) ? b : a));
    const from = reaching.get(latest) ?? new Set();
    if (from.size === values.length) return latest;
    open.delete(latest);
    const node = flow.producer(latest);
    for (const input of node === undefined ? [] : flow.activationInputs(node)) {
      reaching.set(input, new Set([...(reaching.get(input) ?? []), ...from]));
      open.add(input);
    }
  }
  return null;
}

/** Why a node that is no merge of two paths, but looks like one, is none; undefined if it looks like none. */
export function reasonOfNode(flow: Flow, node: Node): string | undefined {
  const activations = flow.activationInputs(node).length;
  const word = wordOf(node);
  if (word === "Mul") return activations > 1 ? reasonOfProduct(flow, node) : undefined;
  const merges = ADDITIVE.has(word) || word === "Concat";
  if (!merges || node.inputs.length < 2 || activations > 1) return undefined;
  if (activations === 0) return isShape(flow, node) ? REASONS.shape : undefined;
  if (word === "Concat") return REASONS.constantJoined;
  const others = node.inputs.filter((name) => !flow.activations.has(name));
  if (others.some((name) => flow.producer(name) !== undefined)) return REASONS.mask;
  const wide = others.some((name) => {
    const shape = flow.typeOf(name)?.shape ?? [];
    return shape.filter((dim) => dim !== 1).length > 1;
  });
  return wide ? REASONS.constant : REASONS.bias;
}

function isShape(flow: Flow, node: Node): boolean {
  return flow.typeOf(node.outputs[0] ?? "")?.dtype === "int64";
}

function reasonOfProduct(flow: Flow, node: Node): string {
  const factors = productOf(flow, node.outputs[0] ?? "") ?? [];
  for (const [gate = "", content = ""] of [factors, factors.toReversed()]) {
    const producer = flow.producer(gate);
    if (!isGate(flow, gate) && !(producer !== undefined && isActivation(producer))) continue;
    if (flow.longest(content, gate) === 0) return REASONS.activation;
    const between = flow.between(content, gate);
    if (between.some(isPool)) return REASONS.channelGate;
  }
  const gated = factors.some((name) => {
    const producer = flow.producer(name);
    return producer !== undefined && flow.activates(producer);
  });
  return gated && commonSource(flow, factors) !== null ? REASONS.gatedUnit : REASONS.gate;
}

function isPool(node: Node): boolean {
  return wordOf(node).startsWith("Global") || node.op === "ReduceMean";
}

/** The merge inside of a node that stands for several of the file, and why it is no skip. */
export function insideOf(
  node: Node,
  find: (name: string) => Node | undefined,
): { node: string; reason: string } | undefined {
  const originals = ownOriginals(node);
  const reason = originals.length > 1 ? reasonOfMacro(node) : undefined;
  if (reason === undefined) return undefined;
  const inner = originals.filter((one) => one.within === undefined).map((one) => find(one.name));
  const last = (test: (op: string) => boolean): Node | undefined =>
    inner.findLast((one) => one !== undefined && test(one.op));
  const found = last((op) => ADDITIVE.has(op)) ?? last((op) => op === "Concat" || op === "Mul");
  return found && { node: found.name, reason };
}

function reasonOfMacro(node: Node): string | undefined {
  const word = wordOf(node);
  if (word === "RotaryEmbedding") return REASONS.rotary;
  if (word === "Attention") return REASONS.attention;
  if (isNorm(node)) return REASONS.norm;
  if (isActivation(node) || word === "Softmax") return REASONS.activation;
  const linear = word === "Gemm" || (word === "Linear" && node.domain === MACRO_DOMAIN);
  return linear ? REASONS.bias : undefined;
}
