// The finding of a training step whose result is no finite number: which node gave the first one, from what.

import { diagnostic } from "../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import type { Graph } from "../graph/graph.ts";
import { firstNonFinite, type NonFinite, type TensorRange } from "../runtime/non-finite.ts";
import type { Tensors } from "../runtime/runner.ts";

/** A step that went wrong. */
export interface BadStep {
  /** From 0. */
  readonly epoch: number;
  readonly step: number;
  /** What is no finite number: the loss, or what the weights were to become. */
  readonly what: "loss" | "weights";
}

/** Runs the step once more to find the node. The error is of the step, also where that run fails in turn. */
export async function diverged(graph: Graph, feeds: Tensors, bad: BadStep): Promise<SkipwayError> {
  const text =
    bad.what === "loss"
      ? "the loss is not a finite number: training has diverged"
      : "the loss is a finite number, but the weights after the step are not: training has diverged";
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "train/diverged",
      severity: "error",
      where: `epoch ${bad.epoch + 1}, step ${bad.step + 1}`,
      text,
      notes: await notesOf(graph, feeds),
      fix: "Lower the learning rate, or normalise the inputs.",
    }),
  ]);
}

async function notesOf(graph: Graph, feeds: Tensors): Promise<string[]> {
  try {
    const found = await firstNonFinite(graph, feeds);
    return found === undefined ? [] : described(found);
  } catch (error) {
    return [`looking for the node that gave it failed: ${messageOf(error)}`];
  }
}

function described({ node, value, inputs }: NonFinite): string[] {
  if (node === undefined) return [`"${value.name}", which was given, has ${faultsOf(value)}`];
  return [
    `the first is in "${value.name}" of node ${node.name} (${node.op}): ${faultsOf(value)}`,
    ...inputs.map((one) => `it read "${one.name}", ${rangeOf(one)}`),
  ];
}

function faultsOf({ nan, infinite, elements }: TensorRange): string {
  const parts = [
    ...(nan > 0 ? [`${nan} NaN`] : []),
    ...(infinite > 0 ? [`${infinite} infinite`] : []),
  ];
  return `${parts.join(" and ")} of ${elements} elements`;
}

function rangeOf(range: TensorRange): string {
  const { min, max, nan, infinite, elements } = range;
  if (elements === 0) return "without elements";
  const bounds = Number.isNaN(min)
    ? "no finite element"
    : `from ${min.toPrecision(4)} to ${max.toPrecision(4)}`;
  return nan + infinite === 0 ? bounds : `${bounds}, ${faultsOf(range)}`;
}
