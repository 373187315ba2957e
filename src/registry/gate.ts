// The release gate: what must hold before a model is registered. Each rule says what it measured; one
// that fails stops the release with its reason.

import { census } from "../analysis/census.ts";
import { batchSymbol, inferenceMemory } from "../analysis/memory.ts";
import { mergeDiagnostics } from "../analysis/merges.ts";
import { formatBytes } from "../base/format.ts";
import { canonicalize } from "../canonical/canonical.ts";
import { inferShapes } from "../canonical/infer-shapes.ts";
import type { Graph } from "../graph/graph.ts";
import { float32Values, type Tensor } from "../graph/tensor.ts";
import type { Session } from "../runtime/runner.ts";
import type { Dataset } from "../train/data.ts";
import { evaluate } from "../train/evaluate.ts";
import type { Golden } from "./golden.ts";

/** One rule's answer. */
export interface RuleResult {
  /** `shapes`, `memory`, `golden`, `accuracy`, `latency-p99`, … */
  readonly id: string;
  readonly passed: boolean;
  /** false: there was too little to measure it by; it stops nothing, and says nothing. Else left out. */
  readonly measured?: false;
  readonly text: string;
}

/** The answer of the gate. */
export interface CheckReport {
  readonly passed: boolean;
  readonly rules: readonly RuleResult[];
}

/** What a model is checked against. Rules without their evidence do not run. */
export interface CheckOptions {
  readonly graph: Graph;
  /** The saved file, loaded. */
  readonly session: Session;
  /** Bytes that activations may take at `batch`. */
  readonly memoryBudgetBytes: number;
  readonly batch: number;
  readonly golden?: Golden | undefined;
  readonly holdout?: { readonly data: Dataset; readonly floor: number } | undefined;
  /** Gives up the runs of the check. */
  readonly signal?: AbortSignal;
}

/** Relative distance to a recorded answer that other kernels may cause. */
const TOLERANCE = 1e-4;

/** Checks a model. */
export async function checkModel(options: CheckOptions): Promise<CheckReport> {
  const rules: RuleResult[] = [shapesRule(options.graph), memoryRule(options)];
  if (options.golden !== undefined) rules.push(await goldenRule(options, options.golden));
  if (options.holdout !== undefined) {
    rules.push(await accuracyRule(options.session, options.holdout));
  }
  return { passed: rules.every((rule) => rule.passed), rules };
}

function shapesRule(graph: Graph): RuleResult {
  const shaped = inferShapes(graph);
  const found = mergeDiagnostics(canonicalize(shaped, { idioms: false }));
  const [first] = found;
  const merges = census(shaped).counts.total;
  return {
    id: "shapes",
    passed: first === undefined,
    text:
      first === undefined
        ? `the operands of every merge fit (${merges} skips)`
        : `${first.where}: ${first.text}. ${first.fix ?? ""}`,
  };
}

function memoryRule({ graph, memoryBudgetBytes, batch }: CheckOptions): RuleResult {
  const memory = inferenceMemory(graph, { batch });
  const total = memory.peakBytes + memory.weightsBytes;
  const unknown =
    memory.unknown === 0
      ? ""
      : `; ${memory.unknown} values have no known size and count as nothing`;
  const at = batchSymbol(graph) === undefined ? "at its fixed sizes" : `at batch ${batch}`;
  const sizes = `${formatBytes(memory.peakBytes)} of activations ${at} and ${formatBytes(memory.weightsBytes)} of weights`;
  return {
    id: "memory",
    passed: total <= memoryBudgetBytes,
    text: `${sizes}, of ${formatBytes(memoryBudgetBytes)} allowed${unknown}`,
  };
}

async function goldenRule(
  { session, signal }: Pick<CheckOptions, "session" | "signal">,
  golden: Golden,
): Promise<RuleResult> {
  const outputs = await session.run(golden.inputs, {
    outputs: [...golden.outputs.keys()],
    ...(signal && { signal }),
  });
  let worst = 0;
  for (const [name, expected] of golden.outputs) {
    worst = Math.max(worst, distance(outputs.get(name), expected));
  }
  const count = [...golden.inputs.values()][0]?.shape[0] ?? 1;
  return {
    id: "golden",
    passed: worst <= TOLERANCE,
    text: `${count} recorded answers replayed on the saved file, largest relative difference ${worst.toExponential(1)} (at most ${TOLERANCE})`,
  };
}

/** Largest relative difference of two tensors; infinite where they cannot be compared. */
function distance(found: Tensor | undefined, expected: Tensor): number {
  if (found?.dtype !== expected.dtype || found.shape.join() !== expected.shape.join()) {
    return Number.POSITIVE_INFINITY;
  }
  if (found.dtype !== "float32") {
    const same = Buffer.compare(found.data.bytes, expected.data.bytes) === 0;
    return same ? 0 : Number.POSITIVE_INFINITY;
  }
  const [a, b] = [float32Values(found), float32Values(expected)];
  return b.reduce((worst, value, i) => {
    const other = a[i] ?? Number.NaN;
    if (Object.is(other, value)) return worst;
    const difference = Math.abs(other - value) / (1 + Math.abs(value));
    return Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(worst, difference);
  }, 0);
}

async function accuracyRule(
  session: Session,
  holdout: { data: Dataset; floor: number },
): Promise<RuleResult> {
  const { right, count } = await evaluate(session, holdout.data, holdout.data.holdout);
  const share = right / count;
  return {
    id: "accuracy",
    passed: share >= holdout.floor,
    text: `${right} of ${count} holdout examples right (${(100 * share).toFixed(1)} %), at least ${(100 * holdout.floor).toFixed(0)} % needed`,
  };
}
