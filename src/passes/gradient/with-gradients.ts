// A model with its gradients as outputs: its own inputs and a target in, its own outputs, the loss and the
// gradient of each weight out.

import { diagnostic } from "../../base/diagnostic.ts";
import { SkipwayError } from "../../base/errors.ts";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import { TypedBuilder } from "../../canonical/typed-builder.ts";
import type { Graph, Value, ValueName } from "../../graph/graph.ts";
import { typeOf } from "../../graph/query.ts";
import { scalarOf } from "../../graph/tensor.ts";
import { verify } from "../../ops/verify.ts";
import { appendLoss, type Loss, targetType } from "../losses.ts";
import { inferenceMode, trainingMode } from "../training-mode.ts";
import { floatInitializers } from "./constants.ts";
import { differentiate, stretchOf } from "./differentiate.ts";
import { barrierNotes, type Stretch, unreached } from "./paths.ts";
import { prepareForGradients } from "./prepare.ts";
import { withoutUnread } from "./prune.ts";
import { renameValues } from "./rename.ts";
import { named, trainable } from "./trainable.ts";

/** What the gradients are of. */
export interface GradientOptions {
  readonly loss: Loss;
  /** Names of initializers or patterns of names; left out: all that `trainable` finds. */
  readonly wrt?: readonly string[];
  /**
   * `eval`: running statistics and no dropout, as the network is used. `train`: statistics of the batch, and
   * dropout at work, whose masks follow the further input `step`. Default `eval`.
   */
  readonly mode?: "eval" | "train";
  /** Seeds the masks of dropout. Default 1. */
  readonly seed?: number;
  /**
   * Channels in a block of the runtime's own layout, for files that it saved in that layout: 8 or 16,
   * whichever the machine has that saved them.
   */
  readonly block?: number;
}

/** A graph with gradients, and what its new inputs and outputs are called. */
export interface GraphWithGradients {
  readonly graph: Graph;
  readonly target: ValueName;
  readonly loss: ValueName;
  /** From each initializer to the output that holds its gradient. */
  readonly gradients: ReadonlyMap<ValueName, ValueName>;
  /** The further input that counts steps, 0 where it is not fed; undefined where nothing is random. */
  readonly step: ValueName | undefined;
}

/** The name of the output with the gradient of an initializer. */
export function gradientName(initializer: ValueName): ValueName {
  return `grad.${initializer}`;
}

/**
 * The same network with its gradients. Labels are the input `label`, targets the input `target`.
 *
 * @throws SkipwayError `input` for a graph that no runtime would take, for names that fit nothing, for a model whose first output has no such loss,
 * and for ops on the way that have no gradient.
 */
export function withGradients(given: Graph, options: GradientOptions): GraphWithGradients {
  const { mode = "eval", seed = 1 } = options;
  const [first] = given.outputs;
  if (first === undefined) throw noOutputs(given);
  const faults = verify(given).filter(({ severity }) => severity === "error");
  if (faults.length > 0) throw SkipwayError.fromDiagnostics("input", faults);
  const names = {
    target: options.loss.kind === "cross-entropy" ? "label" : "target",
    loss: "loss",
    step: "step",
  };
  const wanted = [names.target, names.loss, ...(mode === "train" ? [names.step] : [])];
  const prepared = withFreeNames(prepareForGradients(given, options.block), given, wanted);
  const form =
    mode === "train"
      ? trainingMode(prepared, { seed, step: names.step })
      : { graph: inferenceMode(prepared), step: undefined };
  const scored = withLoss(inferShapes(form.graph), first.name, names, options.loss);
  const weights = weightsOf(scored, given, names.loss);
  const { wrt } = options;
  const chosen = wrt === undefined ? weights : named(scored, wrt, weights);
  const request = { loss: names.loss, wrt: chosen, unreached: "leave-out" } as const;
  const { graph, gradients } = differentiate(scored, request);
  const missing = (wrt ?? []).filter(
    (name) => scored.initializers.has(name) && !gradients.has(name),
  );
  const way = stretchOf(scored, request);
  if (missing.length > 0) {
    const found = missing.map((name) => unreached(name, way));
    throw SkipwayError.fromDiagnostics("input", found);
  }
  if (gradients.size === 0) throw nothingToTrain({ ...way, wrt: floatInitializers(given) }, given);
  const whole = asOutputs(graph, gradients, { ...names, step: form.step });
  return {
    ...whole,
    graph: withoutUnread(whole.graph, new Set(given.initializers.keys())),
    target: names.target,
    loss: names.loss,
    step: form.step,
  };
}

/** Weights of the file; where it has none, what it has as Constant nodes of more than one number. */
function weightsOf(scored: Graph, given: Graph, loss: ValueName): ValueName[] {
  const own = trainable(scored, loss, given.initializers.keys());
  if (own.length > 0) return own;
  const made = [...scored.initializers].filter(
    ([name, ref]) => ref.shape.length > 0 && given.nodes.some(({ outputs }) => outputs[0] === name),
  );
  return trainable(
    scored,
    loss,
    made.map(([name]) => name),
  );
}

/** The names that are to be new: an inner value that has one gets another. */
function withFreeNames(graph: Graph, given: Graph, wanted: readonly ValueName[]): Graph {
  const fixed = new Set<ValueName>([
    ...[...given.inputs, ...given.outputs].map(({ name }) => name),
    ...given.initializers.keys(),
  ]);
  const made = [...wanted, ...[...given.initializers.keys()].map(gradientName)];
  const taken = made.filter((name) => fixed.has(name));
  if (taken.length > 0) {
    throw SkipwayError.fromDiagnostics(
      "input",
      taken.map((name) => nameTaken(name)),
    );
  }
  const shapes = [...graph.initializers].flatMap(([name, { dtype }]) =>
    dtype === "int64" && SHAPES_OF_FUSION.test(name) ? [name] : [],
  );
  const outputs = new Set(given.outputs.map(({ name }) => name));
  return renameValues(graph, [...made, ...shapes.filter((name) => !outputs.has(name))]);
}

/**
 * Names of shapes in files that ONNX Runtime has optimised. Where it fuses a further MatMul and Add of three axes, it
 * gives them anew, and does not load the file: "Attempt to replace the existing tensor" (1.30, MatMulAddFusion).
 */
const SHAPES_OF_FUSION = /^gemm_(in|out)put_shape/;

function withLoss(
  graph: Graph,
  scores: ValueName,
  names: { readonly target: ValueName; readonly loss: ValueName },
  loss: Loss,
): Graph {
  const type = targetType(scores, typeOf(graph, scores), loss);
  const builder = new TypedBuilder(graph);
  builder.input(names.target, type.dtype, type.shape ?? []);
  appendLoss(builder, loss, { scores, target: names.target, name: names.loss });
  for (const output of graph.outputs) builder.output(output);
  return builder.finish(graph.name, graph.opsets, graph.metadata);
}

/** The loss and the gradients as outputs of their names, behind the model's own. */
function asOutputs(
  graph: Graph,
  gradients: ReadonlyMap<ValueName, ValueName>,
  names: { readonly loss: ValueName; readonly step: ValueName | undefined },
): { graph: Graph; gradients: ReadonlyMap<ValueName, ValueName> } {
  const builder = new TypedBuilder(graph);
  const outputs = new Map<ValueName, ValueName>();
  const declared: Value[] = [
    { name: names.loss, dtype: typeOf(graph, names.loss)?.dtype ?? "float32", shape: [] },
  ];
  for (const [name, gradient] of gradients) {
    const output = gradientName(name);
    const { dtype = "float32", shape } = graph.initializers.get(name) ?? {};
    builder.emit("Identity", [gradient], { name: output, outputs: [output] });
    declared.push({ name: output, dtype, shape });
    outputs.set(name, output);
  }
  // An input with an initializer is one that may be left out (ONNX, docs/IR.md).
  if (names.step !== undefined) builder.initializer(names.step, scalarOf("int64", 0));
  for (const output of [...graph.outputs, ...declared]) builder.output(output);
  return { graph: builder.finish(graph.name, graph.opsets, graph.metadata), gradients: outputs };
}

function noOutputs(graph: Graph): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "gradient/no-output",
      severity: "error",
      where: `graph ${graph.name}`,
      text: "has no outputs, so that there is nothing a loss could be of",
      fix: "Declare the output that holds the scores, and export the model again.",
    }),
  ]);
}

function nothingToTrain(way: Stretch, graph: Graph): SkipwayError {
  const notes = barrierNotes(way);
  const reached = notes.length > 0;
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "gradient/no-weights",
      severity: "error",
      where: `graph ${graph.name}`,
      text: reached
        ? "has float initializers, but none with a differentiable path to its first output"
        : "has no float initializers on which its first output depends",
      notes,
      fix: reached
        ? "Make the scores before that step the first output."
        : "Export the model with its weights (export_params=True).",
    }),
  ]);
}

function nameTaken(name: ValueName): ReturnType<typeof diagnostic> {
  return diagnostic({
    id: "gradient/name-taken",
    severity: "error",
    where: `value "${name}"`,
    text: "is an input, output or weight of the model, and the model with gradients has another of that name",
    fix: "Rename it, and export the model again.",
  });
}
